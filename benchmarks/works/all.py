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

WORKS = (
    limits.WORK,
    draws.WORK,
    tasks.WORK,
    tasks.PURE,
    throughput.WORK,
    throughput.PURE,
    clients.WORK,
    fleet.WORK,
    latency.WORK,
    resume.WORK,
    growth.WORK,
    crowd.WORK,
    waiting.WORK,
    wakeups.WORK,
)
