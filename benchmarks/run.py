"""Measures perdure on this machine, as ratios within one run. Not a test: nothing here can fail it.

    python benchmarks/run.py [--rounds 5] [--json FILE]

Times of a shared machine mean little by themselves. So each round measures the work and what it is
compared with right after one another, and the medians of the rounds are printed.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

from perdure import Perdure, wf

TASKS = 1_000
DRAWS = 100_000
JOURNAL = 10_000


def raw_commits(path: Path, count: int) -> float:
    """Single-row commits per second of plain sqlite3 with WAL and synchronous=FULL."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE row (id INTEGER PRIMARY KEY, body BLOB)")
    start = time.perf_counter()
    for _ in range(count):
        connection.execute("INSERT INTO row (body) VALUES (?)", (b"x" * 200,))
    elapsed = time.perf_counter() - start
    connection.close()
    return count / elapsed


class Workload:
    """One app on a fresh database; what its workflows measured inside of themselves."""

    def __init__(self, directory: Path) -> None:
        """Register the workflows."""
        self.app = Perdure(f"sqlite:///{directory / 'bench.db'}")
        self.rate = 0.0

        @self.app.task(name="noop")
        def noop(number: int) -> int:
            return number

        @self.app.workflow(name="tasks")
        def tasks(count: int) -> None:
            start = time.perf_counter()
            for number in range(count):
                noop(number)
            self.rate = count / (time.perf_counter() - start)

        @self.app.workflow(name="draws")
        def draws(count: int) -> None:
            start = time.perf_counter()
            for _ in range(count):
                wf.random()
            noop(0)  # its commit takes the last draws along: all of them are durable here
            self.rate = count / (time.perf_counter() - start)

        self.tasks = tasks
        self.draws = draws


def sequential_tasks(directory: Path) -> dict[str, float]:
    """No-op tasks in one workflow, and raw commits on the same disk before and after."""
    before = raw_commits(directory / "raw-before.db", TASKS)
    load = Workload(directory)
    with load.app:
        load.tasks(TASKS)
    after = raw_commits(directory / "raw-after.db", TASKS)
    raw = (before + after) / 2
    return {"tasks_per_s": load.rate, "raw_commits_per_s": raw, "ratio": load.rate / raw}


def draw_rates(directory: Path) -> dict[str, float]:
    """Draws per second, recorded durably and replayed."""
    load = Workload(directory)
    with load.app:
        load.draws.options(id="draws").start(DRAWS).result()
        recorded = load.rate
        load.app.verify("draws")
    return {"recorded_per_s": recorded, "replayed_per_s": load.rate}


def replay(directory: Path) -> dict[str, float]:
    """Loading and replaying a journal of 10,000 tasks: seconds, and peak bytes per entry."""
    load = Workload(directory)
    with load.app:
        load.tasks.options(id="long").start(JOURNAL).result()
        start = time.perf_counter()
        load.app.verify("long")
        elapsed = time.perf_counter() - start
        tracemalloc.start()
        load.app.verify("long")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return {"seconds_for_10000": elapsed, "peak_bytes_per_entry": peak / JOURNAL}


def import_time(_: Path) -> dict[str, float]:
    """Milliseconds of `import perdure`, beside those of `import asyncio` and of no import."""

    def milliseconds(code: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return (time.perf_counter() - start) * 1_000

    empty = milliseconds("pass")
    return {
        "import_perdure_ms": milliseconds("import perdure") - empty,
        "import_asyncio_ms": milliseconds("import asyncio") - empty,
        "interpreter_ms": empty,
    }


BENCHES: dict[str, Callable[[Path], dict[str, float]]] = {
    "sequential tasks (SQLite, synchronous=FULL)": sequential_tasks,
    "draws in a workflow": draw_rates,
    "replay of 10,000 tasks": replay,
    "import": import_time,
}


def main() -> None:
    """Run every bench in every round and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write all figures of all rounds to this file")
    options = parser.parse_args()
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in BENCHES}
    for number in range(options.rounds):
        for name, bench in BENCHES.items():
            with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as directory:
                rounds[name].append(bench(Path(directory)))
        print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
    for name, results in rounds.items():
        print(name)
        for figure in results[0]:
            values = [result[figure] for result in results]
            low, middle, high = min(values), statistics.median(values), max(values)
            print(f"  {figure:24} {middle:12,.2f}   [{low:,.2f} - {high:,.2f}]")
    if options.json:
        options.json.write_text(json.dumps(rounds, indent=2), "utf-8")


if __name__ == "__main__":
    main()
