"""More small parts by themselves: what only a fault, a late answer or a full table leads to."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import Any

import pytest

from perdure import Perdure
from perdure.backends.base import Holding, InvocationRecord, Transition
from perdure.backends.letters import InboxRow, Letter, Sent
from perdure.backends.memory import MemoryBackend
from perdure.core.entries import EntryKind
from perdure.core.identity import InvocationKey
from perdure.engine import context as contexts
from perdure.engine import letters, lines, stuck, topics
from perdure.engine.arrivals import Arrivals
from perdure.engine.bodies import _Once
from perdure.engine.branch import Branch
from perdure.engine.cancellation import read_cancellation
from perdure.engine.effects import Wait
from perdure.engine.env import SystemEnv
from perdure.engine.flows.place import delivered
from perdure.engine.heartbeats import HEARTBEAT, read_note
from perdure.engine.inbox import receive
from perdure.engine.ioloop import IOLoop
from perdure.engine.ledger import Ledger
from perdure.engine.mailbox import Mailbox
from perdure.engine.outcome import LATER, ended_by, invocation_body
from perdure.engine.outside import LEFT_OPEN, left_open, read_token
from perdure.engine.pool import Pool
from perdure.engine.pulse import Pulse
from perdure.engine.runtime import PAST_MAX, LeaseTable
from perdure.engine.telling import AskingKeeper, answer, refusal
from perdure.errors import (
    BackendUnavailable,
    InternalError,
    InvalidToken,
    InvocationNotFound,
    JournalCorrupted,
)
from tests.engine.test_pieces import Clock, entry
from tests.support.stores import LONG, claim

ONE, TWO, THREE = (InvocationKey(name, 1) for name in ("one", "two", "three"))
BAD = (b"", b"[", b"\xff", b"[" * 100_000)


def claimed(app: Perdure, name: str = "one") -> InvocationRecord:
    """A workflow that was claimed, and that nobody runs."""
    app.workflow(name="main")(lambda: None).options(id=name).start()
    (record,) = claim(app).records
    app.runtime.leases.add(record.key, record.epoch, app.runtime.env.monotonic(), LONG)
    return record


@pytest.fixture
def app() -> Any:
    with Perdure(backend=MemoryBackend(), local_worker=False) as made:
        yield made


# --- what cannot be read ------------------------------------------------------------------------


@pytest.mark.parametrize("bad", BAD, ids=("empty", "half", "bytes", "deep"))
def test_damaged_notes_and_letters_are_damage(app: Perdure, bad: bytes) -> None:
    record = claimed(app)
    for read in (
        lambda: read_cancellation(bad),
        lambda: read_note({HEARTBEAT: bad}, HEARTBEAT, "one"),
        lambda: left_open(record, {LEFT_OPEN: bad}),
    ):
        with pytest.raises(JournalCorrupted, match="Restore a backup") as caught:
            read()
        assert repr(bad[:200]) in str(caught.value)


@pytest.mark.parametrize("bad", BAD[:3])
def test_a_damaged_emit_is_damage(bad: bytes) -> None:
    with pytest.raises(JournalCorrupted, match="An emit cannot be read"):
        topics.read_held(bad)


def test_who_left_nothing_open_has_no_note(app: Perdure) -> None:
    record = claimed(app)
    assert left_open(record, {}) is None
    assert left_open(record, {LEFT_OPEN: b'{"attempt":0}'}) is not None
    assert left_open(record, {LEFT_OPEN: b'{"attempt":1}'}) is None, "of another attempt"


NO_TOKENS = ["perdure-a", "perdure-\xe4", "perdure-%%%%", "x", "", None, b"x"]


@pytest.mark.parametrize("token", NO_TOKENS)
def test_what_is_no_token(token: object) -> None:
    with pytest.raises(InvalidToken, match="no completion token"):
        read_token(token)


def test_a_letter_of_a_newer_kind_stops_the_workflow_and_stays(app: Perdure) -> None:
    record = claimed(app)
    ledger = Ledger(app.runtime, record, [])
    novel = Letter(kind="novel", name="n", letter_id="1")
    with pytest.raises(JournalCorrupted, match=r"unknown kind 'novel'.*newer perdure"):
        receive(app.runtime, ledger, InboxRow(7, "novel", ONE, novel), 5)
    assert not ledger.dirty, "the row is not consumed"


def test_the_letter_of_a_cycle_ends_the_wait(app: Perdure) -> None:
    record = claimed(app)
    ledger = Ledger(app.runtime, record, [])
    body = invocation_body(TWO)[:-1] + b',"error":null}'
    told = Letter(kind=letters.CYCLE, name="two", letter_id="1", body=body)
    receive(app.runtime, ledger, InboxRow(7, letters.CYCLE, ONE, told), 5)
    assert ledger.commit(None)
    (found,) = ledger.journal.deliveries
    assert (found.kind, found.name, found.key, found.body) == ("done", "two", letters.CYCLE, body)
    mailbox, wait = Mailbox(ONE), Wait(source=TWO)
    mailbox.add(wait)
    mailbox.route(found)
    assert wait.satisfied
    assert not mailbox.knows(TWO), "it may end yet"


# --- what only our own bug could bring ----------------------------------------------------------


def test_a_wait_without_its_delivery_is_our_bug() -> None:
    with pytest.raises(InternalError, match="without its delivery"):
        delivered(Wait())
    assert delivered(Wait(delivery=(given := entry(EntryKind.FIRED)))) is given


def test_an_end_that_was_none_is_our_bug(app: Perdure) -> None:
    record = claimed(app)
    with pytest.raises(InternalError, match="did not end by a commit"):
        ended_by(record, Transition(key=ONE, epoch=1, head=0, token=b"t" * 16))


def test_what_leaves_a_task_open_is_shown_as_it_is_spelled() -> None:
    assert repr(LATER) == "wf.complete_later()"


# --- messages and timers ------------------------------------------------------------------------


def message(number: int) -> Any:
    return entry(EntryKind.MESSAGE, name="m", body=f"{number}".encode())


def test_a_message_that_was_given_back_goes_to_the_next_who_waits_or_to_the_front() -> None:
    mailbox = Mailbox(ONE)
    first, second, third = (Wait(letter=(EntryKind.MESSAGE, "m")) for _ in range(3))
    mailbox.add(first)
    mailbox.route(one := message(1))
    mailbox.route(two := message(2))
    assert first.delivery is one
    mailbox.give_back(first)
    mailbox.add(second)
    assert second.delivery is one, "before the one that came later"
    mailbox.add(third)
    assert third.delivery is two
    fourth = Wait(letter=(EntryKind.MESSAGE, "m"))
    mailbox.add(fourth)
    mailbox.give_back(second)
    assert fourth.delivery is one
    mailbox.give_back(Wait(letter=(EntryKind.MESSAGE, "m")))  # it has none
    mailbox.give_back(Wait(source=TWO, satisfied=True))  # the end of another stays where it is
    fifth = Wait(letter=(EntryKind.MESSAGE, "m"))
    mailbox.add(fifth)
    assert not fifth.satisfied


def test_who_is_in_no_list_is_given_up_without_a_word() -> None:
    mailbox = Mailbox(ONE)
    for wait in (Wait(source=TWO), Wait(letter=(EntryKind.MESSAGE, "m")), Wait(due=5)):
        mailbox.abandon(wait)
    assert not mailbox.awaits_others
    assert mailbox.next_due() is None


def test_a_timer_that_fired_on_record_does_not_fire_again(app: Perdure) -> None:
    """Its delivery waits its turn in the journal, and its time is over, too."""
    record = claimed(app)
    ledger, mailbox = Ledger(app.runtime, record, []), Mailbox(ONE)
    arrivals = Arrivals(app.runtime, record, mailbox)
    fired, other = Wait(place=("", 1), due=3), Wait(place=("/1", 1), due=4)
    mailbox.add(fired)
    mailbox.add(other)
    ledger.journal.deliveries.append(entry(EntryKind.FIRED, "", 1))
    assert arrivals.collect(ledger, 9)
    (draft,) = ledger.journal._drafts
    assert (draft.kind, draft.scope, draft.ordinal, draft.at) == ("fired", "/1", 1, 9)
    assert (fired.due, other.due) == (3, None)
    assert not arrivals.collect(ledger, 9)


# --- leases and heartbeats ----------------------------------------------------------------------


def test_a_lease_that_nobody_goes_on_with_may_be_expected_again() -> None:
    leases = LeaseTable(Clock(), 30.0)
    mine = Holding(ONE, 1)
    assert leases.expect(mine)
    assert not leases.expect(mine)
    leases.forget(mine)
    assert leases.expect(mine)
    leases.add(ONE, 1, asked_at=100.0, lease=30.0)
    assert not leases.expect(mine)
    leases.forget(mine)
    assert leases.held() == []
    assert leases.expect(mine)
    leases.remove(ONE, 1)
    assert not leases.expect(mine), "what was held before is known"


def test_what_is_lost_is_lost_at_every_time_of_the_clock() -> None:
    clock = Clock()
    leases = LeaseTable(clock, 30.0)
    for key in (ONE, TWO):
        leases.add(key, 1, asked_at=0.0, lease=30.0)
    clock.moment = 0.0
    one, two, other = Holding(ONE, 1), Holding(TWO, 1), Holding(THREE, 1)
    assert leases.is_live(one)
    leases.lose(one)
    leases.lose(other)
    leases.renewed([two, other], frozenset(), until=90.0)
    assert not any(map(leases.is_live, (one, two, other)))
    assert set(leases.held()) == {one, two}, "they are asked for again"
    leases.renewed([one, two], frozenset([one]), until=90.0)
    clock.moment = 86.9
    assert leases.is_live(one)
    assert not leases.is_live(two)
    clock.moment = 87.0  # a tenth of a lease before its end
    assert not leases.is_live(one)


def test_what_was_granted_is_expected_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perdure.engine.runtime.PAST_MAX", 1)
    leases = LeaseTable(Clock(), 30.0)
    assert leases.expect(Holding(ONE, 1))
    leases.add(ONE, 1, asked_at=100.0, lease=30.0)
    leases.remove(ONE, 1)
    leases.remove(TWO, 1)
    assert leases.known() == {Holding(TWO, 1)}, "the older one is forgotten"


def test_as_many_past_leases_are_remembered_as_the_limit_says() -> None:
    leases = LeaseTable(Clock(), 30.0)
    for number in range(PAST_MAX + 2):
        leases.remove(InvocationKey(f"{number}", 1), 1)
    known = leases.known()
    assert len(known) == PAST_MAX
    assert Holding(InvocationKey("1", 1), 1) not in known
    assert Holding(InvocationKey("2", 1), 1) in known


class Keeper:
    """Keeps what it is told; `meanwhile` happens while it does."""

    def __init__(self) -> None:
        self.told: list[bytes | None] = []
        self.meanwhile: Any = None
        self.failure: Exception | None = None

    def tell(self, details: bytes | None) -> str:
        self.told.append(details)
        if self.meanwhile is not None:
            self.meanwhile()
        return ""

    def load(self) -> bytes | None:
        if self.failure is not None:
            raise self.failure
        return b"kept"


def test_details_that_came_while_others_were_told_are_told_next() -> None:
    keeper, clock = Keeper(), Clock()
    pulse = Pulse(clock.monotonic, keeper)
    assert pulse.beat(b"1")
    keeper.meanwhile = lambda: pulse.beat(b"2")
    pulse.tell()
    assert pulse.has_untold
    keeper.meanwhile = None
    pulse.tell()
    assert keeper.told == [b"1", b"2"]
    assert not pulse.has_untold


class Body:
    """As much of the context of a body as answering it takes."""

    invocation = ONE
    lost = ""

    def __init__(self, pulse: Pulse | None) -> None:
        self.pulse = pulse


def test_a_body_elsewhere_learns_why_it_cannot_have_its_details() -> None:
    keeper, asked = Keeper(), list[bytes]()

    def ask(question: bytes) -> bytes:
        asked.append(question)
        return answer(body, question)  # type: ignore[arg-type] # as far as it looks

    body = Body(Pulse(Clock().monotonic, keeper))
    there = AskingKeeper(ask)
    assert there.load() == b"kept"
    body.pulse, keeper.failure = Pulse(Clock().monotonic, keeper), BackendUnavailable("away")
    with pytest.raises(BackendUnavailable, match="away"):
        there.load()
    assert there.tell(b"1") == ""
    assert keeper.told == [b"1"]
    body.lost = "it was cancelled"
    body.pulse = Pulse(Clock().monotonic, keeper)
    assert there.tell(b"2") == "it was cancelled"
    assert keeper.told == [b"1"], "who counts no more tells nothing"
    body.pulse = None
    assert there.tell(None) == "nobody keeps its heartbeats"
    assert AskingKeeper(lambda _: refusal("gone")).tell(None) == "gone"


# --- threads and the loop -----------------------------------------------------------------------


class NoThreads(SystemEnv):
    """A machine that has so many threads left."""

    def __init__(self, left: int) -> None:
        self.left = left

    def spawn(self, name: str, run: Any) -> None:
        if not self.left:
            raise RuntimeError("can't start new thread")
        self.left -= 1
        super().spawn(name, run)


def test_without_threads_a_job_waits_for_one_that_there_is_or_is_refused() -> None:
    pool = Pool(NoThreads(0), "test", 2)
    with pytest.raises(RuntimeError, match="can't start"):
        pool.submit(lambda: None)
    pool = Pool(NoThreads(1), "test", 2)
    gate, done = threading.Event(), threading.Event()

    def hold() -> None:
        gate.wait(LONG)

    pool.submit(hold)
    pool.submit(done.set)
    gate.set()
    assert done.wait(LONG), "the only thread came to it"
    pool.close()
    branches = Pool(NoThreads(1), "test", 2, queues=False)
    gate.clear()
    branches.submit(hold)
    with pytest.raises(RuntimeError, match="can't start"):
        branches.submit(done.clear)
    gate.set()
    branches.close()
    assert done.is_set(), "what was refused did not run"


def test_a_job_that_another_thread_has_taken_meanwhile_is_not_refused() -> None:
    done = threading.Event()

    class Late(NoThreads):
        def spawn(self, name: str, run: Any) -> None:
            if pool._jobs and not self.left:
                pool._jobs.popleft()()  # a thread that was busy until now
            super().spawn(name, run)

    pool = Pool(Late(0), "test", 2, queues=False)
    pool.submit(done.set)
    assert done.is_set()


def test_what_is_unwanted_already_is_given_up_at_once() -> None:
    given, results = list[str](), list[Any]()
    once = _Once(results.append)
    once(None)
    once.on_unwanted(lambda: given.append("up"))
    assert (given, results) == (["up"], [None])
    once(None)
    assert results == [None]


def test_a_loop_that_was_closed_takes_no_more_and_ends_what_runs() -> None:
    loop, begun, ended = IOLoop(SystemEnv()), threading.Event(), threading.Event()
    told: list[Any] = []

    async def stubborn() -> None:
        begun.set()
        try:
            await asyncio.sleep(LONG)
        finally:
            await asyncio.sleep(0)

    def done(value: object, error: BaseException | None) -> None:
        told.append((value, type(error)))
        ended.set()

    cancel = loop.start(stubborn(), contextvars.copy_context(), done)
    assert begun.wait(LONG)
    loop.close()
    assert ended.wait(LONG)
    assert told == [(None, asyncio.CancelledError)]
    cancel()  # it is harmless
    loop.close()
    coroutine = stubborn()
    with pytest.raises(InternalError, match="after its end"):
        loop.start(coroutine, contextvars.copy_context(), done)
    with pytest.raises(RuntimeError, match="cannot reuse"):
        coroutine.send(None)
    IOLoop(SystemEnv()).close()  # one that nobody used


def test_what_a_coroutine_on_the_loop_raises_is_told() -> None:
    loop, told, ended = IOLoop(SystemEnv()), list[Any](), threading.Event()

    async def fails() -> None:
        raise ValueError("no")

    def done(value: object, error: BaseException | None) -> None:
        told.append((value, str(error)))
        ended.set()

    loop.start(fails(), contextvars.copy_context(), done)
    assert ended.wait(LONG)
    assert told == [(None, "no")]
    loop.close()


def test_threads_of_a_workflow_are_seen_by_the_audit_hook_as_well() -> None:
    """Pythons from 3.12 on have an event for it; before, `Thread.start` is wrapped."""
    seen: list[Any] = []
    with Perdure(backend=MemoryBackend()) as app:

        @app.workflow
        def main() -> None:
            threads: list[Any] = [threading.Thread(target=print) for _ in range(2)]
            contexts._audit("_thread.start_new_thread", (threads[0]._bootstrap,))
            contexts._audit("open", (threads[1]._bootstrap,))
            contexts._audit("_thread.start_new_thread", (print,))  # no thread of `threading`
            seen.extend(getattr(thread, contexts._MARK, None) for thread in threads)

        main.options(id="w").start().result(LONG)
    assert seen == ["w", None]


def test_no_line_is_told_where_no_code_of_a_user_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Branch(None, print, None).made_at.startswith(f"{__file__}:")  # type: ignore[arg-type]
    monkeypatch.setattr(lines, "_PACKAGE", "")  # as if all on this thread were ours
    assert Branch(None, print, None).made_at == ""  # type: ignore[arg-type]


# --- letters, cycles and topics -----------------------------------------------------------------


def test_a_letter_to_nobody(app: Perdure) -> None:
    record = claimed(app)
    letter = Letter(kind=letters.MESSAGE, name="m", letter_id="1")
    for found, sent in ((None, None), (record, Sent.MISSING)):
        error = letters.refusal(ONE, found, letter, sent)
        assert isinstance(error, InvocationNotFound)
    newer = InvocationKey("one", 2)
    assert isinstance(letters.refusal(newer, record, letter), InvocationNotFound)
    assert letters.refusal(ONE, record, letter) is None


def test_a_process_remembers_so_many_topics(app: Perdure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "SEEN_MAX", 2)
    for name in ("a", "b", "c"):
        assert topics.count(app.runtime, name) == 0
    assert set(app.runtime.emits_seen) == {"c"}


def done_of(key: InvocationKey) -> Any:
    return entry(EntryKind.DONE, name=key.invocation_id, body=invocation_body(key))


def watch(key: InvocationKey, scope: str = "", body: bytes = b"") -> Any:
    return entry(EntryKind.WATCH, scope, name="x", body=body or invocation_body(key))


def test_whose_ends_a_suspended_workflow_waits_for() -> None:
    assert stuck.open_waits([]) == set()
    assert stuck.open_waits([watch(ONE), watch(TWO, "/1")]) == {ONE, TWO}
    assert stuck.open_waits([watch(ONE), watch(TWO), done_of(ONE)]) == {TWO}
    assert stuck.open_waits([done_of(ONE)]) == set()
    ended = entry(EntryKind.END, "/1")
    assert stuck.open_waits([watch(ONE, "/1"), watch(TWO), ended]) == {TWO}
    assert stuck.open_waits([watch(ONE, "/1"), watch(ONE, "/2"), ended]) == {ONE}
    gone = invocation_body(ONE)[:-1] + b',"error":{}}'
    assert stuck.open_waits([watch(ONE, body=gone), watch(TWO)]) == {TWO}
    asked, came = entry(EntryKind.RECEIVE, name="m"), entry(EntryKind.MESSAGE, name="m")
    assert stuck.open_waits([watch(ONE), asked]) == set(), "a message can wake it"
    assert stuck.open_waits([watch(ONE), asked, came]) == {ONE}
    assert stuck.open_waits([watch(ONE), entry("novel")]) == set()
