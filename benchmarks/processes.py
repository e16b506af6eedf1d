"""Processes: what they have used so far, and `perdure worker` as a process of its own. Linux."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Self

import perdure
from benchmarks.program import APP

PATIENCE_SECONDS = 600.0
"""How long anything may take before a benchmark gives up."""
_ROOT = Path(__file__).parents[1]
_SOURCES = Path(perdure.__file__).parents[1]


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the command name, which begin with field 3 (proc(5))."""
    return Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()


def parent_of(pid: int) -> int:
    """The process that started this one."""
    return int(_stat(pid)[1])


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time of these processes and of their ended children."""
    ticks = 0
    for pid in pids:
        try:
            ticks += sum(map(int, _stat(pid)[11:15]))
        except FileNotFoundError:
            continue  # it ended, and its parent has its time from now on
    return ticks / os.sysconf("SC_CLK_TCK")


def cpu_of_this_process() -> float:
    """User and system time of this process, all threads."""
    return time.process_time()


def family(parent: int) -> list[int]:
    """A process and its children that run now."""
    found = [parent]
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                if parent_of(int(folder.name)) == parent:
                    found.append(int(folder.name))
            except FileNotFoundError:
                continue
    return found


def resident_bytes(pid: int) -> int:
    """Memory of a process that is in RAM now."""
    for line in Path(f"/proc/{pid}/status").read_text("ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(pid)


def until(condition: Callable[[], bool], what: str, pause: float = 0.01) -> None:
    """Look every `pause` seconds until it is so.

    Raises:
        TimeoutError: it never was.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"Waited {PATIENCE_SECONDS:g} s in vain until {what}.")
        time.sleep(pause)


class Workers:
    """Some `perdure worker` processes, held still until `go`; all are gone at the end of a with.

    Args:
        settings: variables of their environment that name the database.
        folder: where they run and log.
    """

    def __init__(self, count: int, settings: dict[str, str], folder: Path) -> None:
        self._log = folder / "workers.log"
        kept = {key: value for key, value in os.environ.items() if not key.startswith("PERDURE_")}
        path = os.pathsep.join(map(str, (_SOURCES, _ROOT)))
        self._environment = kept | settings | {"PYTHONPATH": path}
        self._folder = folder
        self._count = count
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            for _ in range(self._count):
                process = subprocess.Popen(
                    [sys.executable, "-m", "perdure", "worker", "-A", APP],
                    cwd=self._folder,
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
                self._processes.append(process)
        try:
            until(self._are_up, "the workers are up")
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._end()

    @property
    def pids(self) -> list[int]:
        """The worker processes."""
        return [process.pid for process in self._processes]

    def hold(self, is_held: Callable[[], bool]) -> None:
        """Stop them where they are, but not in the middle of a transaction: look until it is so."""

        def stopped_at_rest() -> bool:
            self._signal(signal.SIGSTOP)
            if is_held():
                self.go()
                return False
            return True

        until(stopped_at_rest, "the workers hold no lock")

    def go(self) -> None:
        """Let them go on."""
        self._signal(signal.SIGCONT)

    def _are_up(self) -> bool:
        if any(process.poll() is not None for process in self._processes):
            raise RuntimeError(f"A worker ended early: {self._log.read_text()[-2000:]}")
        return self._log.read_text().count("started: pid") >= self._count

    def _signal(self, number: signal.Signals) -> None:
        for process in self._processes:
            process.send_signal(number)

    def _end(self) -> None:
        self._signal(signal.SIGCONT)
        self._signal(signal.SIGTERM)
        for process in self._processes:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
