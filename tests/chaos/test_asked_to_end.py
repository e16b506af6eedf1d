"""SIGTERM to `perdure worker` at each phase: it ends in time, with its leases given back."""

from __future__ import annotations

import signal

import pytest

from tests.chaos.conftest import MakeFleet
from tests.chaos.endings import LEASE, PHASES, ask_to_end, ended
from tests.chaos.fleet import until

pytestmark = pytest.mark.xdist_group("chaos")


@pytest.mark.parametrize("where", ["before claim", "after claim", "before commit", "after commit"])
def test_asked_to_end_in_a_call(make_sqlite_fleet: MakeFleet, where: str) -> None:
    """Nothing is lost and nothing counted as a crash; another worker goes on at once."""
    fleet = make_sqlite_fleet(command=True, lease=60.0)
    fleet.start_jobs(6)
    child = fleet.worker(ends_at=where)
    fleet.await_ready(child)
    ended(fleet, child)
    assert {row.crashes for row in fleet.records()} == {0}
    fleet.workers(1)
    until(lambda: not fleet.unended(), "everything that was started")
    fleet.check()
    assert fleet.counters["stolen"] == 0


def test_asked_to_end_while_idle_and_in_a_body(make_postgres_fleet: MakeFleet) -> None:
    fleet = make_postgres_fleet(command=True, lease=60.0)
    (idle,) = fleet.workers(1)
    idle.terminate()
    ended(fleet, idle)
    (busy,) = fleet.workers(1)
    fleet.start("starts_held")
    fleet.body_of("held")
    busy.terminate()
    fleet.start_jobs(3)  # for others
    fleet.gate.touch()
    ended(fleet, busy)
    assert len(fleet.events("body")) == 1, "its body ended, and it began no other"
    fleet.workers(1)
    until(lambda: not fleet.unended(), "everything that was started")
    fleet.check()
    assert len([line for line in fleet.events("body") if line[3] == "held"]) == 1


def test_told_twice(make_sqlite_fleet: MakeFleet) -> None:
    """It leaves its body behind at once, and another takes it over without waiting for a lease."""
    fleet = make_sqlite_fleet(command=True, lease=60.0)
    (busy,) = fleet.workers(1)
    fleet.start("holds")
    fleet.body_of("held")
    busy.terminate()
    assert busy.stderr is not None
    assert any("stopping" in line for line in busy.stderr), "it heard the first"
    busy.terminate()
    ended(fleet, busy, 128 + signal.SIGTERM)
    fleet.workers(1)
    fleet.body_of("held", 2)
    until(lambda: not fleet.unended(), "everything that was started")
    fleet.check("stolen")


@pytest.mark.timeout(300)
def test_asked_to_end_at_each_phase(make_fleet: MakeFleet) -> None:
    """One worker after the other on one store, also while it starts and while it renews."""
    fleet = make_fleet(command=True, lease=LEASE)
    ask_to_end(fleet, len(PHASES))
    fleet.check(*PHASES)
