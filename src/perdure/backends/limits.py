"""Queues as a backend sees them: what code declares of them, and what is in them."""

from __future__ import annotations

from typing import NamedTuple

import msgspec


class Rate(NamedTuple):
    """At most `claims` claims in any `period` microseconds."""

    claims: int
    period: int


class QueueLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much of one queue may run at a time, as the code of the claiming worker declares it.

    What counts is the live lease: a row that is RUNNING, whose lease is not over at the time of the
    claim, and whose owner is not known to be gone. So no crash can keep a slot, and a row that
    waits holds none.

    Attributes:
        concurrency: live leases of the queue, over all workers; None for no limit.
        worker_concurrency: live leases of the queue that belong to the claiming owner.
        key_concurrency: live leases of the queue with one and the same `limit_key`.
        rate: claims of the queue per period, retries and recoveries included.
    """

    concurrency: int | None = None
    worker_concurrency: int | None = None
    key_concurrency: int = 1
    rate: Rate | None = None

    @property
    def bounds_all(self) -> bool:
        """Whether rows without a key may be kept back, too."""
        bounds = (self.concurrency, self.worker_concurrency, self.rate)
        return any(bound is not None for bound in bounds)


NO_LIMITS = QueueLimits()
"""Limits of a queue that is not declared: only rows with equal keys keep each other waiting."""


class QueueStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One queue of an app, in one look.

    Attributes:
        ready: claimable now, if the limits allow it: ready, due, or with a lease that is over.
        scheduled: claimable later, by time alone: delayed starts and timers.
        running: live leases.
        oldest: microseconds since the first of the ready ones became so; None without one.
    """

    queue: str
    ready: int
    scheduled: int
    running: int
    oldest: int | None
