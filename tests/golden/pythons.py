"""Other Pythons on this machine that can run perdure."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

MINORS = (11, 12, 13, 14)
VARIABLE = "PERDURE_TEST_PYTHONS"
"""More interpreters to try, with a colon between them; in environments of their own, mostly."""
_NEEDS = "import sys, msgspec, cronsim; sys.version_info >= (3, 14) or __import__('uuid_utils')"
_ASK = f"{_NEEDS}; print('%d.%d.%d' % sys.version_info[:3])"
SECONDS = 60.0


def candidates() -> list[str]:
    """Interpreters that may be there."""
    given = os.environ.get(VARIABLE, "").split(":")
    on_path = [shutil.which(f"python3.{minor}") for minor in MINORS]
    installed = sorted(Path.home().glob(".pyenv/versions/3.*/bin/python"))
    return [found for found in [*given, *on_path, *map(str, installed)] if found]


def others() -> tuple[dict[str, str], list[str]]:
    """An interpreter for each other version that can be used, and what is absent or cannot be."""
    usable: dict[str, str] = {}
    unusable: list[str] = []
    for python in candidates():
        try:
            told = subprocess.run(
                [python, "-c", _ASK], capture_output=True, text=True, timeout=SECONDS, check=False
            )
        except OSError as error:
            unusable.append(f"{python}: {error.strerror}")
            continue
        version = told.stdout.strip()
        if told.returncode:
            lines = told.stderr.strip().splitlines() or ["it failed"]
            unusable.append(f"{python}: {lines[-1]}")
        elif version.split(".")[:2] != [str(n) for n in sys.version_info[:2]]:
            usable.setdefault(version, python)
    found = {tuple(map(int, version.split(".")[:2])) for version in usable}
    found.add(sys.version_info[:2])
    absent = [f"3.{minor}: not found" for minor in MINORS if (3, minor) not in found]
    return usable, [*unusable, *absent]
