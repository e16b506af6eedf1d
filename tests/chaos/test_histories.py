"""What clients in several processes were answered, while they and the workers are killed."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.chaos import histories
from tests.chaos.conftest import MakeFleet
from tests.chaos.fleet import remember

pytestmark = pytest.mark.xdist_group("chaos")

COUNT = 15


def test_histories_of_clients_that_are_killed(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(lease=2.0)
    counters: Counter[str] = Counter()
    histories.campaign(fleet, COUNT, counters)
    remember(fleet.seed, counters, *histories.expected(COUNT), "clients killed", "workers killed")
