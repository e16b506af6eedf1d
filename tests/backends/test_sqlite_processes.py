"""Several real processes on one file: forks, races, a killed writer, a stopped one."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import warnings
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from perdure.backends.base import Committed
from perdure.backends.sqlite import SQLiteBackend, store
from perdure.core.entries import verify_chain
from perdure.core.lifecycle import InvocationState
from perdure.errors import BackendUnavailable
from perdure.testing.contract import Clock, World
from perdure.testing.contract.world import LEASE

PATIENCE = 60
"""Seconds after which a child that hangs is a failure."""

PROLOGUE = """
import json, os, sys
from perdure.backends.base import *
from perdure.backends.sqlite import SQLiteBackend
from perdure.testing.contract import Clock, World
clock = Clock()
backend = SQLiteBackend(sys.argv[1], now=clock)
world = World(backend, clock)
def say(*words):
    print(*words, flush=True)
def wait():
    sys.stdin.readline()
"""


@contextmanager
def process(path, program):
    """Run `program` in a process of its own, which talks over its standard streams."""
    child = subprocess.Popen(
        [sys.executable, "-c", PROLOGUE + textwrap.dedent(program), str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield child
    finally:
        child.send_signal(signal.SIGCONT)
        child.kill()
        child.communicate(timeout=PATIENCE)


def in_fork(action):
    """What `action` returns (JSON) in a forked child, which then leaves without any cleaning up."""
    read_end, write_end = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        try:
            signal.alarm(PATIENCE)
            answer = action()
        except BaseException as error:
            answer = repr(error)
        os.write(write_end, json.dumps(answer).encode())
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        answer = json.load(pipe)
    assert os.waitpid(pid, 0) == (pid, 0)
    return answer


def sqlite_files_open():
    names = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            names.append(str(descriptor.readlink()))
    return sorted(name for name in names if "perdure.db" in name)


def test_a_child_inherits_no_connection_and_both_go_on(world):
    record = world.running()
    world.backend.renew("worker-1", [world.holding(record)], LEASE)

    def in_child():
        inherited = sqlite_files_open()
        world.start("from-child")
        return [inherited, world.backend.read("a").epoch]

    assert in_fork(in_child) == [[], 1]
    assert world.backend.read("from-child") is not None
    record = world.step(record, b"1")
    assert in_fork(lambda: len(world.backend.read_journal(record.key))) == 1
    assert world.backend.health().problems == ()


def test_a_child_survives_the_close_of_its_parent(world, path):
    """With an inherited connection the parent would now delete the log under its child."""
    world.start()
    ready_read, ready_write = os.pipe()
    go_read, go_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(PATIENCE)
        world.start("one")
        os.write(ready_write, b".")
        os.read(go_read, 1)
        world.start("two")
        os._exit(0 if world.backend.read("two") else 1)
    os.read(ready_read, 1)
    world.backend.close()
    os.write(go_write, b".")
    assert os.waitpid(pid, 0) == (pid, 0)
    for descriptor in (ready_read, ready_write, go_read, go_write):
        os.close(descriptor)
    after = SQLiteBackend(path)
    assert {after.read(id_) is not None for id_ in ("a", "one", "two")} == {True}
    assert after.health().problems == ()
    after.close()


def test_a_fork_waits_for_the_write_in_flight(world):
    record = world.running()
    inside, go_on = threading.Event(), threading.Event()

    def write():
        with world.backend._store.write() as connection:
            connection.execute("UPDATE invocation SET crashes = 3")
            inside.set()
            go_on.wait(PATIENCE)

    thread = threading.Thread(target=write)
    thread.start()
    inside.wait(PATIENCE)
    real = world.backend._store._come_to_rest

    def come_to_rest(timeout):
        go_on.set()
        return real(timeout)

    world.backend._store._come_to_rest = come_to_rest
    assert in_fork(lambda: world.backend.read("a", locked=True).crashes) == 3
    thread.join()
    assert world.read(record.key).crashes == 3


def test_a_fork_in_the_middle_of_a_write_gives_the_child_a_clear_error(world, monkeypatch):
    monkeypatch.setattr(store, "FORK_PATIENCE", 0.05)
    record = world.running()
    with world.backend._store.write() as connection:
        connection.execute("UPDATE invocation SET crashes = 3")
        answer = in_fork(lambda: world.backend.read("a"))
        assert "forked while another thread" in answer
        assert "spawn" in answer
    assert world.read(record.key).crashes == 3
    assert in_fork(lambda: world.backend.read("a").crashes) == 3


def test_a_child_never_unlocks_what_its_parent_holds(world, open_backend, monkeypatch):
    monkeypatch.setattr(store, "FORK_PATIENCE", 0.05)
    world.start()
    other = open_backend(lock_timeout=0.1)
    other.owners()
    with world.backend._store.write():
        in_fork(lambda: None)
        with pytest.raises(BackendUnavailable, match=f"Process {os.getpid()} holds it"):
            other.read("a", locked=True)


def _child_of_multiprocessing(path, number):
    backend = SQLiteBackend(path)
    world = World(backend, Clock())
    for step in range(10):
        world.start(f"child-{number}-{step}")
    backend.close()


def test_children_of_multiprocessing(path, world):
    world.start()
    context = multiprocessing.get_context("fork")
    children = [
        context.Process(target=_child_of_multiprocessing, args=(path, number))
        for number in range(3)
    ]
    for child in children:
        child.start()
    for step in range(10):
        world.start(f"parent-{step}")
    for child in children:
        child.join(PATIENCE)
        assert child.exitcode == 0
    records = world.claim(limit=1_000).records
    assert len(records) == 41
    assert world.backend.health().problems == ()


def test_processes_that_write_at_once_lose_nothing_and_never_see_a_lock(path, world):
    """Each claims, commits and finishes; every row is run once, every journal is whole."""
    program = """
    say("ready")
    wait()
    done = 0
    while records := world.claim(owner=sys.argv[1] + str(os.getpid()), limit=3).records:
        for record in records:
            for body in (b"1", b"2", b"3"):
                record = world.step(record, body)
            backend.renew(record.owner, [world.holding(record)], 10**9)
            world.finish(record)
            done += 1
    say(done)
    """
    for number in range(60):
        world.start(f"i{number}")
    with (
        process(path, program) as one,
        process(path, program) as two,
        process(path, program) as three,
    ):
        children = (one, two, three)
        for child in children:
            assert child.stdout.readline() == "ready\n"
        for child in children:
            child.stdin.write("go\n")
            child.stdin.flush()
        assert sum(int(child.stdout.readline()) for child in children) == 60
    for number in range(60):
        record = world.backend.read(f"i{number}")
        assert (record.state, record.epoch, record.head) == (InvocationState.COMPLETED, 1, 3)
    assert world.backend.health().problems == ()


def test_processes_that_open_a_new_file_at_once(path):
    program = """
    say("ready")
    wait()
    say(backend.store_id().hex())
    """
    with process(path, program) as one, process(path, program) as two:
        for child in (one, two):
            assert child.stdout.readline() == "ready\n"
        for child in (one, two):
            child.stdin.write("go\n")
            child.stdin.flush()
        assert one.stdout.readline() == two.stdout.readline() != ""


@pytest.mark.parametrize("acknowledged", [1, 7, 40])
def test_a_killed_writer_loses_nothing_that_it_was_told(path, world, acknowledged):
    program = """
    record = world.running()
    while True:
        record = world.step(record, b"x" * 3_000, b"y")
        say(record.head)
    """
    with process(path, program) as child:
        while int(child.stdout.readline()) < 2 * acknowledged:
            pass
        child.kill()
        heads = [int(line) for line in child.stdout.read().split("\n")[:-1]]
    told = max([2 * acknowledged, *heads])
    record = world.backend.read("a", locked=True)
    entries = world.backend.read_journal(record.key)
    assert record.head in (told, told + 2)
    assert verify_chain(record.key, record.seed, entries, record.head) == record.head_hash
    assert world.backend.health().problems == ()
    connection = world.backend._store._writer.connection
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    world.clock.advance(LEASE)
    (again,) = world.claim().records
    assert (again.epoch, again.crashes) == (2, 1)
    assert isinstance(world.try_commit(again, b"z"), Committed)


def test_a_process_killed_inside_a_write_leaves_no_trace_and_no_lock(path, world):
    program = """
    record = world.running()
    with backend._store.write() as connection:
        connection.execute("UPDATE invocation SET crashes = 99")
        say("inside")
        wait()
    """
    with process(path, program) as child:
        assert child.stdout.readline() == "inside\n"
        child.kill()
        child.wait(PATIENCE)
        assert world.backend.read("a", locked=True).crashes == 0


def test_a_stopped_writer_is_named_by_its_pid(path, world, open_backend):
    world.start("b")
    waiting = open_backend(lock_timeout=0.1)
    waiting.renew("w", [], 1)
    program = """
    with backend._store.write() as connection:
        say("inside")
        wait()
    """
    with process(path, program) as child:
        assert child.stdout.readline() == "inside\n"
        child.send_signal(signal.SIGSTOP)
        match = rf"perdure\.db-lock.*within 0\.1 s.*Process {child.pid} holds it.*continue or kill"
        with pytest.raises(BackendUnavailable, match=match):
            waiting.start(world.new("a"), "return")
        with pytest.raises(BackendUnavailable, match=f"Process {child.pid}"):
            waiting.renew("w", [], 1)
        assert waiting.read("b") is not None
        child.send_signal(signal.SIGCONT)
        child.stdin.write("go\n")
        child.stdin.flush()
        child.wait(PATIENCE)
        assert waiting.start(world.new("a"), "return").created
