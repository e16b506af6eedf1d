"""A fleet is replaced, worker by worker, by a newer program that migrates under load."""

from __future__ import annotations

import pytest

from tests.chaos import rolling
from tests.chaos.conftest import MakeFleet

pytestmark = pytest.mark.xdist_group("chaos")

WORKERS = 2


def test_old_and_new_work_side_by_side(make_fleet: MakeFleet) -> None:
    """The migration allows older programs: nobody stops, nothing fails, nothing runs twice."""
    fleet = make_fleet(command=True, lease=rolling.LEASE)
    rolling.replace(fleet, WORKERS)
    fleet.check("replaced")


def test_old_ones_stop_where_the_new_ones_cannot_bear_them(make_fleet: MakeFleet) -> None:
    """What they ran is taken over at once, and what they would have written is not there."""
    fleet = make_fleet(command=True, lease=rolling.LEASE)
    rolling.stop(fleet, WORKERS)
    fleet.check("refused", "stolen")
