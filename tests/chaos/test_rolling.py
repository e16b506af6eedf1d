"""A fleet is replaced, worker by worker, by a newer program that migrates under load."""

from __future__ import annotations

import pytest

from perdure.errors import SchemaMismatch
from tests.chaos.conftest import MakeFleet
from tests.chaos.fleet import PATIENCE, until

pytestmark = pytest.mark.xdist_group("chaos")

JOBS = 6
"""Started between any two steps, so that each step meets work under way."""

REFUSED = 5
"""The exit code of `perdure worker` for a database that it must not use."""


def test_old_and_new_work_side_by_side(make_fleet: MakeFleet) -> None:
    """The migration allows older programs: nobody stops, nothing fails, nothing runs twice."""
    fleet = make_fleet(command=True, lease=60.0)
    older = fleet.workers(2)
    fleet.start_jobs(JOBS)
    for old in older:
        fleet.start_jobs(JOBS)
        fleet.await_ready(fleet.worker(newer="beside older ones"))
        fleet.start_jobs(JOBS)
        old.terminate()
        assert old.wait(PATIENCE) == 0
        fleet.counters["replaced"] += 1
    until(lambda: not fleet.unended(), "everything that was started")
    fleet.check("replaced")
    assert fleet.counters["stolen"] == fleet.counters["error"] == 0


def test_old_ones_stop_where_the_new_ones_cannot_bear_them(make_fleet: MakeFleet) -> None:
    """What they ran is taken over at once, and what they would have written is not there."""
    fleet = make_fleet(command=True, lease=60.0)
    older = fleet.workers(2)
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
    fleet.check("refused", "stolen")
