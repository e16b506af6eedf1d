"""Transactions of one process: unknown outcomes, interrupts, the order of writers, one clock."""

from __future__ import annotations

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from perdure.backends.base import Refusal, RetryLater, Suspend
from perdure.backends.sqlite.claims import candidates
from perdure.backends.sqlite.gate import Gate
from perdure.errors import BackendFull, BackendUnavailable, CommitUnknown
from perdure.testing.contract import Clock, World
from perdure.testing.contract.world import LEASE, SECOND


class Faulty:
    """A connection whose next COMMIT fails, before or after it happened."""

    def __init__(self, connection, error, *, after):
        self.connection = connection
        self.error = error
        self.after = after
        self.closed = False

    def __getattr__(self, name):
        return getattr(self.connection, name)

    def execute(self, text, *parameters):
        if text == "COMMIT":
            if self.after:
                self.connection.execute("COMMIT")
            raise self.error
        return self.connection.execute(text, *parameters)

    def close(self):
        self.closed = True
        self.connection.close()


def sqlite_error(name):
    error = sqlite3.OperationalError("injected")
    error.sqlite_errorcode = getattr(sqlite3, name)
    error.sqlite_errorname = name
    return error


def fail_commit(world, error, *, after):
    writer = world.backend._store._writer
    writer.connection = Faulty(writer.connection, error, after=after)
    return writer.connection


@pytest.mark.parametrize("after", [False, True])
def test_a_commit_that_failed_in_the_middle_is_unknown_and_can_be_settled(world, after):
    record = world.running()
    asked = world.transition(record, b"1", children=(world.new("child"),))
    faulty = fail_commit(world, sqlite_error("SQLITE_IOERR_FSYNC"), after=after)
    with pytest.raises(CommitUnknown, match="may or may not have happened"):
        world.backend.commit([asked])
    assert faulty.closed
    found = world.backend.read(*record.key, locked=True)
    assert (found.last_token == asked.token) is after
    assert (world.backend.read("child") is not None) is after
    again = world.backend.commit([asked])
    assert again[0] == (Refusal.WRONG_HEAD if after else again[0])
    assert len(world.backend.read_journal(record.key)) == 1


@pytest.mark.parametrize(
    ("name", "expected"),
    [("SQLITE_FULL", BackendFull), ("SQLITE_BUSY", BackendUnavailable)],
)
def test_a_commit_that_certainly_failed_says_so(world, name, expected):
    record = world.running()
    fail_commit(world, sqlite_error(name), after=False)
    with pytest.raises(expected):
        world.commit(record, b"1")
    writer = world.backend._store._writer
    writer.connection = writer.connection.connection
    assert world.read(record.key) == record
    world.commit(record, b"1")


def test_an_interrupt_inside_a_write_undoes_it_and_frees_the_locks(world, open_backend):
    record = world.running()
    store = world.backend._store

    def interrupted():
        raise KeyboardInterrupt

    connection = store._writer.connection
    connection.create_function("perdure_now", 0, interrupted)
    real = connection.execute

    class Interrupting(Faulty):
        def execute(self, text, *parameters):
            if text.startswith("INSERT INTO invocation"):
                raise KeyboardInterrupt
            return real(text, *parameters)

    store._writer.connection = Interrupting(connection, None, after=False)
    with pytest.raises(KeyboardInterrupt):
        world.commit(record, b"1", children=(world.new("child"),))
    store._writer.connection = connection
    assert not connection.in_transaction
    assert world.read(record.key) == record
    other = World(open_backend(lock_timeout=0.5), world.clock)
    other.start("b")


def test_an_interrupt_after_the_commit_frees_the_locks_too(world, open_backend):
    record = world.running()
    asked = world.transition(record, b"1")
    faulty = fail_commit(world, KeyboardInterrupt(), after=True)
    with pytest.raises(KeyboardInterrupt):
        world.backend.commit([asked])
    world.backend._store._writer.connection = faulty.connection
    assert world.backend.read("a", locked=True).last_token == asked.token
    World(open_backend(lock_timeout=0.5), world.clock).start("b")


def test_a_write_inside_a_write_is_refused_and_the_outer_one_goes_on(world):
    record = world.running()

    def meddling():
        with pytest.raises(BackendUnavailable, match="inside a write"):
            world.backend.resume(record.key)
        return world.clock.at

    world.backend._store._writer.clock._clock = meddling
    world.commit(record, b"1", disposition=Suspend())
    assert world.backend._store._gate._writer is None


def test_one_transaction_has_one_now(path, open_backend):
    times = iter(range(1_000, 2_000))
    backend = open_backend(now=lambda: next(times))
    world = World(backend, Clock())
    for id_ in ("a", "b", "c"):
        world.start(id_)
    batch = backend.claim(world.request(lease=LEASE))
    assert {record.lease_until for record in batch.records} == {batch.now + LEASE}
    assert {record.base_time for record in batch.records} == {batch.now}
    retry = RetryLater(delay=SECOND)
    backend.commit([world.transition(record, disposition=retry) for record in batch.records])
    assert len({world.read(record.key).wake_at for record in batch.records}) == 1


def test_a_pending_renewal_goes_before_queued_ordinary_writers():
    gate = Gate()
    with (
        gate.renewal(5),
        pytest.raises(BackendUnavailable, match=r"in a write for more than 0\.01 s"),
    ):
        gate.enter(0.01)
    with gate.ordinary(5), gate.renewal(5):
        pass


def test_a_writer_goes_on_when_the_renewals_are_done():
    gate = Gate()
    with ThreadPoolExecutor(1) as pool:
        with gate.renewal(5):
            waiting = pool.submit(gate.enter, 60)
        waiting.result(5)


def test_a_second_renewal_waits_for_the_first():
    gate = Gate()
    with gate.renewal(5), ThreadPoolExecutor(1) as pool:
        second = pool.submit(gate.renewal(0.01).__enter__)
        with pytest.raises(BackendUnavailable, match="in a renewal"):
            second.result(5)


def test_a_renewal_does_not_wait_for_an_ordinary_writer_that_queues_elsewhere(world, open_backend):
    """The lock file is held by another process; our ordinary writer queues there, and so does the
    renewal, on its own descriptor: when the lock comes free both get their turn."""
    record = world.running()
    holder = open_backend()
    with ThreadPoolExecutor(2) as pool:
        with holder._store.write():
            write = pool.submit(world.start, "b")
            renew = pool.submit(
                world.backend.renew, "worker-1", [world.holding(record)], 9 * SECOND
            )
            assert not write.done()
            assert not renew.done()
        assert renew.result(5) == {world.holding(record)}
        assert write.result(5).key.invocation_id == "b"


def test_a_writer_that_waits_too_long_for_a_thread_of_its_own_process(open_backend):
    backend = open_backend(lock_timeout=0.05)
    backend.owners()
    with ThreadPoolExecutor(1) as pool, backend._store.write():
        waiting = pool.submit(backend.read, "a", locked=True)
        with pytest.raises(BackendUnavailable, match=r"Another thread of this process.*0\.05 s"):
            waiting.result(5)


def test_reads_do_not_wait_for_writers(world):
    record = world.running()
    with world.backend._store.write() as connection:
        connection.execute("UPDATE invocation SET crashes = 7 WHERE seq = 1")
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(world.backend.read, "a").result(5) == record
            assert pool.submit(world.backend.read_journal, record.key).result(5) == []


def test_more_readers_than_connections(world):
    world.start()
    barrier = threading.Barrier(20)

    def read(_):
        barrier.wait()
        return world.backend.read("a")

    with ThreadPoolExecutor(20) as pool:
        assert len(set(map(str, pool.map(read, range(20))))) == 1
    assert len(world.backend._store._readers.everyone()) <= 8
    world.backend.close()
    assert world.backend._store._readers.everyone() == []


def test_a_claim_with_nothing_to_take_does_not_queue_among_the_writers(world, open_backend):
    world.start(delay=SECOND)
    holder = open_backend()
    with holder._store.write():
        assert world.claim().next_due == world.clock.at + SECOND


def test_after_a_full_claim_the_next_one_takes_its_turn_at_once(world, open_backend, monkeypatch):
    """As after a start here. When that found less than it asked for, the next one looks again."""
    looks = []

    def look(connection, request, now):
        looks.append(request.limit)
        return candidates(connection, request, now)

    monkeypatch.setattr("perdure.backends.sqlite.backend.candidates", look)
    for id_ in "abc":
        world.start(id_)
    assert len(world.claimed(limit=1)) == 1
    assert len(looks) == 1
    assert len(world.claimed(limit=2)) == 2
    assert len(looks) == 2
    assert world.claimed(limit=2) == []
    assert len(looks) == 3
    holder = open_backend()
    with holder._store.write():
        assert world.claimed(limit=2) == []
    assert len(looks) == 4
