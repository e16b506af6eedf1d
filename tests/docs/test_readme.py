"""The examples of the README and of the guide run as printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"(<!-- [^\n]* -->\n)?```python\n(.*?)```", README, re.DOTALL)


def run(script: Path) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if "PERDURE" not in key}
    return subprocess.run(
        [sys.executable, script.name],
        cwd=script.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_first_example_crashes_and_resumes(tmp_path: Path) -> None:
    marker, code = BLOCKS[0]
    assert "crash and resume" in marker
    script = tmp_path / "shop.py"
    script.write_text(code, "utf-8")

    first = run(script)
    assert first.returncode == 1
    second = run(script)
    assert second.returncode == 0, second.stderr
    third = run(script)

    printed = first.stdout + second.stdout
    assert printed.count("charging") <= 1, "the recorded charge ran again"
    assert "charging" not in second.stdout
    assert "parcel for charge-" in second.stdout
    assert third.stdout == second.stdout


@pytest.mark.parametrize("number", range(1, len(BLOCKS)))
def test_the_other_examples_run(number: int, tmp_path: Path) -> None:
    script = tmp_path / f"example{number}.py"
    script.write_text(BLOCKS[number][1], "utf-8")
    done = run(script)
    assert done.returncode == 0, done.stderr


GUIDE_BLOCKS = [
    pytest.param(code, id=f"{page.stem}-{number}")
    for page in sorted([*(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "guide").glob("*.md")])
    for number, code in enumerate(
        re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL), 1
    )
]


@pytest.mark.parametrize("code", GUIDE_BLOCKS)
def test_the_examples_of_the_guide_run(code: str, tmp_path: Path) -> None:
    script = tmp_path / "example.py"
    script.write_text(code, "utf-8")
    done = run(script)
    assert done.returncode == 0, done.stderr


def test_every_local_link_leads_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
