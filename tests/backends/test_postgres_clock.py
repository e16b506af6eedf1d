"""The server's clock as this process carries it on: never behind by much, never kept by a fork."""

from __future__ import annotations

import multiprocessing
import threading

import psycopg
import pytest

from perdure.backends.limits import QueueLimits
from perdure.backends.postgres import PostgresBackend, clock
from perdure.backends.postgres.clock import TRIP_SECONDS, ServerClock, moment
from perdure.backends.postgres.schema import ADVISORY_SPACE
from perdure.testing.contract import Clock, World
from perdure.testing.contract.world import SECOND
from tests.support.stores import LONG, postgres_url

__all__ = ["postgres_url"]


def test_a_reading_is_carried_on_and_never_back(monkeypatch: pytest.MonkeyPatch) -> None:
    at = 100.0
    monkeypatch.setattr(clock, "moment", lambda: at)
    told = ServerClock()
    assert told.now() is None
    told.learn(5 * SECOND, at)
    at = 102.0
    assert told.now() == 7 * SECOND
    told.learn(6 * SECOND, at)
    assert told.now() == 7 * SECOND
    at = 102.0 + clock.FRESH_SECONDS + 1
    assert told.now() is None


def test_a_reading_that_was_long_under_way_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stopped process would set its timers by it, too early by as long as it was stopped."""
    at = 100.0
    monkeypatch.setattr(clock, "moment", lambda: at)
    told = ServerClock()
    told.learn(5 * SECOND, at - TRIP_SECONDS * 2)
    assert told.now() is None


def test_a_fork_in_the_middle_of_a_reading_does_not_stop_the_child() -> None:
    told = ServerClock()
    told.learn(5 * SECOND, moment())
    reading, go_on = threading.Event(), threading.Event()

    def read() -> None:
        with told._lock:
            reading.set()
            go_on.wait(LONG)

    thread = threading.Thread(target=read)
    thread.start()
    assert reading.wait(LONG)
    # A fork waits for it; were it not waited for, the child would wait for ever.
    context = multiprocessing.get_context("fork")
    child = context.Process(target=told.now)
    threading.Timer(0.1, go_on.set).start()
    child.start()
    thread.join()
    child.join(LONG)
    try:
        assert child.exitcode == 0
    finally:
        child.kill()


def test_a_claim_that_waited_for_its_turn_grants_a_whole_lease(postgres_url: str) -> None:
    backend = PostgresBackend(postgres_url)
    world = World(backend, Clock())
    world.start(queue="gpu")
    limits = {"gpu": QueueLimits(concurrency=1)}
    claims: list[int | None] = []

    def claim() -> None:
        batch = world.claim(limits=limits, lease=SECOND)
        claims.extend([record.lease_until for record in batch.records] + [batch.now])

    thread = threading.Thread(target=claim)
    with psycopg.connect(postgres_url, autocommit=True) as other:
        with other.transaction():
            other.execute(
                "SELECT pg_advisory_xact_lock(%s, hashtext('app' || chr(10) || 'gpu'))",
                [ADVISORY_SPACE],
            )
            thread.start()
            waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            while other.execute(waiting).fetchone() == (0,):
                pass
            late = other.execute("SELECT perdure.now()").fetchone()
        thread.join()
    backend.close()
    assert late is not None
    until, now = claims
    assert until is not None
    assert now is not None
    assert now > late[0]
    assert until == now + SECOND
