"""Every work, in the order of a run."""

from __future__ import annotations

from benchmarks.works import (
    clients,
    crowd,
    draws,
    fleet,
    growth,
    latency,
    limits,
    resume,
    tasks,
    throughput,
    waiting,
    wakeups,
)

WORKS = tuple(
    module.WORK
    for module in (
        limits,
        draws,
        tasks,
        throughput,
        clients,
        fleet,
        latency,
        resume,
        growth,
        crowd,
        waiting,
        wakeups,
    )
)
