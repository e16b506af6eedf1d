"""The figures that perdure and its peers are compared by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Found = Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """One figure of one work, for everybody who has it.

    Attributes:
        figure: of a resume only the beginning: its end is how many tasks there were.
        lower: whether less is better.
    """

    title: str
    work: str
    figure: str
    lower: bool = False

    def of(self, by_work: Found) -> float | None:
        """The median, if it was measured."""
        for name, value in by_work.get(self.work, {}).get("medians", {}).items():
            if name == self.figure or (self.figure.endswith("_") and name.startswith(self.figure)):
                return float(value)
        return None

    def times(self, ours: float, theirs: float) -> float:
        """How many times better the first one is."""
        return theirs / ours if self.lower else ours / theirs


COLUMNS = (
    Column("tasks in sequence, 1/s", "tasks", "tasks_per_s"),
    Column("workflows of 5 tasks, results/s", "clients", "results_per_s"),
    Column("latency p50, ms", "latency", "idle_p50_ms", lower=True),
    Column("latency p99, ms", "latency", "idle_p99_ms", lower=True),
    Column("resumed tasks, 1/s", "resume", "tasks_per_s_"),
)
