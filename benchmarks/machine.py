"""The machine that was measured on, and how busy it was."""

from __future__ import annotations

import os
import platform
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

import perdure
from benchmarks.rates import rate


def facts() -> dict[str, str]:
    """What does not change while the benchmarks run."""
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "perdure": perdure.__version__,
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": models[0] if models else "unknown",
        "cpus": str(len(os.sched_getaffinity(0))),
        "memory_mib": str(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20),
        "file_system": _file_system(tempfile.gettempdir()),
        "switch_interval_s": str(sys.getswitchinterval()),
    }


def _file_system(folder: str) -> str:
    """The type of the file system that holds the databases."""
    best = ("", "unknown")
    for line in Path("/proc/mounts").read_text("utf-8").splitlines():
        _, mounted, kind, *_ = line.split()
        if Path(folder).resolve().is_relative_to(mounted) and len(mounted) > len(best[0]):
            best = (mounted, kind)
    return best[1]


def state(seconds: float) -> dict[str, float]:
    """How fast and how busy it is now: a loop in Python, synced writes, and the load."""

    def loop(_: int) -> None:
        for _number in range(10_000):
            pass

    with tempfile.TemporaryFile(buffering=0) as file:

        def write(_: int) -> None:
            file.write(b"x" * 4_096)
            os.fdatasync(file.fileno())

        return {
            "at": time.time(),
            "load_1_min": os.getloadavg()[0],
            "python_loops_per_s": rate(loop, seconds) * 10_000,
            "synced_writes_per_s": rate(write, seconds),
        }
