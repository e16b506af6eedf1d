"""Small parts of the engine by themselves: the pool, the hub, the mailbox, the lease table."""

from __future__ import annotations

import threading

import pytest

from perdure.backends.base import Holding
from perdure.core.entries import Entry, EntryKind
from perdure.core.identity import InvocationKey
from perdure.engine.effects import Wait
from perdure.engine.env import SystemEnv
from perdure.engine.hub import Hub
from perdure.engine.mailbox import Mailbox
from perdure.engine.outcome import Returned, invocation_body, outcome_body, read_body
from perdure.engine.pool import Pool
from perdure.engine.runtime import LeaseTable
from perdure.errors import Divergence, JournalCorrupted
from tests.support.stores import LONG

ONE, TWO = InvocationKey("one", 1), InvocationKey("two", 1)


def entry(kind, scope="", ordinal=0, name="", body=b"null"):
    fields = (0, kind, scope, ordinal, "k", name, b"", body, b"{}", 5, 1, b"", b"")
    return Entry(*fields)


class Clock(SystemEnv):
    """A monotonic clock that the test sets."""

    def __init__(self) -> None:
        self.moment = 100.0

    def monotonic(self) -> float:
        return self.moment


def test_a_pool_has_no_more_threads_than_its_size_and_runs_everything():
    pool = Pool(SystemEnv(), "test", 3)
    gate, lock = threading.Event(), threading.Lock()
    now, most, done = [0], [0], threading.Semaphore(0)

    def job():
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        gate.wait(LONG)
        with lock:
            now[0] -= 1
        done.release()

    for _ in range(10):
        pool.submit(job)
    gate.set()
    for _ in range(10):
        assert done.acquire(timeout=LONG)
    assert most[0] <= 3
    pool.submit(done.release)
    assert done.acquire(timeout=LONG)
    pool.close()


def test_threads_of_a_closed_pool_end():
    pool = Pool(SystemEnv(), "test", 2)
    seen: list[threading.Thread] = []
    done = threading.Semaphore(0)

    def job():
        seen.append(threading.current_thread())
        done.release()

    for _ in range(4):
        pool.submit(job)
    for _ in range(4):
        assert done.acquire(timeout=LONG)
    pool.close()
    for thread in seen:
        thread.join(LONG)
        assert not thread.is_alive()


def test_a_hub_pokes_those_whom_it_concerns():
    hub, poked = Hub(), []
    hub.subscribe(ONE, lambda: poked.append("one"))
    hub.add_worker(worker := lambda: poked.append("worker"))
    with hub.listening(TWO, lambda: poked.append("two")):
        hub.touched((TWO,))
        hub.ended(ONE)
        hub.ended(TWO)
        hub.everyone()
    hub.ended(TWO)
    hub.remove_worker(worker)
    hub.touched((TWO,))
    assert poked == ["two", "worker", "one", "two", "one", "two"]


def test_a_lease_counts_only_while_it_is_confirmed():
    clock = Clock()
    leases = LeaseTable(clock, 30.0)
    assert not leases.is_live(Holding(ONE, 1))
    leases.add(ONE, 1, asked_at=100.0, lease=30.0)
    leases.add(TWO, 4, asked_at=100.0, lease=30.0)
    clock.moment = 126.9
    assert leases.is_live(Holding(ONE, 1))
    assert not leases.is_live(Holding(ONE, 2))
    asked = leases.held()
    leases.renewed(asked, frozenset(h for h in asked if h.key == ONE), until=150.0)
    assert leases.is_live(Holding(ONE, 1))
    assert not leases.is_live(Holding(TWO, 4))  # the backend did not keep it
    clock.moment = 147.1  # within the lease, past the margin
    assert not leases.is_live(Holding(ONE, 1))
    leases.remove(ONE, 1)
    leases.remove(ONE, 1)
    leases.renewed(asked, frozenset(asked), until=1_000.0)
    assert not leases.is_live(
        Holding(ONE, 1)
    )  # a late renewal does not bring back what was given up


def test_deliveries_go_to_whoever_waits_for_their_place():
    mailbox, woken = Mailbox(ONE), []
    wait = Wait(place=("/1", 2), wake=lambda: woken.append(1))
    mailbox.add(wait)
    with pytest.raises(Divergence, match="has not asked for it"):
        mailbox.route(entry(EntryKind.TASK, "", 2))
    mailbox.route(delivery := entry(EntryKind.TASK, "/1", 2))
    assert wait.satisfied
    assert wait.delivery == delivery
    assert woken == [1]


def test_a_delivery_for_what_was_given_up_is_ignored():
    mailbox = Mailbox(ONE)
    waits = [Wait(place=("", 1), due=5), Wait(due=3), Wait(source=TWO)]
    for wait in waits:
        mailbox.add(wait)
    assert mailbox.next_due() == 3
    assert mailbox.due_by(4) == [waits[1]]
    assert mailbox.due_by(5) == [waits[1], waits[0]]
    assert mailbox.awaits_others
    for wait in waits:
        mailbox.abandon(wait)
    assert mailbox.next_due() is None
    assert not mailbox.awaits_others
    mailbox.route(entry(EntryKind.FIRED, "", 1))
    mailbox.route(entry(EntryKind.DONE, name="two", body=invocation_body(TWO)))
    assert not any(wait.satisfied for wait in waits)


def test_the_end_of_another_invocation_is_remembered_for_later_waits():
    mailbox = Mailbox(ONE)
    early = [Wait(source=TWO), Wait(source=TWO)]
    for wait in early:
        mailbox.add(wait)
    assert not mailbox.knows(TWO)
    mailbox.route(done := entry(EntryKind.DONE, name="two", body=invocation_body(TWO)))
    assert mailbox.knows(TWO)
    late = Wait(source=TWO)
    mailbox.add(late)
    assert all(wait.delivery == done for wait in (*early, late))
    mailbox.abandon(late)


def test_bodies_are_taken_apart_as_they_were_put_together():
    body = outcome_body(Returned(b'{"a":null}', None), b'{"n":1}')
    members = read_body(body)
    assert (bytes(members.arguments), bytes(members.result)) == (b'{"n":1}', b'{"a":null}')
    assert not members.error
    members = read_body(invocation_body(ONE, b"[]"))
    assert (members.id, members.generation, bytes(members.arguments)) == ("one", 1, b"[]")
    assert bytes(read_body(outcome_body(Returned(b"null", None))).result) == b"null"
    with pytest.raises(JournalCorrupted, match="cannot be read"):
        read_body(b"[1]")
