"""PostgreSQL taken away: its server stopped, its COMMITs cut, single sessions terminated."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from tests.chaos import outages, partitions
from tests.chaos.conftest import MakeFleet
from tests.chaos.fleet import Fleet, chosen_seed, until
from tests.chaos.outages import locked, waiting_in
from tests.support.postgres import PostgresServer, make_database

pytestmark = pytest.mark.xdist_group("chaos")

STOPS = 4
CUTS = 16
"""A quarter of each kind: of appends and claims, before the server hears of it and after."""
TROUBLES = 5
"""One of each kind."""


def terminate_one_in(url: str, part: str) -> None:
    """`pg_terminate_backend` on a session that waits for a lock in such a statement."""
    with psycopg.connect(url, autocommit=True) as connection:

        def terminated() -> bool:
            found = waiting_in(connection, part)
            return bool(found and connection.execute("SELECT pg_terminate_backend(%s)", found[:1]))

        until(terminated, "a session in the middle of it")


def test_stopped_immediately_under_load(tmp_path: Path) -> None:
    """The server dies as in a power cut of its own, comes back, and nothing is lost or doubled."""
    server = PostgresServer()
    server.start()
    fleet = Fleet(make_database(server.url()), tmp_path, chosen_seed(), lease=outages.LEASE)
    try:
        outages.stop(fleet, server, STOPS)
        fleet.check("server stopped", "unknown", "stolen", "stale", "renewal lost")
    finally:
        fleet.close()
        server.remove()


def test_commits_cut(make_postgres_fleet: MakeFleet) -> None:
    fleet = make_postgres_fleet(lease=outages.LONG_LEASE)
    outages.cut(fleet, CUTS)
    assert {name: n for name, n in fleet.counters.items() if " cut " in name} == {
        f"{what} cut {when}": CUTS // 4
        for what in ("entry", "claim")
        for when in ("before", "after")
    }
    fleet.check("unknown", "claim unknown", "resolved committed", "resolved not committed")
    assert fleet.counters["stolen"] == 0


@pytest.mark.timeout(300)
def test_behind_a_bad_wire(make_postgres_fleet: MakeFleet) -> None:
    """Each trouble of it bites, and once it is over all that was started comes to its end."""
    fleet = make_postgres_fleet(lease=partitions.LEASE)
    partitions.partition(fleet, TROUBLES)
    fleet.check(*partitions.EXPECTED)


MOMENTS = {
    "claim": ("LOCK perdure.invocation IN EXCLUSIVE MODE", "owner ="),
    "commit": ("LOCK perdure.entry IN EXCLUSIVE MODE", "perdure.commit("),
    "renew": ("LOCK perdure.invocation IN EXCLUSIVE MODE", "lease_until ="),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_session_terminated(make_postgres_fleet: MakeFleet, moment: str) -> None:
    """In the middle of one statement: the worker connects anew, and everything is done once."""
    fleet = make_postgres_fleet(lease=6.0, beat=0.2 if moment == "renew" else 0.0)
    fleet.workers(1)
    fleet.start("starts_held")
    fleet.body_of("held")  # so that there is a lease to renew
    lock, part = MOMENTS[moment]
    with locked(fleet.url, lock):
        if moment != "commit":
            terminate_one_in(fleet.url, part)
    if moment == "commit":
        with locked(fleet.url, lock):
            fleet.start_jobs(3)
            terminate_one_in(fleet.url, part)
    fleet.gate.touch()
    fleet.start_jobs(3)
    until(lambda: not fleet.unended(), "everything that was started", 60.0)
    fleet.counters["terminated"] = 1
    fleet.check("terminated")
