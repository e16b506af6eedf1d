"""The contract of state backends is run by a third party, from a package that is not this tree."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import perdure

TEST = """
from perdure.backends.memory import MemoryBackend
from perdure.testing.contract import BackendContract

class TestMine(BackendContract):
    def make_backend(self, now, folder):
        return MemoryBackend(now)

class Forgetful(MemoryBackend):
    def read_inbox(self, key):
        return []

class TestForgetful(BackendContract):
    def make_backend(self, now, folder):
        return Forgetful(now)
"""


def test_the_contract_runs_from_an_installed_package(tmp_path: Path) -> None:
    """A copy stands for the installed one: nothing of it may need the files beside the package."""
    site, work = tmp_path / "site", tmp_path / "work"
    shutil.copytree(
        Path(perdure.__file__).parent,
        site / "perdure",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    work.mkdir()
    (work / "test_mine.py").write_text(TEST, "utf-8")
    plain = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-p", "no:xdist")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *plain, "test_mine.py"],
        cwd=work,
        env={**os.environ, "PYTHONPATH": str(site), "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert "TestMine" not in done.stdout, done.stdout
    assert "FAILED test_mine.py::TestForgetful::test_" in done.stdout, done.stdout
    assert "site/perdure/testing/contract/" in done.stdout, "it is that of the package"
    passed = int(done.stdout.rpartition(" passed")[0].rpartition(" ")[2])
    assert passed > 150
