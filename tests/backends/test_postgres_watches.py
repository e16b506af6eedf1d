"""Watches of what is started and ends at that very moment; connections hold each other up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import psycopg
import pytest

from perdure.backends.base import Committed, Finish, Suspend
from perdure.backends.postgres import PostgresBackend
from perdure.backends.postgres.commits import Wave, start_call
from perdure.backends.postgres.store import Call, Transaction
from perdure.backends.server import FIRST_LIST
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import InvocationState
from perdure.testing.contract import Clock, World
from tests.support.stores import LONG

DONE = Finish(state=InvocationState.COMPLETED, outcome=b"null")


class Undone(Exception):
    """What keeps a transaction from being committed."""


@pytest.fixture
def worlds(postgres_url: str) -> Iterator[tuple[World, World]]:
    """Two processes of one database."""
    backends = [PostgresBackend(postgres_url) for _ in range(2)]
    mine, other = (World(backend, Clock()) for backend in backends)
    yield mine, other
    for backend in backends:
        backend.close()


@contextmanager
def held(world: World, call: Call, *, commits: bool) -> Iterator[Future[None]]:
    """While the block runs, a transaction that made this call is open; then it ends."""
    assert isinstance(world.backend, PostgresBackend)
    store = world.backend._store
    made, let_go = threading.Event(), threading.Event()

    def work(transaction: Transaction) -> None:
        transaction.rows(*call)
        made.set()
        assert let_go.wait(LONG)
        if not commits:
            raise Undone

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(store.write, work)
        assert made.wait(LONG)
        try:
            yield future
        finally:
            let_go.set()


def wait_until_blocked(url: str, or_done: Callable[[], bool] = lambda: False) -> None:
    """Until a connection waits for the lock of another one."""
    deadline = time.monotonic() + LONG
    with psycopg.connect(url, autocommit=True) as connection:
        while not or_done():
            waiting = connection.execute(
                "SELECT FROM pg_stat_activity"
                " WHERE datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0"
            ).fetchone()
            if waiting is not None:
                return
            assert time.monotonic() < deadline
            time.sleep(0.001)


def test_the_end_of_what_was_started_meanwhile_is_told(
    worlds: tuple[World, World], postgres_url: str
) -> None:
    """The watch looks for its target before it is started, and again when it is about to end."""
    mine, other = worlds
    store_id = mine.backend.store_id()
    watcher, target = mine.running("watcher"), InvocationKey("target", 1)
    asked = mine.transition(
        watcher, children=(mine.new("child"),), watches=(target,), disposition=Suspend()
    )
    with ThreadPoolExecutor(1) as pool:
        # The commit waits, after its first look, for the id of its child.
        taken = start_call(mine.new("child"), store_id, FIRST_LIST)
        with held(other, taken, commits=False) as taker:
            commit = pool.submit(mine.backend.commit, [asked])
            wait_until_blocked(postgres_url)
            ends = other.transition(other.running("target"), disposition=DONE)
            stack = ExitStack()
            ending = held(other, Wave([ends]).call(store_id, FIRST_LIST), commits=True)
            ender = stack.enter_context(ending)
        with stack:
            assert isinstance(taker.exception(LONG), Undone)
            wait_until_blocked(postgres_url, commit.done)
        ender.result(LONG)
        (result,) = commit.result(LONG)
    assert isinstance(result, Committed)
    assert mine.sources(watcher.key) == [target]
    assert mine.read(watcher.key).state is InvocationState.READY
    assert mine.backend.read("child") is not None
