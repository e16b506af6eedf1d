"""Hints by LISTEN and NOTIFY: heard by others, seldom told, proven, never relied on."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable, Iterator

import psycopg
import pytest

from perdure import Perdure
from perdure.backends.base import Suspend
from perdure.backends.hints import ANYTHING, CLAIMABLE, Hint, claimable, slot_of
from perdure.backends.limits import QueueLimits
from perdure.backends.postgres import PostgresBackend, hints
from perdure.core.identity import InvocationKey
from perdure.errors import BackendUnavailable
from perdure.testing.contract import Clock, World
from perdure.worker import worker as worker_module
from tests.support.stores import LONG, postgres_url

__all__ = ["postgres_url"]


class Ear:
    """Counts what is heard; waits for a number of it."""

    def __init__(self) -> None:
        self.count = 0
        self.heard: list[Hint] = []
        self._changed = threading.Condition()

    def __call__(self, hint: Hint) -> None:
        with self._changed:
            self.count += 1
            self.heard.append(hint)
            self._changed.notify_all()

    def wait(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.count >= count, LONG)


Open = Callable[[], PostgresBackend]


@pytest.fixture
def open_backend(postgres_url: str) -> Iterator[Open]:
    opened: list[PostgresBackend] = []

    def open_one() -> PostgresBackend:
        opened.append(PostgresBackend(postgres_url))
        return opened[-1]

    yield open_one
    for backend in opened:
        backend.close()


@pytest.fixture
def notes(postgres_url: str) -> Iterator[Callable[[int], list[str]]]:
    """Waits for so many notes on a session of its own, and gives all that have arrived."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("LISTEN perdure")

        def read(count: int) -> list[str]:
            found = [note.payload for note in connection.notifies(timeout=LONG, stop_after=count)]
            assert len(found) >= count
            return found + [note.payload for note in connection.notifies(timeout=0)]

        yield read


def start(backend: PostgresBackend, id_: str) -> None:
    backend.start(World(backend, Clock()).new(id_), "return")


def test_a_start_elsewhere_is_heard_and_our_own_is_not(open_backend, notes) -> None:
    ours, theirs, ear = open_backend(), open_backend(), Ear()
    end = ours.hints(ear)
    ear.wait(1)  # proven, and what was told before is looked for
    start(ours, "a")
    while not any(note.startswith(ours._hints._name) for note in notes(1)):
        pass
    start(theirs, "b")
    ear.wait(2)
    assert ear.count == 2, "notes arrive in the order of their commits, and ours was before theirs"
    assert ear.heard == [ANYTHING, claimable((InvocationKey("b", 1),))]
    end.close()
    end.close()


def test_what_nobody_may_wait_for_is_not_told(open_backend, notes) -> None:
    backend = open_backend()
    world = World(backend, Clock())
    start(backend, "a")
    assert len(notes(1)) == 1
    start(backend, "a")
    (record,) = backend.claim(world.request()).records
    backend.commit([world.transition(record)])
    backend.close()
    with psycopg.connect(backend._store.target.conninfo, autocommit=True) as connection:
        connection.execute("NOTIFY perdure, 'the end'")
    assert notes(1) == ["the end"]


def test_many_hints_are_few_notes(open_backend, notes, monkeypatch) -> None:
    monkeypatch.setattr(hints, "TELL_SECONDS", LONG)
    backend = open_backend()
    start(backend, "first")
    assert len(notes(1)) == 1, "the first is told at once"
    for number in range(20):
        start(backend, f"a{number}")
    backend.close()  # does not leave the last untold
    assert len(notes(1)) == 1


def test_a_hint_that_cannot_be_told_does_not_keep_the_next_one(open_backend, monkeypatch) -> None:
    failed, told = threading.Event(), threading.Event()

    def note(self: hints.Hints, text: str) -> None:
        if not failed.is_set():
            failed.set()
            raise BackendUnavailable("away")
        told.set()

    monkeypatch.setattr(hints.Hints, "_note", note)
    backend = open_backend()
    start(backend, "a")
    assert failed.wait(LONG)
    start(backend, "b")
    assert told.wait(LONG)


def test_a_lost_session_is_replaced(open_backend, postgres_url) -> None:
    ours, theirs, ear = open_backend(), open_backend(), Ear()
    ours.hints(ear)
    ear.wait(1)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        killed = connection.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND query = 'LISTEN perdure'"
        ).fetchone()
    assert killed == (1,)
    ear.wait(2)  # hints may have been missed meanwhile
    start(theirs, "a")
    ear.wait(3)


def test_a_long_silence_is_broken(open_backend, notes, monkeypatch) -> None:
    monkeypatch.setattr(hints, "PROVE_EVERY", 0.01)
    backend, ear = open_backend(), Ear()
    backend.hints(ear)
    assert notes(4)[:4] == ["", "", "", ""]
    assert ear.count == 1, "a note that proves is no hint"


def test_who_hears_nothing_gives_up_once(open_backend, monkeypatch, caplog) -> None:
    monkeypatch.setattr(hints, "PROOF_SECONDS", 0.05)
    monkeypatch.setattr(hints.Hints, "_note", lambda self, note: None)
    backend, ear = open_backend(), Ear()
    with caplog.at_level("INFO", "perdure.postgres"):
        end = backend.hints(ear)
        backend._hints._listeners[0]._thread.join(LONG)
        end.close()
    assert ear.count == 0
    assert [record.message for record in caplog.records if "polling" in record.message] != []
    assert len([record for record in caplog.records if "polling" in record.message]) == 1


def test_threads_end_with_the_backend(open_backend, postgres_url) -> None:
    def ours() -> list[threading.Thread]:
        names = ("perdure-tell", "perdure-listen")
        return [each for each in threading.enumerate() if each.name in names]

    backend, ear = open_backend(), Ear()
    backend.hints(ear)
    ear.wait(1)
    start(backend, "a")
    assert len(ours()) == 2
    backend.close()
    assert ours() == []

    forgotten = PostgresBackend(postgres_url)
    forgotten.hints(ear)
    ear.wait(2)
    start(forgotten, "b")
    left = ours()
    del forgotten
    gc.collect()
    for thread in left:
        thread.join(LONG)
        assert not thread.is_alive()


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_fork_leaves_the_session_to_the_parent(open_backend) -> None:
    ours, theirs, ear = open_backend(), open_backend(), Ear()
    ours.hints(ear)
    ear.wait(1)
    start(ours, "a")
    child = os.fork()
    if child == 0:
        try:
            ours.close()
            start(ours, "b")
            ours.close()
            gc.collect()
        except BaseException:
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    ear.wait(2)  # what the child told
    start(theirs, "c")
    ear.wait(3)


def test_a_worker_hears_what_another_process_started(postgres_url, notes, monkeypatch) -> None:
    monkeypatch.setattr(worker_module, "POLL_SECONDS", 2 * LONG)
    here, there = (Perdure(postgres_url, local_worker=False) for _ in range(2))
    ran = threading.Semaphore(0)

    def answer() -> None:
        ran.release()

    here.workflow(name="answer")(answer)
    theirs = there.workflow(name="answer")(answer)
    try:
        here.start_worker()
        assert notes(1)[0] == "", "it listens"
        for number in range(5):
            theirs.options(id=f"a{number}").start()
            assert ran.acquire(timeout=LONG)
    finally:
        here.close(1)
        there.close(1)


def test_a_close_in_the_middle_of_telling_fails_no_commit(open_backend, monkeypatch) -> None:
    backend = open_backend()
    backend.store_id()
    lock = backend._hints._lock

    class Closing:
        """A lock; as soon as it is let go, another thread closes the backend."""

        def __enter__(self) -> None:
            lock.acquire()

        def __exit__(self, *_: object) -> None:
            lock.release()
            monkeypatch.setattr(backend._hints, "_lock", lock)
            backend.close()

    monkeypatch.setattr(backend._hints, "_lock", Closing())
    start(backend, "a")
    assert backend.read("a") is not None


def test_what_happened_is_no_error_when_no_thread_can_tell_of_it(open_backend, monkeypatch) -> None:
    backend = open_backend()

    def no_thread(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    backend.store_id()
    monkeypatch.setattr(threading.Thread, "start", no_thread)
    start(backend, "a")
    monkeypatch.undo()
    assert backend.read("a") is not None


def test_the_end_of_a_lease_under_a_limit_is_told(open_backend, monkeypatch) -> None:
    """Nobody else is touched by it, but somebody may wait for the slot."""
    backend = open_backend()
    world = World(backend, Clock())
    for id_, changes in {
        "plain": {},
        "queued": {"queue": "gpu"},
        "keyed": {"limit_key": "k"},
        "kept": {"queue": "gpu"},
    }.items():
        world.start(id_, **changes)
    records = {
        record.key.invocation_id: record
        for record in world.claim(limits={"gpu": QueueLimits(concurrency=9)}).records
    }
    told: list[Hint] = []
    monkeypatch.setattr(backend._hints, "tell", told.append)
    world.commit(records["kept"], b"1")
    world.finish(records["plain"])
    assert told == [slot_of("plain")]
    world.finish(records["queued"])
    world.dispose(records["keyed"], Suspend())
    assert told[1:] == [CLAIMABLE | slot_of("queued"), CLAIMABLE]
    assert len(backend._limited) == 1
