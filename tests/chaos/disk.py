"""A disk that is full, or fails, at the n-th write or sync of the files of an SQLite store.

Means: `strace -e inject=` where it may be used, which gives every error at every call; and a limit
to the size of files (RLIMIT_FSIZE), which every machine has. Which were used is counted.
"""

from __future__ import annotations

import functools
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from perdure.backends.sqlite import SQLiteBackend
from perdure.core.lifecycle import InvocationState
from perdure.engine.audit import audit
from tests.chaos.fleet import ROOT
from tests.chaos.program import Log
from tests.support.processes import SOURCES, environment

STARTS = 6
SECONDS = 60.0
"""Until a process that should have come through is a failure."""
FAULTS = (
    ("pwrite64", "ENOSPC"),
    ("pwrite64", "EIO"),
    ("fdatasync", "EIO"),
    ("fsync,fdatasync", "ENOSPC"),
    ("ftruncate,fallocate", "ENOSPC"),
)
CALLS_MAX = 60
"""A fault begins at one of so many first calls of its kind, in the thread that makes them."""
TYPED = ("BackendFull", "BackendUnavailable", "CommitUnknown")
"""What users may be told of a disk."""


@functools.cache
def has_strace() -> bool:
    """Whether faults can be injected here."""
    if shutil.which("strace") is None:
        return False
    fault = "inject=pwrite64:error=EIO:when=9999"
    asked = ["strace", "-qq", "-o", "/dev/null", "-e", fault, "true"]
    return subprocess.run(asked, capture_output=True, check=False).returncode == 0


def injected(folder: Path, calls: str, error: str, first: int, last: int) -> list[str]:
    """A command prefix under which these calls on the files of the store fail."""
    names = [name for end in ("", "-wal", "-shm") for name in ("-P", f"{folder}/perdure.db{end}")]
    fault = f"inject={calls}:error={error}:when={first}..{last}"
    return ["strace", "-f", "-qq", "-o", "/dev/null", *names, "-e", f"trace={calls}", "-e", fault]


def run(folder: Path, prefix: list[str], size: int = 0) -> Log:
    """One process from an empty store to the end; its log."""
    folder.mkdir()
    arguments = (folder / "perdure.db", folder / "log", STARTS, size)
    done = subprocess.run(
        [*prefix, sys.executable, "-m", "tests.chaos.diskful", *map(str, arguments)],
        cwd=folder,
        env=environment(PYTHONPATH=f"{SOURCES}:{ROOT}"),
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    log = Log(folder / "log")
    assert done.returncode == 0, f"{prefix[-1:]} {size}: {done.stderr[-3000:]}"
    return log


def judge(folder: Path, log: Log, counters: Counter[str]) -> None:
    """Everything acknowledged is there, whole and done; what was told is typed."""
    lines = [(event, *words) for event, _, *words in log.lines()]
    told = [words for event, *words in lines if event == "told"]
    assert all(name in TYPED for name, _ in told), told
    counters.update(name for name, _ in told)
    assert lines[-1] == ("done",)
    backend = SQLiteBackend(folder / "perdure.db", read_only=True)
    try:
        problems = backend.health().problems
        assert problems == (), (problems, told)
        report = audit(backend)
        assert report.violations == (), list(map(str, report.violations))
        for event, *words in lines:
            if event == "ack":
                row = backend.read(words[0])
                assert row is not None, f"{words[0]} was acknowledged and is gone"
                assert row.state is InvocationState.COMPLETED
    finally:
        backend.close()


def campaign(folder: Path, seed: int, count: int, counters: Counter[str]) -> None:
    """So many processes, each with a fault of its own, and some with too little space."""
    for number in range(count):
        chance = random.Random(f"{seed} {number}")
        place = folder / f"disk-{number}"
        if has_strace() and number % 4:
            calls, error = FAULTS[number % len(FAULTS)]
            first = chance.randint(1, CALLS_MAX)
            prefix = injected(place, calls, error, first, first + chance.randint(0, 5))
            log = run(place, prefix)
            counters["injected"] += 1
        else:
            log = run(place, [], size=chance.randint(140, 260) * 1024)
            counters["limited"] += 1
        judge(place, log, counters)
        shutil.rmtree(place)
    if not has_strace():
        counters["without strace: no ENOSPC, no EIO"] = count
        print("strace is not there or may not be used: apt-get install strace")
