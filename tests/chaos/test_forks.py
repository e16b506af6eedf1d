"""Forks of a process whose app is open and at work: parent and child both go on."""

from __future__ import annotations

import pytest

from tests.chaos import forks
from tests.chaos.conftest import MakeFleet

pytestmark = pytest.mark.xdist_group("chaos")

COUNT = 8


@pytest.mark.timeout(240)
def test_forks_of_a_busy_process(make_fleet: MakeFleet) -> None:
    fleet = make_fleet()
    forks.fork(fleet, COUNT)
    fleet.check(*forks.EXPECTED, "stolen")
