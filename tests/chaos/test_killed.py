"""SIGKILL: under load, everybody at once, and by a task that kills whoever runs it."""

from __future__ import annotations

import time

import pytest

from perdure.core.lifecycle import InvocationState
from tests.chaos.conftest import MakeFleet
from tests.chaos.fleet import PATIENCE, seconds, until
from tests.chaos.kills import kill_a_holder, kill_the_busiest

pytestmark = pytest.mark.xdist_group("chaos")

LEASE = 5.0


def test_killed_under_load(make_fleet: MakeFleet) -> None:
    """Whoever began a body last is killed in it, again and again, while workflows are started.

    The workers are the command that users start.
    """
    fleet = make_fleet(command=True)
    kill_a_holder(fleet)
    end = time.monotonic() + seconds(8)
    while time.monotonic() < end:
        kill_the_busiest(fleet)
    until(lambda: not fleet.unended(), "everything that was started")
    fleet.check("stolen", "killed")


def test_everybody_killed_with_a_thousand_in_flight(make_fleet: MakeFleet) -> None:
    count = 1_000
    fleet = make_fleet(lease=LEASE, concurrency=count // 4)
    running = fleet.workers(4)
    for _ in range(count):
        fleet.start("holds")
    fleet.await_bodies(count)
    spare = fleet.workers(4, go="standby")
    for child in running:
        fleet.kill(child)
    killed_at = time.monotonic()
    for child in spare:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    until(
        lambda: len({line[2] for line in fleet.events("stolen")}) == count,
        "all reclaimed",
        LEASE + 10,
    )
    print(f"all reclaimed {time.monotonic() - killed_at:.1f} s after the last kill")
    until(lambda: not fleet.unended(), "all ended", 60.0)
    fleet.check("stolen", "killed")
    assert len(fleet.events("stolen")) >= count


@pytest.mark.parametrize("workflow", ["poisoned", "starts_poison"])
def test_poison(make_fleet: MakeFleet, workflow: str) -> None:
    """The task that kills its process ends as a dead letter that names it; the others end well."""
    fleet = make_fleet(crash_limit=3)
    poisoned = fleet.start(workflow)
    fleet.start_jobs(20)
    deadline = time.monotonic() + PATIENCE
    while not fleet.events("stopped"):
        assert time.monotonic() < deadline
        if not fleet.living():
            fleet.workers(1)
        time.sleep(0.02)
    if not fleet.living():
        fleet.workers(1)
    until(lambda: len(fleet.unended()) <= 1 + (workflow == "starts_poison"), "the others")
    (letter,) = (row for row in fleet.unended() if row.state is InvocationState.DEAD)
    assert "poison" in letter.reason
    assert poisoned in {letter.key, letter.parent}
    assert {row.key for row in fleet.unended()} == {letter.key, poisoned}
    assert len([line for line in fleet.events("body") if line[3] == "poison"]) == 3
    fleet.check("stopped", "stolen", dead=1)
