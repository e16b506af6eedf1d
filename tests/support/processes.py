"""Other Python processes for tests: their source, what they print, and how they ended."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import perdure
from tests.support import evict

SOURCES = str(Path(perdure.__file__).parent.parent)
TIMEOUT_SECONDS = 100


def environment(**more: str) -> dict[str, str]:
    """The environment of a child: ours without settings of perdure, with our sources first."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PERDURE_")}
    if evict.VARIABLE in os.environ:
        kept |= {"PERDURE_GRACE": "0", evict.VARIABLE: "1"}
    return {**kept, "PYTHONPATH": SOURCES, **more}


def start_python(*arguments: str | Path, folder: Path, **more: str) -> subprocess.Popen[str]:
    """Start `python ARGUMENTS` in `folder`."""
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        env=environment(**more),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def put_away(child: subprocess.Popen[str]) -> None:
    """End it if it still runs, and close its pipes: a test that fails must not disturb others."""
    child.kill()
    child.wait()
    for pipe in (child.stdin, child.stdout, child.stderr):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):  # what was written and never read
                pipe.close()


def finish(child: subprocess.Popen[str]) -> str:
    """What it prints until it ends well."""
    try:
        out, err = child.communicate(timeout=TIMEOUT_SECONDS)
    finally:
        put_away(child)
    assert child.returncode == 0, err
    return out


def run_python(*arguments: str | Path, folder: Path, **more: str) -> str:
    """Run `python ARGUMENTS` in `folder` to a good end."""
    return finish(start_python(*arguments, folder=folder, **more))


def run_code(code: str, folder: Path, **more: str) -> Any:
    """Run source text in a process; what it prints is JSON."""
    return json.loads(run_python("-c", textwrap.dedent(code), folder=folder, **more))
