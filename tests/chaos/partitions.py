"""Workers whose wire to PostgreSQL is slow, cut, refused or silent, beside one with a good wire."""

from __future__ import annotations

import time

from tests.chaos.fleet import PATIENCE, Fleet, until
from tests.chaos.wire import TROUBLES, Wire

LEASE = 2.0
SECONDS = (0.3, 1.5 * LEASE)
"""How long a wire is in trouble; at times longer than leases, which others take over then."""
BEHIND = 2
"""Workers behind the wire."""
JOBS = 4
OUTCOMES = ("renewal lost", "unknown")
"""What must come of them: leases were lost, outcomes left open."""
EXPECTED = (*TROUBLES, *OUTCOMES)
"""What must have happened."""
MORE = 20
"""Troubles beyond those that were asked for, at most, until all of it did."""


def partition(fleet: Fleet, count: int) -> None:
    """So many troubles, each kind in turn; after each all that was started comes to its end.

    There are more of them while nothing came of them that must: how long one lasts is chance.
    """
    fleet.gate.touch()
    with Wire(fleet.url, fleet.seed) as wire:
        fleet.workers(BEHIND, wire.url)
        fleet.workers(1)
        done = 0
        while done < count or (done < count + MORE and not _all_came(fleet)):
            trouble_once(fleet, wire, TROUBLES[done % len(TROUBLES)])
            done += 1
        fleet.counters.update(wire.counts)
    fleet.counters["troubles"] = done


def _all_came(fleet: Fleet) -> bool:
    return {line[0] for line in fleet.events(*OUTCOMES)} == set(OUTCOMES)


def trouble_once(fleet: Fleet, wire: Wire, trouble: str) -> None:
    """Under load: some is under way when it begins, and some is started until it is over.

    It is not over before it met something.
    """
    began = len(fleet.events("body"))
    fleet.start_jobs(JOBS)
    fleet.await_bodies(began + fleet.chance.randint(1, JOBS))
    least = time.monotonic() + fleet.chance.uniform(*SECONDS)
    most = least + PATIENCE
    wire.become(trouble)
    while time.monotonic() < least or not wire.bites(trouble):
        assert time.monotonic() < most, f"nothing met {trouble!r} within {PATIENCE} s"
        fleet.start_jobs(1)
        time.sleep(0.1)  # a steady load, not a wait
    wire.heal()
    healed_at = time.monotonic()
    until(lambda: not fleet.unended(), f"all after {trouble!r}")
    took = time.monotonic() - healed_at
    fleet.counters["slowest ms"] = max(fleet.counters["slowest ms"], int(took * 1_000))
    fleet.audit()
