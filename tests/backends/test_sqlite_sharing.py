"""Writes of several threads in one transaction: one commit for all, each undone alone."""

from __future__ import annotations

import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from perdure.backends.base import Committed, Refusal
from perdure.backends.sqlite import SQLiteBackend
from perdure.backends.sqlite.store import Store
from perdure.errors import BackendUnavailable, CommitUnknown, ForeignDatabase, ServerListMismatch
from perdure.testing.contract import Clock, World
from tests.support.stores import LONG


class Interrupted(BaseException):
    """Stands for what only a signal raises, anywhere."""


class Leader:
    """Keeps a shared transaction open in its own part until it is let go."""

    def __init__(self, store: Store, error: BaseException | None = None) -> None:
        self.store = store
        self.error = error
        self.begun, self.let_go = threading.Event(), threading.Event()

    def __call__(self, connection: sqlite3.Connection) -> str:
        assert connection.in_transaction
        self.begun.set()
        assert self.let_go.wait(LONG)
        if self.error is not None:
            raise self.error
        return "led"

    def run(self) -> str:
        return self.store.share(self)


def wait_for_parts(store: Store, count: int) -> None:
    deadline = time.monotonic() + LONG
    while len(store._sharing._waiting) != count:
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.fixture
def store(backend: SQLiteBackend, monkeypatch: pytest.MonkeyPatch) -> Store:
    """One whose waiting threads are woken or fail: none gets on because it looks by itself."""
    monkeypatch.setattr("perdure.backends.sqlite.sharing.LOOK_AGAIN", 2 * LONG)
    backend.store_id()
    return backend._store


@contextmanager
def led(store: Store, error: BaseException | None = None) -> Iterator[Future[str]]:
    """While the block runs a leader is in its transaction; it goes on at the end of the block."""
    leader = Leader(store, error)
    pool = ThreadPoolExecutor(1)
    future = pool.submit(leader.run)
    assert leader.begun.wait(LONG)
    try:
        yield future
    finally:
        leader.let_go.set()
        pool.shutdown(wait=False)


def commits_of(store: Store) -> list[str]:
    """The ends of transactions from here on."""
    seen: list[str] = []
    connection = store._writer.connection
    assert connection is not None
    connection.set_trace_callback(lambda text: seen.append(text) if text in ENDS else None)
    return seen


ENDS = ("COMMIT", "ROLLBACK")


def test_who_waits_shares_one_commit_and_each_gets_its_own_result(
    store: Store, world: World
) -> None:
    world.start("taken")
    ends = commits_of(store)
    with ThreadPoolExecutor(4) as pool:
        with led(store) as leader:
            starts = [pool.submit(world.start, id_) for id_ in ("b", "c")]
            again = pool.submit(world.backend.start, world.new("taken"), "return")
            claim = pool.submit(world.backend.register_get, "app", "type", "id", "key")
            assert claim.result(LONG) is None  # reads go on meanwhile
            wait_for_parts(store, 3)
        assert leader.result(LONG) == "led"
        assert [each.result(LONG).key.invocation_id for each in starts] == ["b", "c"]
        assert not again.result(LONG).created
    assert ends == ["COMMIT"]
    assert world.claimed() == ["taken", "b", "c"]


def test_nobody_is_told_before_the_commit(
    store: Store, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    committing, let_go = threading.Event(), threading.Event()
    real = store._writer._commit

    def held() -> None:
        committing.set()
        assert let_go.wait(LONG)
        real()

    with ThreadPoolExecutor(1) as pool:
        with led(store) as leader:
            start = pool.submit(world.start, "b")
            wait_for_parts(store, 1)
            monkeypatch.setattr(store._writer, "_commit", held)
        assert committing.wait(LONG)
        assert not start.done()
        assert not leader.done()
        assert world.backend.read("b") is None
        let_go.set()
        assert start.result(LONG) == world.backend.read("b")
        assert leader.result(LONG) == "led"


def test_a_part_that_fails_is_undone_alone(store: Store, world: World) -> None:
    record = world.running()

    def half(error: Exception | None) -> Callable[[sqlite3.Connection], None]:
        def work(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE invocation SET crashes = 7")
            if error is None:
                connection.execute("SELECT * FROM nowhere")
            else:
                raise error

        return work

    with ThreadPoolExecutor(4) as pool:
        with led(store) as leader:
            fails = pool.submit(store.share, half(ServerListMismatch("other")))
            wait_for_parts(store, 1)
            breaks = pool.submit(store.share, half(None))
            wait_for_parts(store, 2)
            commit = pool.submit(world.try_commit, record, b"1")
            wait_for_parts(store, 3)
        assert leader.result(LONG) == "led"
        with pytest.raises(ServerListMismatch, match="other"):
            fails.result(LONG)
        with pytest.raises(Exception, match=r"no such table: nowhere") as raised:
            breaks.result(LONG)
        assert not isinstance(raised.value, sqlite3.Error)
        assert isinstance(commit.result(LONG), Committed)
    after = world.read(record.key)
    assert (after.crashes, after.head) == (0, 1)


def test_a_leader_that_fails_takes_nobody_along(store: Store, world: World) -> None:
    with ThreadPoolExecutor(1) as pool:
        with led(store, ForeignDatabase("mine")) as leader:
            start = pool.submit(world.start, "b")
            wait_for_parts(store, 1)
        with pytest.raises(ForeignDatabase, match="mine"):
            leader.result(LONG)
        assert start.result(LONG) == world.backend.read("b")


def test_a_commit_in_doubt_is_in_doubt_for_each(
    store: Store, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = world.running()
    real = store._writer._commit

    def doubtful() -> None:
        real()
        raise CommitUnknown("half way")

    with ThreadPoolExecutor(2) as pool:
        with led(store) as leader:
            asked = world.transition(record, b"1")
            both = pool.submit(world.backend.commit, [asked]), pool.submit(world.start, "b")
            wait_for_parts(store, 2)
            monkeypatch.setattr(store._writer, "_commit", doubtful)
        for each in (leader, *both):
            with pytest.raises(CommitUnknown, match="half way"):
                each.result(LONG)
        assert both[0].exception() is not both[1].exception()
    monkeypatch.setattr(store._writer, "_commit", real)
    assert world.backend.commit([asked]) == [Refusal.WRONG_HEAD]
    assert not world.backend.start(world.new("b"), "return").created


def test_an_interrupted_leader_leaves_the_others_in_doubt_and_nothing_behind(
    store: Store, world: World
) -> None:
    def interrupt(_: sqlite3.Connection) -> None:
        raise Interrupted

    with ThreadPoolExecutor(3) as pool:
        with led(store) as leader:
            first = pool.submit(world.start, "b")
            wait_for_parts(store, 1)
            second = pool.submit(store.share, interrupt)
            wait_for_parts(store, 2)
            third = pool.submit(world.start, "c")
            wait_for_parts(store, 3)
        with pytest.raises(Interrupted):
            leader.result(LONG)
        for each in (first, second):
            with pytest.raises(CommitUnknown, match="was interrupted"):
                each.result(LONG)
        assert third.result(LONG) == world.backend.read("c")
    assert world.backend.read("b") is None
    world.start("b")


def test_what_a_leader_was_about_to_do_when_it_was_interrupted_is_done_by_nobody(
    store: Store, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    sharing = store._sharing
    real = sharing._take_back

    def interrupted(_: object) -> bool:
        monkeypatch.setattr(sharing, "_take_back", real)
        raise Interrupted

    with ThreadPoolExecutor(1) as pool:
        with led(store) as leader:
            start = pool.submit(world.start, "b")
            wait_for_parts(store, 1)
            monkeypatch.setattr(sharing, "_take_back", interrupted)
        with pytest.raises(Interrupted):
            leader.result(LONG)
        with pytest.raises(CommitUnknown, match="was interrupted"):
            start.result(LONG)
    world.start("c")
    assert world.backend.read("b") is None, "its thread may have read back that it is not there"


def test_what_an_interrupted_leader_did_not_begin_is_done_by_the_next_one(
    store: Store, world: World
) -> None:
    with ThreadPoolExecutor(1) as pool:
        with led(store, Interrupted()) as leader:
            start = pool.submit(world.start, "b")
            wait_for_parts(store, 1)
            store._sharing._waiting[0].taken = True
        with pytest.raises(Interrupted):
            leader.result(LONG)
        assert start.result(LONG) == world.backend.read("b")
    wait_for_parts(store, 0)


def test_what_an_interrupted_thread_waited_for_does_not_happen_any_more(
    store: Store, world: World
) -> None:
    main = threading.main_thread().ident
    assert main is not None
    with ThreadPoolExecutor(2) as pool, led(store):

        def interrupt() -> None:
            wait_for_parts(store, 1)
            signal.pthread_kill(main, signal.SIGINT)

        told = pool.submit(interrupt)
        with pytest.raises(KeyboardInterrupt):
            world.start("mine")
        told.result(LONG)
        other = pool.submit(world.start, "other")
        wait_for_parts(store, 1)
    assert other.result(LONG) == world.backend.read("other")
    assert world.backend.read("mine") is None


def test_who_waits_too_long_for_a_leader_is_told(
    open_backend: Callable[..., SQLiteBackend],
) -> None:
    backend = open_backend(lock_timeout=0.05)
    backend.store_id()
    world = World(backend, Clock())
    with led(backend._store), pytest.raises(BackendUnavailable, match=r"in a write for more"):
        world.start("late")
    assert backend.read("late") is None


def test_each_part_has_a_now_of_its_own(
    path: object, open_backend: Callable[..., SQLiteBackend]
) -> None:
    times = iter(range(1_000, 2_000))
    backend = open_backend(now=lambda: next(times))
    backend.store_id()
    world = World(backend, Clock())
    with ThreadPoolExecutor(2) as pool:
        with led(backend._store):
            starts = [pool.submit(world.start, id_) for id_ in "ab"]
            wait_for_parts(backend._store, 2)
        assert len({each.result(LONG).created_at for each in starts}) == 2
