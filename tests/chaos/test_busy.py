"""SQLite with eight busy processes: nobody is ever told "locked", and heartbeats come in time."""

from __future__ import annotations

import time

import pytest

from tests.chaos.conftest import MakeFleet
from tests.chaos.fleet import Fleet, seconds, until

pytestmark = pytest.mark.xdist_group("chaos")

PROCESSES = 8
LEASE = 10.0
WAIT_MAX = LEASE / 10
"""Seconds: the 99th percentile of what a heartbeat may wait for its turn among the writers. A lease
is far from its end then. Where little else runs it is below 0.25; beside ten other processes on two
cores it was 0.55, and how busy a machine is must not decide whether this holds."""
ROUNDS = 3
"""How often the bound may be tried: other work on the machine can spoil a round, a fault of ours
spoils each."""


def test_eight_busy_processes(make_sqlite_fleet: MakeFleet) -> None:
    """Each runs jobs all the time and renews its leases up to ten times a second."""
    fleet = make_sqlite_fleet(lease=LEASE, concurrency=2, beat=0.1)
    fleet.workers(PROCESSES)
    p99 = 2 * WAIT_MAX
    for number in range(ROUNDS):
        seen = len(fleet.events("renewed"))
        keep_busy(fleet)
        waits = sorted(line[2] for line in fleet.events("renewed")[seen:])
        p50, p99 = waits[len(waits) // 2], waits[len(waits) * 99 // 100]
        print(
            f"round {number + 1}: {len(waits)} heartbeats: p50 {p50 * 1000:.1f} ms, "
            f"p99 {p99 * 1000:.1f} ms, worst {waits[-1] * 1000:.1f} ms"
        )
        assert len(waits) >= 100
        if p99 <= WAIT_MAX:
            break
    assert p99 <= WAIT_MAX
    until(lambda: not fleet.unended(), "all jobs")
    errors = [line[2] for line in fleet.events("error")]
    assert errors == []
    assert fleet.events("stolen") == [], "nobody died"
    fleet.check()


def keep_busy(fleet: Fleet) -> None:
    """More jobs than the workers can end, for a while."""
    end = time.monotonic() + seconds(8)
    while time.monotonic() < end:
        rolls = sum(1 for line in fleet.events("body") if line[3] == "roll")
        if rolls > 4 * len(fleet.started) - 60:
            fleet.start_jobs(20)
        time.sleep(0.1)
