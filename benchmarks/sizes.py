"""How much of each work is done: for a real run, for a quick look, and for the smoke test."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Counts, unless the name ends in a unit.

    Attributes:
        draws: of each kind, in one workflow.
        tasks: in sequence, in one workflow.
        workflows: of five tasks, for throughput.
        waiting_workflows: of five tasks that wait, for throughput.
        pause_seconds: how long such a task waits.
        probes: workflows whose latency is taken, one after the other.
        journals: lengths of the journals that are resumed.
        growth: tasks in the one long attempt.
        sleepers: workflows that wait while memory and disk are looked at.
        finished: finished workflows beside which claims are timed.
        waiting: waiting workflows beside which claims are timed.
        claims: how many are timed.
        due: sleeping workflows that become due, `due_per_s` each second, beside `waiting`.
        lead_seconds: how long before the first of them is due they are made.
        limit_seconds: how long each raw limit is measured.
    """

    draws: int
    tasks: int
    workflows: int
    waiting_workflows: int
    pause_seconds: float
    probes: int
    journals: tuple[int, ...]
    growth: int
    sleepers: tuple[int, ...]
    finished: int
    waiting: int
    claims: int
    due: int
    due_per_s: int
    lead_seconds: float
    limit_seconds: float


FULL = Sizes(
    draws=100_000,
    tasks=1_000,
    workflows=2_000,
    waiting_workflows=300,
    pause_seconds=0.02,
    probes=300,
    journals=(1_000, 10_000, 100_000),
    growth=10_000,
    sleepers=(10_000, 100_000),
    finished=1_000_000,
    waiting=1_000_000,
    claims=200,
    due=10_000,
    due_per_s=1_000,
    lead_seconds=5.0,
    limit_seconds=0.5,
)
QUICK = Sizes(
    draws=20_000,
    tasks=500,
    workflows=400,
    waiting_workflows=60,
    pause_seconds=0.02,
    probes=100,
    journals=(1_000, 10_000),
    growth=2_000,
    sleepers=(1_000,),
    finished=100_000,
    waiting=100_000,
    claims=50,
    due=1_000,
    due_per_s=500,
    lead_seconds=3.0,
    limit_seconds=0.2,
)
SMALLEST = Sizes(
    draws=20,
    tasks=10,
    workflows=4,
    waiting_workflows=2,
    pause_seconds=0.001,
    probes=2,
    journals=(5,),
    growth=10,
    sleepers=(3,),
    finished=20,
    waiting=20,
    claims=2,
    due=3,
    due_per_s=100,
    lead_seconds=0.5,
    limit_seconds=0.002,
)
"""Shows only that each work runs."""
