"""Starts the processes in which targets are fed, and tells how they ended."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.support.processes import environment

_ROOT = Path(__file__).parents[2]
_LATE_SECONDS = 60.0
"""How much longer than asked a process may take before it hangs."""


class Died(AssertionError):
    """A process of fuzzing ended without a report."""


def fuzz(name: str, seed: str, *, count: int, seconds: float) -> dict[str, Any]:
    """Feed a target in a process of its own; what it reports.

    Raises:
        Died: it crashed, or hung; the message says in which input.
    """
    with tempfile.TemporaryDirectory() as folder:
        progress = Path(folder) / "progress"
        command = [sys.executable, "-m", "tests.fuzz.run", name, seed, str(count), str(seconds)]
        try:
            done = subprocess.run(
                [*command, str(progress)],
                cwd=_ROOT,
                # Hashes decide the order of sets, and so which inputs there are.
                # With few arenas, threads do not take the address space that is left.
                env=environment(PYTHONHASHSEED="0", MALLOC_ARENA_MAX="2"),
                capture_output=True,
                text=True,
                timeout=seconds + _LATE_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as expired:
            raise Died(f"{name}: it hung{_where(progress, command)}") from expired
        if done.returncode or not done.stdout:
            told = done.stderr[-2000:]
            raise Died(f"{name}: it ended with {done.returncode}{_where(progress, command)} {told}")
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


def _where(progress: Path, command: list[str]) -> str:
    if not progress.exists():
        return " before its first input."
    number = int.from_bytes(progress.read_bytes(), "big")
    again = " ".join(["python", *command[1:], "/dev/null", str(number)])
    return f" in input {number}. To see it again: PYTHONHASHSEED=0 {again}"
