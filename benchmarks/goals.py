"""What perdure wants to reach. A goal that is missed is explained in the docs, not hidden."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Goal:
    """A bound on the median of one figure.

    Attributes:
        labels: backends that it is for, as the start of a label.
        at_least: whether more is better.
    """

    labels: str
    work: str
    figure: str
    bound: float
    at_least: bool = True

    def is_met(self, value: float) -> bool:
        """Whether this median is good enough."""
        return value >= self.bound if self.at_least else value <= self.bound

    def __str__(self) -> str:
        return f"{'>=' if self.at_least else '<='} {self.bound:,g}"


GOALS = (
    Goal("sqlite full", "tasks", "tasks_per_s/commits", 0.6),
    Goal("sqlite full", "throughput", "results_per_s", 15_000),
    Goal("postgres", "throughput", "results_per_s", 10_000),
    Goal("postgres", "fleet", "cpu_ratio", 1.15, at_least=False),
    Goal("postgres", "fleet", "waiting_speed_up", 1.6),
    Goal("sqlite", "latency", "idle_p50_ms", 1.0, at_least=False),
    Goal("postgres", "latency", "idle_p50_ms", 3.0, at_least=False),
    Goal("", "latency", "idle_p99_to_p50", 5.0, at_least=False),
    Goal("", "resume", "seconds_10000", 0.06, at_least=False),
    Goal("", "draws", "random_recorded_per_s", 200_000),
    Goal("", "draws", "random_replayed_per_s", 600_000),
    Goal("", "waiting", "disk_bytes_each_10000", 2_048, at_least=False),
    Goal("", "waiting", "worker_bytes_each_100000", 16, at_least=False),
    Goal("", "wakeups", "late_max_ms", 1_000, at_least=False),
)


OURS = ("memory", "sqlite", "postgres")
"""How the labels of perdure's backends begin; all others are peers."""


def goal_of(label: str, work: str, figure: str) -> Goal | None:
    """The goal for a figure of perdure, if there is one."""
    for goal in GOALS if label.startswith(OURS) else ():
        if label.startswith(goal.labels) and (goal.work, goal.figure) == (work, figure):
            return goal
    return None
