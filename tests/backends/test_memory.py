"""What only the memory backend does: its own clock, its forks, and its life with the process."""

from __future__ import annotations

import os
import signal
import threading

import msgspec
import pytest

from perdure.backends.memory import MemoryBackend
from perdure.core.lifecycle import InvocationState
from perdure.errors import InternalError, JournalCorrupted
from perdure.testing.contract import Clock, World


def test_two_stores_draw_apart_and_an_id_can_be_given():
    assert MemoryBackend().store_id() != MemoryBackend().store_id()
    assert MemoryBackend(store_id=b"s" * 16).store_id() == b"s" * 16


def test_the_default_clock_is_the_real_one():
    backend = MemoryBackend()
    assert 1_700_000_000_000_000 < backend.now() <= backend.now()


def test_rows_stay_after_close():
    world = World(MemoryBackend(), Clock())
    world.start()
    world.backend.close()
    assert world.backend.read("a") is not None


def test_a_fork_waits_for_a_method_in_flight_and_the_child_has_a_copy():
    backend = MemoryBackend()
    world = World(backend, Clock())
    inside, go_on = threading.Event(), threading.Event()

    def slow_clock():
        inside.set()
        go_on.wait(60)
        return 5

    backend._clock = slow_clock
    thread = threading.Thread(target=world.start)
    thread.start()
    inside.wait(60)
    real = backend.before_fork

    def before_fork():
        go_on.set()
        real()

    vars(backend)["before_fork"] = before_fork
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)
        found = world.backend.read("a")
        world.start("b")
        os._exit(0 if found is not None else 1)
    assert os.waitpid(pid, 0) == (pid, 0)
    thread.join()
    assert world.backend.read("b") is None


def test_a_move_that_the_lifecycle_forbids_is_our_bug():
    backend = MemoryBackend()
    record = World(backend, Clock()).start()
    moved = msgspec.structs.replace(record, state=InvocationState.PARKED)
    with pytest.raises(InternalError, match="from ready to parked"):
        backend._put(moved)


def test_what_cannot_be_read_of_a_start_leaves_nothing():
    """Half of the row was there, and every look at the queues stumbled over it."""
    world = World(MemoryBackend(), Clock())
    with pytest.raises(JournalCorrupted):
        world.backend.start(world.new("a", options=b"nonsense"), "raise")
    assert world.backend.read("a") is None
    assert world.backend.owners() == frozenset()
    world.start("a")
    assert world.backend.health().problems == ()
