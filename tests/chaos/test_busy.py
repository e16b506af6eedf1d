"""SQLite with eight busy processes: nobody is ever told "locked", and heartbeats come in time."""

from __future__ import annotations

import time

import pytest

from tests.chaos.conftest import MakeFleet
from tests.chaos.fleet import seconds, until

pytestmark = pytest.mark.xdist_group("chaos")

PROCESSES = 8
WAIT_MAX = 0.25
"""Seconds: the 99th percentile of what a heartbeat may wait for its turn among the writers."""


def test_eight_busy_processes(make_sqlite_fleet: MakeFleet) -> None:
    """Each runs jobs all the time and renews its leases up to ten times a second."""
    fleet = make_sqlite_fleet(lease=10.0, concurrency=2, beat=0.1)
    fleet.workers(PROCESSES)
    end = time.monotonic() + seconds(8)
    while time.monotonic() < end:
        if (
            sum(1 for line in fleet.events("body") if line[3] == "roll")
            > 4 * len(fleet.started) - 60
        ):
            fleet.start_jobs(20)
        time.sleep(0.1)
    until(lambda: not fleet.unended(), "all jobs")
    waits = sorted(line[2] for line in fleet.events("renewed"))
    p50, p99 = waits[len(waits) // 2], waits[len(waits) * 99 // 100]
    print(
        f"{len(waits)} heartbeats: p50 {p50 * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms, "
        f"worst {waits[-1] * 1000:.1f} ms"
    )
    errors = [line[2] for line in fleet.events("error")]
    assert errors == []
    assert len(waits) >= 100
    assert p99 <= WAIT_MAX
    fleet.check()
