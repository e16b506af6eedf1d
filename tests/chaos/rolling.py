"""A fleet is replaced, worker by worker, by a newer program that migrates under load."""

from __future__ import annotations

import pytest

from perdure.errors import SchemaMismatch
from tests.chaos.fleet import PATIENCE, Fleet, until

LEASE = 60.0
"""Nothing in a run comes of the end of such a lease."""
JOBS = 6
"""Started between any two steps, so that each step meets work under way."""
REFUSED = 5
"""The exit code of `perdure worker` for a database that it must not use."""


def replace(fleet: Fleet, count: int) -> None:
    """So many workers, one after the other, by such whose migration lets older ones go on."""
    older = fleet.workers(count)
    fleet.start_jobs(JOBS)
    for old in older:
        fleet.start_jobs(JOBS)
        fleet.await_ready(fleet.worker(newer="beside older ones"))
        fleet.start_jobs(JOBS)
        old.terminate()
        assert old.wait(PATIENCE) == 0
        fleet.counters["replaced"] += 1
    until(lambda: not fleet.unended(), "everything that was started")
    assert fleet.events("stolen", "error") == [], "nobody had to take anything from anybody"


def stop(fleet: Fleet, count: int) -> None:
    """So many workers, all at once, by one whose migration lets no older program write."""
    older = fleet.workers(count)
    fleet.start("holds")
    fleet.body_of("held")
    fleet.start_jobs(2 * JOBS)
    fleet.await_ready(fleet.worker(newer="alone"))
    fleet.gate.touch()
    for old in older:
        assert old.wait(PATIENCE) == REFUSED
        assert old.stderr is not None
        last = old.stderr.read().rstrip().splitlines()[-1]
        assert "Upgrade perdure" in last
        fleet.counters["refused"] += 1
    with pytest.raises(SchemaMismatch):
        fleet.start("job", 0)
    until(lambda: not fleet.unended(), "everything that was started")
