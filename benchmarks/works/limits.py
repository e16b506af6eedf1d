"""What the disk and the database can do at all, with this backend's durability."""

from __future__ import annotations

from benchmarks.bench import Bench, Figures, Work


def run(bench: Bench) -> Figures:
    """Commits of one row, and rows in transactions of 100. Memory has no such limit."""
    return {f"raw_{name}_per_s": value for name, value in bench.limits().items()}


WORK = Work(name="limits", title="Physical limits: commits of one row, batched rows", run=run)
