"""The public types, judged by mypy and basedpyright with the project's own configuration."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent.parent

pytestmark = pytest.mark.xdist_group("types")


def check(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=110
    )


@pytest.fixture(scope="module")
def mypy_cache(tmp_path_factory):
    return f"--cache-dir={tmp_path_factory.mktemp('mypy')}"


def test_mypy_agrees_with_every_asserted_type_and_finds_every_mistake(mypy_cache):
    good, bad = FOLDER / "programs_good.py", FOLDER / "programs_bad.py"
    done = check("mypy", mypy_cache, "--warn-unused-ignores", str(good), str(bad))
    assert done.returncode == 0, done.stdout + done.stderr


def pyright(tmp_path, program):
    """What basedpyright finds in a program, with the strictness of the project."""
    settings = {
        "include": [str(FOLDER / program)],
        "extraPaths": [str(ROOT / "src")],
        "typeCheckingMode": "strict",
        "pythonVersion": "3.11",
        "reportUnusedExpression": "none",
        "reportUnusedCoroutine": "none",
        "reportUnusedCallResult": "none",
        "reportUnnecessaryTypeIgnoreComment": "error",
    }
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    done = check("basedpyright", "--outputjson", "--project", str(tmp_path))
    found = json.loads(done.stdout)
    assert found["summary"]["filesAnalyzed"] == 1
    return [
        f"{d['range']['start']['line'] + 1}: {d['message']}"
        for d in found["generalDiagnostics"]
        if d["severity"] == "error"
    ]


@pytest.mark.parametrize("program", ["programs_good.py", "programs_bad.py"])
def test_basedpyright_agrees(tmp_path, program):
    pytest.importorskip("basedpyright")
    assert pyright(tmp_path, program) == []
