"""What all programs of the peers share. Standard library only: every peer's Python runs it.

A program does one work once and prints its figures as one line of JSON, the last of its output.
The figures have the names of perdure's, so that they stand in one table.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.rates import spread

TASKS_EACH = 5
PAYLOAD = {
    "id": 1,
    "name": "step result",
    "ok": True,
    "score": 0.8125,
    "tags": ["alpha", "beta", "gamma"],
}
"""What each task gives: about 100 bytes, as perdure's."""

Figures = dict[str, float]


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The options of every program."""
    made = argparse.ArgumentParser()
    made.add_argument("work", choices=("tasks", "clients", "latency", "resume"))
    made.add_argument("--folder", type=Path, required=True, help="for files; it is empty")
    made.add_argument("--url", default="", help="an empty PostgreSQL database of its own")
    made.add_argument("--count", type=int, required=True, help="tasks, workflows, probes, tasks")
    made.add_argument("--concurrency", type=int, required=True)
    made.add_argument("--role", default="", help="what a process that this one starts shall be")
    return made.parse_args(words)


def call_of(module: str, options: argparse.Namespace, role: str) -> list[str]:
    """The command that runs the same program with the same options in another role."""
    return [
        sys.executable, "-m", module, options.work, "--folder", str(options.folder),
        "--url", options.url, "--count", str(options.count),
        "--concurrency", str(options.concurrency), "--role", role,
    ]  # fmt: skip


def report(figures: Figures) -> None:
    """Print them. The process ends at once: what the peer still has running is not waited for."""
    print(json.dumps(figures), flush=True)
    os._exit(0)


def sequence(count: int, seconds: float) -> Figures:
    """Tasks in one workflow, from the first to the last."""
    return {"count": count, "tasks_per_s": count / seconds}


def many(count: int, seconds: float) -> Figures:
    """Workflows of five tasks, from the first start to the last result."""
    return {"count": count, "results_per_s": count * TASKS_EACH / seconds}


def replayed(count: int, seconds: float) -> Figures:
    """Recorded tasks that were passed without running again."""
    return {f"seconds_{count}": seconds, f"tasks_per_s_{count}": count / seconds}


def latencies(seconds: Sequence[float]) -> Figures:
    """Starts to results, one after the other."""
    return {"count": len(seconds), **spread("idle", seconds)}


def timed(call: Callable[[], Any]) -> float:
    """Seconds that it takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def until(condition: Callable[[], Any], what: str, seconds: float = 60.0) -> Any:
    """Look every 20 ms until it gives something.

    Raises:
        TimeoutError: it never did.
    """
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"Waited {seconds:g} s in vain until {what}.")
        time.sleep(0.02)
    return found
