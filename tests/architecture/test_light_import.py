"""`import perdure` stays light: scripts, workers and CLIs pay for it at every start."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

# msgspec looks for typing_extensions and does without.
THIRD_PARTY_ALLOWED = {"msgspec", "perdure", "typing_extensions", "uuid_utils"}

# What the command line, the tests or an extra need, but a library user does not at import.
NEVER_AT_IMPORT = {
    "asyncio.base_events",
    "concurrent.futures.process",
    "cyclopts",
    "http",
    "multiprocessing",
    "perdure.cli",
    "perdure.testing",
    "pydantic",
    "rich",
    "sqlite3",
    "ssl",
    "unittest",
}

SOURCE = Path(__file__).parents[2] / "src"

# A process of its own, isolated (-I) from the environment's paths. The modules there before the
# import (site hooks of an editable install, coverage) are not perdure's doing.
PROBE = """
import json, sys
sys.path.insert(0, sys.argv[1])
before = set(sys.modules)
import perdure
new = sorted(set(sys.modules) - before)
files = {name: getattr(sys.modules[name], "__file__", None) for name in new}
print(json.dumps(files))
"""


@pytest.fixture(scope="module")
def loaded() -> dict[str, str | None]:
    """Every module that `import perdure` loads, with its file."""
    command = [sys.executable, "-I", "-c", PROBE, str(SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    files: dict[str, str | None] = json.loads(done.stdout)
    return files


def third_party(files: dict[str, str | None]) -> set[str]:
    """Top-level names of modules that are neither the standard library's nor built in."""
    return {
        name.partition(".")[0]
        for name, file in files.items()
        if name.partition(".")[0] not in sys.stdlib_module_names
        # Names that the interpreter's own build makes, like _sysconfigdata_..., are in no list.
        and not (file is not None and is_stdlib_file(file))
    }


def is_stdlib_file(file: str) -> bool:
    path = Path(file)
    stdlib = Path(sysconfig.get_path("stdlib"))
    return path.is_relative_to(stdlib) and "site-packages" not in path.parts


def test_only_the_named_third_party_modules_are_loaded(loaded: dict[str, str | None]) -> None:
    assert "perdure" in loaded
    assert third_party(loaded) - THIRD_PARTY_ALLOWED == set()


def test_heavy_modules_wait_until_they_are_needed(loaded: dict[str, str | None]) -> None:
    assert set(loaded) & NEVER_AT_IMPORT == set()


def test_a_planted_module_is_seen() -> None:
    files = {"rich.table": "/x/site-packages/rich/table.py", "json": None, "msgspec": None}
    assert third_party(files) - THIRD_PARTY_ALLOWED == {"rich"}
