"""Hints on SQLite: counters in the lock file, which others look at; never relied on."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from perdure.backends.base import Suspend
from perdure.backends.hints import ANYTHING, NOTHING, claimable, slot_of
from perdure.backends.letters import Letter
from perdure.backends.sqlite import SQLiteBackend, bell
from perdure.core.entries import EntryKind
from perdure.core.identity import InvocationKey
from perdure.testing.contract import Clock, World
from tests.support.stores import LONG

Open = Callable[[], World]


@pytest.fixture
def open_world(tmp_path: Path) -> Iterator[Open]:
    opened: list[World] = []

    def open_one() -> World:
        clock = Clock()
        opened.append(World(SQLiteBackend(tmp_path / "a.db", now=clock), clock))
        return opened[-1]

    yield open_one
    for world in opened:
        world.backend.close()


def listener(world: World) -> bell._Listener:
    """Its ear, without a thread: a test looks by itself."""
    backend = world.backend
    assert isinstance(backend, SQLiteBackend)
    return bell._Listener(backend._store.bell, lambda hint: None)


def key(id_: str) -> InvocationKey:
    return InvocationKey(id_, 1)


def test_what_others_start_is_heard_once_and_our_own_is_not(open_world: Open) -> None:
    ours, theirs = open_world(), open_world()
    ours.start("before")
    ear = listener(ours)
    assert ear._look() == NOTHING
    ours.start("ours")
    theirs.start("theirs")
    assert ear._look() == claimable([key("theirs")])
    assert ear._look() == NOTHING
    ours.start("more")
    assert ear._look() == NOTHING


def test_it_is_heard_by_whoever_listened_before_there_was_a_database(open_world: Open) -> None:
    ear = listener(open_world())
    open_world().start("a")
    assert ear._look() == claimable([key("a")])


def test_each_write_tells_what_others_may_wait_for(open_world: Open) -> None:
    ear, world = listener(open_world()), open_world()
    for id_ in ("parent", "ends", "sleeps", "stays"):
        world.start(id_)
    ear._look()
    records = {record.key.invocation_id: record for record in world.claim().records}
    assert ear._look() == NOTHING, "a claim"
    world.commit(records["stays"], b"1")
    assert ear._look() == NOTHING, "entries"
    world.commit(records["parent"], watches=(key("ends"),))
    assert ear._look() == NOTHING
    world.finish(records["ends"])
    assert ear._look() == claimable([key("parent"), key("ends")])
    parked = world.dispose(records["sleeps"], Suspend())
    assert parked.touched == ()
    assert ear._look() == NOTHING
    letter = Letter(kind="message", name="word", letter_id="id", body=b"1")
    for heard in (claimable([key("sleeps")]), NOTHING):
        world.backend.send(key("sleeps"), letter)
        assert ear._look() == heard
    stays = world.read(key("stays"))
    (said,) = world.transition(stays, b"1").entries
    world.commit(stays, entries=(msgspec.structs.replace(said, kind=EntryKind.PUBLISH),))
    assert ear._look() == slot_of("stays")
    world.finish(world.read(key("stays")))
    assert ear._look() == slot_of("stays")
    assert not world.backend.resume(key("stays"))
    assert ear._look() == NOTHING


def test_what_did_not_happen_is_not_told(open_world: Open) -> None:
    ear, world = listener(open_world()), open_world()
    world.start("a")
    ear._look()
    store = world.backend._store  # type: ignore[attr-defined]  # the backend of this file
    with pytest.raises(ZeroDivisionError), store.write():
        store.tell(ANYTHING)
        raise ZeroDivisionError
    world.claim()
    assert ear._look() == NOTHING


def test_all_counters_wrap(open_world: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bell, "_WRAP", 2)
    ours, theirs = open_world(), open_world()
    ear = listener(ours)
    everything = ANYTHING
    for _ in range(5):
        for world, heard in ((ours, NOTHING), (theirs, everything)):
            store = world.backend._store  # type: ignore[attr-defined]  # as above
            with store.write():
                store.tell(everything)
            assert ear._look() == heard


def test_a_listener_looks_less_often_in_silence_and_at_once_when_something_is_expected(
    open_world: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bell, "LOOK_MAX_SECONDS", 2 * LONG)
    monkeypatch.setattr(bell, "SILENCE_SHARE", 1e-9)
    heard = threading.Event()
    ours, theirs = open_world(), open_world()
    ear = ours.backend.hints(lambda hint: heard.set())
    assert ear is not None
    theirs.start("a")
    while not heard.is_set():
        ear.expect()  # its pause is minutes by now, or will be: the last look saw nothing
    assert heard.wait(LONG)


def test_threads_end_with_the_backend(tmp_path: Path) -> None:
    def ours() -> list[threading.Thread]:
        return [each for each in threading.enumerate() if each.name == "perdure-listen"]

    backend = SQLiteBackend(tmp_path / "a.db")
    ear = backend.hints(lambda hint: None)
    backend.hints(lambda hint: None)
    assert len(ours()) == 2
    ear.close()
    ear.close()
    assert len(ours()) == 1
    backend.close()
    assert ours() == []

    backend.hints(lambda hint: None)
    (left,) = ours()
    del backend, ear
    gc.collect()
    left.join(LONG)
    assert not left.is_alive()


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_fork_leaves_the_ear_to_the_parent(open_world: Open) -> None:
    ours, theirs = open_world(), open_world()
    ours.start("a")
    ear = listener(ours)
    running = ours.backend.hints(lambda hint: None)
    child = os.fork()
    if child == 0:
        try:
            ours.start("b")
            assert ours.backend.hints(lambda hint: None) is not None
            ours.backend.close()
        except BaseException:
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert ear._look() != NOTHING, "the child is another process"
    theirs.start("c")
    assert ear._look() == claimable([key("c")])
    assert running is not None
    running.close()
