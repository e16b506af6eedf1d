"""Workers whose wire to PostgreSQL is slow, cut, refused or silent, beside one with a good wire."""

from __future__ import annotations

import time

from tests.chaos.fleet import Fleet, until
from tests.chaos.wire import TROUBLES, Wire

LEASE = 2.0
SECONDS = (0.3, 1.5 * LEASE)
"""How long a wire is in trouble; at times longer than leases, which others take over then."""
BEHIND = 2
"""Workers behind the wire."""
JOBS = 4
EXPECTED = (*TROUBLES, "renewal lost", "unknown")
"""What must have happened: each kind has bitten, leases were lost, outcomes left open."""


def partition(fleet: Fleet, count: int) -> None:
    """So many troubles, each kind in turn; after each all that was started comes to its end."""
    fleet.gate.touch()
    with Wire(fleet.url, fleet.seed) as wire:
        fleet.workers(BEHIND, wire.url)
        fleet.workers(1)
        for number in range(count):
            trouble_once(fleet, wire, TROUBLES[number % len(TROUBLES)])
        fleet.counters.update(wire.counts)
    fleet.counters["troubles"] = count


def trouble_once(fleet: Fleet, wire: Wire, trouble: str) -> None:
    """Under load: some is under way when it begins, and some is started meanwhile."""
    began = len(fleet.events("body"))
    fleet.start_jobs(JOBS)
    fleet.await_bodies(began + fleet.chance.randint(1, JOBS))
    until_over = time.monotonic() + fleet.chance.uniform(*SECONDS)
    wire.become(trouble)
    while time.monotonic() < until_over:
        fleet.start_jobs(1)
        time.sleep(0.1)  # a steady load, not a wait
    wire.heal()
    healed_at = time.monotonic()
    until(lambda: not fleet.unended(), f"all after {trouble!r}")
    took = time.monotonic() - healed_at
    fleet.counters["slowest ms"] = max(fleet.counters["slowest ms"], int(took * 1_000))
    fleet.audit()
