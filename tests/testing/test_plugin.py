"""The pytest plugin: light when unused, and a report beside a test that fails."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]

TEST = """
from perdure import Perdure, wf

app = Perdure("memory://")

@app.task
def pay(cents: int) -> str:
    return "paid"

@app.workflow
def order(cents: int) -> str:
    return pay(cents)

def test_bears_it(crash_everywhere):
    assert crash_everywhere.options(idempotent=[pay])(order, 1999).boundaries > 2

def test_does_not(crash_everywhere):
    crash_everywhere(order, 1999)
"""


def run(*args: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *args]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=100
    )


def test_the_fixture_fails_with_the_line_and_shows_the_report(tmp_path: Path) -> None:
    (tmp_path / "test_shop.py").write_text(TEST, "utf-8")
    done = run(
        "-m", "pytest", "-q", "-p", "pytest_perdure", "-p", "no:cacheprovider", folder=tmp_path
    )
    assert "1 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    assert f"{tmp_path / 'test_shop.py'}:12: repeated task: task 'test_shop.pay'" in done.stdout
    assert "Captured perdure call" in done.stdout


def test_it_costs_nothing_when_it_is_not_used(tmp_path: Path) -> None:
    script = "import sys, pytest_perdure; assert 'perdure' not in sys.modules, 'it is light'"
    done = run("-c", script, folder=tmp_path)
    assert done.returncode == 0, done.stderr


def test_pytest_finds_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert project["project"]["entry-points"]["pytest11"] == {"pytest_perdure": "pytest_perdure"}
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["force-include"] == {"src/pytest_perdure.py": "pytest_perdure.py"}
