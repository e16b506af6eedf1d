"""PostgreSQL taken away: its server stopped, its COMMITs cut, single sessions terminated."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from tests.chaos.conftest import MakeFleet
from tests.chaos.fleet import Fleet, chosen_seed, seconds, until
from tests.support.postgres import PostgresServer, make_database
from tests.support.proxy import CommitCutter

pytestmark = pytest.mark.xdist_group("chaos")

STOPS = 3
CUTS = 8
"""Of each kind; every other one before the server hears of it."""
LEASE = 2.0
LONG_LEASE = 300.0
"""Nothing in a test comes of the end of such a lease."""


@contextmanager
def locked(url: str, statement: str) -> Iterator[psycopg.Connection]:
    """Keep others from going on, in a transaction that is rolled back or dies with the server."""
    connection = psycopg.connect(url)
    try:
        connection.execute(statement.encode())
        yield connection
    finally:
        connection.close()


def waiting_in(connection: psycopg.Connection, part: str) -> list[int]:
    """Pids of the sessions that wait for a lock in such a statement."""
    # Within a transaction, the view goes on giving what its first look gave.
    connection.execute("SELECT pg_stat_clear_snapshot()")
    rows = connection.execute(
        "SELECT pid, query FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    ).fetchall()
    return [pid for pid, query in rows if part in query]


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
    fleet = Fleet(make_database(server.url()), tmp_path, chosen_seed(), lease=LEASE)
    try:
        fleet.workers(2)
        away_for_longer_than_a_lease(fleet, server)
        end = time.monotonic() + seconds(3)
        stops = 0
        while stops < STOPS or time.monotonic() < end:
            began = len(fleet.events("body"))
            fleet.start_jobs(8)
            fleet.await_bodies(began + fleet.chance.randint(2, 8))
            stop_in_a_commit(fleet, server)
            stops += 1
            server.start()
            fleet.audit()
        until(lambda: not fleet.unended(), "everything that was started")
        fleet.counters["server stopped"] = stops + 1
        fleet.check("server stopped", "unknown", "stolen", "stale", "renewal lost")
    finally:
        fleet.close()
        server.remove()


def away_for_longer_than_a_lease(fleet: Fleet, server: PostgresServer) -> None:
    """What a worker held is over, whether or not it lived on: somebody takes it, and it is told."""
    fleet.start("starts_held")
    _, pid, *_ = fleet.body_of("held")
    before = len(fleet.events())
    server.stop(signal.SIGQUIT)
    time.sleep(LEASE)  # by the server's clock, too: nothing was renewed since
    server.start()
    fleet.body_of("held", 2)
    fleet.await_event("renewal lost", pid, before)
    fleet.gate.touch()
    fleet.await_event("stale", pid, before)
    fleet.audit()


def stop_in_a_commit(fleet: Fleet, server: PostgresServer) -> None:
    """COMMIT was sent, and nobody will ever tell what became of it."""
    with locked(fleet.url, "LOCK perdure.entry IN EXCLUSIVE MODE") as connection:
        fleet.start_jobs(2)
        until(lambda: waiting_in(connection, "perdure.commit("), "a commit that waits")
        server.stop(signal.SIGQUIT)


def test_commits_cut(make_postgres_fleet: MakeFleet) -> None:
    """Of appends and of claims, before they reach the server and after it has committed.

    No lease ends meanwhile, so each outcome is found out and not waited for.
    """
    fleet = make_postgres_fleet(lease=LONG_LEASE)
    left = {"entry": CUTS, "claim": CUTS}

    def choose(what: str) -> str:
        if not left[what] or fleet.chance.random() < 0.5:
            return "pass"
        left[what] -= 1
        return ("before", "after")[left[what] % 2]

    with CommitCutter(fleet.url, choose) as proxy:
        fleet.workers(2, proxy.url)
        while any(left.values()):
            began = len(fleet.events("body"))
            fleet.start_jobs(5)
            fleet.await_bodies(began + 10)
        until(lambda: not fleet.unended(), "everything that was started")
        kinds = [(what, when) for what in left for when in ("before", "after")]
        assert proxy.cuts == dict.fromkeys(kinds, CUTS // 2)
        fleet.check("unknown", "claim unknown", "resolved committed", "resolved not committed")
        assert fleet.counters["stolen"] == 0


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
