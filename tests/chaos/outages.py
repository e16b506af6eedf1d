"""PostgreSQL taken away: its server stopped, its COMMITs cut."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from tests.chaos.fleet import Fleet, until
from tests.support.postgres import PostgresServer
from tests.support.proxy import CommitCutter

LEASE = 2.0
LONG_LEASE = 300.0
"""Nothing in a run comes of the end of such a lease."""


def stop(fleet: Fleet, server: PostgresServer, count: int) -> None:
    """The server dies so often as in a power cut of its own, comes back, and all goes on."""
    fleet.workers(2)
    away_for_longer_than_a_lease(fleet, server)
    for _ in range(count - 1):
        stop_under_load(fleet, server)
    until(lambda: not fleet.unended(), "everything that was started")


def stop_under_load(fleet: Fleet, server: PostgresServer) -> None:
    """In the middle of a commit."""
    began = len(fleet.events("body"))
    fleet.start_jobs(8)
    fleet.await_bodies(began + fleet.chance.randint(2, 8))
    stop_in_a_commit(fleet, server)
    fleet.counters["server stopped"] += 1
    server.start()
    fleet.audit()


def away_for_longer_than_a_lease(fleet: Fleet, server: PostgresServer) -> None:
    """What a worker held is over, whether or not it lived on: somebody takes it, and it is told."""
    fleet.start("starts_held")
    _, pid, *_ = fleet.body_of("held")
    before = len(fleet.events())
    server.stop(signal.SIGQUIT)
    fleet.counters["server stopped"] += 1
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


def cut(fleet: Fleet, count: int) -> None:
    """So many COMMITs, of appends and of claims, before they reach the server and after it did it.

    No lease ends meanwhile, so each outcome is found out and not waited for.
    """
    left = {"entry": (count + 1) // 2, "claim": count // 2}

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
        fleet.counters.update({f"{what} cut {when}": n for (what, when), n in proxy.cuts.items()})
    assert sum(proxy.cuts.values()) == count, proxy.cuts


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
