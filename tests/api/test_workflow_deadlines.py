"""Deadlines of whole workflows: they are cancelled by their own time, wherever they stand then."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from perdure import InvocationState, Perdure, wf
from perdure.core.entries import EntryKind
from perdure.engine.sync_attempt import SyncAttempt
from perdure.errors import (
    ConfigurationError,
    DeadlineReached,
    InvocationCancelled,
    LeaseLost,
    NotInWorkflow,
)
from perdure.worker.upkeep import Upkeep
from tests.support.stores import LONG, run_until_idle
from tests.support.stores import step as step_once
from tests.worker.fleet import until

S = InvocationState
MINUTE = 60.0


def kinds(app: Perdure, handle: Any) -> list[str]:
    return [entry.kind for entry in app.runtime.backend.read_journal(handle.key)]


def state(handle: Any) -> InvocationState:
    found: InvocationState = handle.status
    return found


def test_a_suspended_one_cleans_up_at_its_deadline(store):
    app = store.app(virtual=True, local_worker=False)

    @app.task(name="undo")
    def undo() -> str:
        return "undone"

    @app.workflow(name="flow")
    def flow() -> None:
        try:
            wf.receive("never")
        except wf.Cancelled as error:
            wf.set_data("why", [str(error), getattr(error, "deadline", 0)])
            wf.sleep(10)
            wf.set_data("undo", undo())
            raise

    handle = flow.options(timeout=MINUTE).start()
    run_until_idle(app)
    assert state(handle) is S.WAITING
    store.env.advance(MINUTE - 1)
    assert run_until_idle(app) == 0
    store.env.advance(1)
    run_until_idle(app)
    store.env.advance(11)
    run_until_idle(app)
    assert state(handle) is S.CANCELLED
    assert handle.get_data("undo") == "undone"
    text, moment = handle.get_data("why")
    assert text == f"The deadline of the workflow, {handle.deadline.isoformat()}, has passed."
    assert moment == handle.deadline.timestamp() * 1e6
    with pytest.raises(DeadlineReached, match="did not end by its deadline, 20"):
        handle.result(1)
    assert isinstance(handle.exception(), DeadlineReached)
    assert app.verify(handle.invocation_id).finished


def test_an_async_one_too(store):
    app = store.app(virtual=True, local_worker=False)

    @app.workflow(name="flow", timeout=timedelta(minutes=1))
    async def flow() -> None:
        async def branch(number: int) -> None:
            try:
                await wf.receive_async(f"never {number}")
            except asyncio.CancelledError:
                wf.set_data(f"branch {number}", number)
                raise

        await asyncio.gather(*(branch(number) for number in range(3)))

    handle = flow.start()
    run_until_idle(app)
    store.env.advance(MINUTE)
    run_until_idle(app)
    assert state(handle) is S.CANCELLED
    assert [handle.get_data(f"branch {number}") for number in range(3)] == [0, 1, 2]
    with pytest.raises(DeadlineReached):
        handle.result(1)
    assert app.verify(handle.invocation_id).finished


def test_the_earlier_of_two_limits_counts(store):
    app = store.app(virtual=True, local_worker=False)

    @app.workflow(name="flow", timeout=MINUTE)
    def flow() -> None:
        wf.receive("never")

    moment = datetime.fromtimestamp(store.env.moment / 1e6, UTC) + timedelta(seconds=30)
    earlier = flow.options(deadline=moment).start()
    later = flow.options(deadline=moment + timedelta(hours=1)).start()
    longer = flow.options(timeout=2 * MINUTE).start()
    assert earlier.deadline == moment
    assert later.deadline == moment + timedelta(seconds=30)
    assert longer.deadline == moment + timedelta(seconds=90)
    for seconds, ended in ((29, 0), (1, 1), (30, 2), (59, 2), (1, 3)):
        store.env.advance(seconds)
        run_until_idle(app)
        states = [handle.status is S.CANCELLED for handle in (earlier, later, longer)]
        assert sum(states) == ended


@pytest.mark.parametrize("limit", [0.5, MINUTE])
def test_a_busy_one_ends_before_its_next_body(store, limit):
    """Also where the next look into the inbox is later than that."""
    app = store.app(virtual=True, local_worker=False)
    ran: list[int] = []

    @app.task(name="step")
    def step(number: int) -> None:
        ran.append(number)
        if number == 2:
            store.env.advance(limit)

    @app.workflow(name="flow")
    def flow() -> None:
        for number in range(1, 6):
            step(number)

    handle = flow.options(timeout=limit).start()
    app.runtime.env.monotonic = lambda: store.env.moment / 1e6
    run_until_idle(app)
    assert ran == [1, 2]
    assert state(handle) is S.CANCELLED
    assert kinds(app, handle)[-3:] == [EntryKind.CANCEL, EntryKind.DROPPED, EntryKind.END]
    assert app.verify(handle.invocation_id).finished


def test_one_that_goes_on_completes(store):
    app = store.app(virtual=True, local_worker=False)

    @app.workflow(name="flow")
    def flow() -> str:
        try:
            wf.sleep(600)
        except wf.Cancelled:
            wf.sleep(600)
        return "in my own time"

    handle = flow.options(timeout=MINUTE).start()
    run_until_idle(app)
    store.env.advance(MINUTE)
    run_until_idle(app)
    store.env.advance(600)
    run_until_idle(app)
    assert handle.result(1) == "in my own time"


def test_a_cancellation_comes_once_whoever_is_first(store):
    app = store.app(virtual=True, local_worker=False)

    @app.workflow(name="flow")
    def flow() -> str:
        try:
            wf.receive("never")
        except wf.Cancelled as error:
            wf.sleep(10 * MINUTE)
            return type(error).__name__
        return ""

    asked, late = [flow.options(timeout=MINUTE).start() for _ in range(2)]
    run_until_idle(app)
    asked.cancel()
    run_until_idle(app)
    store.env.advance(MINUTE)
    run_until_idle(app)
    late.cancel()  # it is being cancelled already, so this is no error and changes nothing
    run_until_idle(app)
    assert [asked.status, late.status] == [S.WAITING] * 2
    assert app.runtime.backend.read_inbox(late.key) == []
    store.env.advance(10 * MINUTE)
    run_until_idle(app)
    assert [asked.result(1), late.result(1)] == ["Cancelled", "DeadlinePassed"]
    assert [kinds(app, each).count(EntryKind.CANCEL) for each in (asked, late)] == [1, 1]


def test_undos_run(store):
    app = store.app(virtual=True, local_worker=False)
    undone: list[str] = []

    @app.task(name="refund")
    def refund(what: str) -> None:
        undone.append(what)

    @app.workflow(name="flow")
    def flow() -> None:
        wf.compensate(refund, "pen")
        wf.compensate(refund, "ink")
        wf.receive("never")

    handle = flow.options(timeout=MINUTE).start()
    run_until_idle(app)
    store.env.advance(MINUTE)
    run_until_idle(app)
    assert undone == ["ink", "pen"]
    with pytest.raises(DeadlineReached) as caught:
        handle.result(1)
    assert any("refund" in note for note in caught.value.__notes__)


def test_children_inherit_where_they_are_asked_to(store):
    app = store.app(virtual=True, local_worker=False)

    @app.workflow(name="child", timeout=10 * MINUTE)
    def child() -> None:
        wf.receive("never")

    @app.workflow(name="parent", timeout=MINUTE)
    def parent() -> list[Any]:
        started = [
            child.start(),
            child.options(deadline="inherit").start(),
            child.options(deadline="inherit", timeout=30).start(),
        ]
        limits = [each.deadline == wf.deadline() for each in started]
        wf.set_data("inherited", limits)
        try:
            wf.receive("never")
        except wf.Cancelled:
            free = child.options(deadline="inherit").start()
            limits.append(free.deadline == wf.deadline())
        return limits

    handle = parent.start()
    run_until_idle(app)
    assert handle.get_data("inherited") == [False, True, False]
    children = [each.deadline for each in app.workflows(name="child")]
    assert handle.deadline - min(children) == timedelta(seconds=30)
    store.env.advance(MINUTE)
    run_until_idle(app)
    assert handle.result(1) == [False, True, False, False]


def test_children_end_with_a_parent_that_ends_by_its_deadline(store):
    app = store.app(virtual=True, local_worker=False)

    @app.workflow(name="child")
    def child() -> None:
        wf.receive("never")

    @app.workflow(name="parent", timeout=MINUTE)
    def parent() -> None:
        child.options(id="c").start().result()

    handle = parent.start()
    run_until_idle(app)
    store.env.advance(MINUTE)
    run_until_idle(app)
    assert [handle.status, app.invocation("c").status] == [S.CANCELLED] * 2
    with pytest.raises(InvocationCancelled) as caught:
        app.invocation("c").result(1)
    assert not isinstance(caught.value, DeadlineReached), "it had none of its own"


def test_a_parent_learns_of_it_by_type(store):
    app = store.app(virtual=True, local_worker=False)

    @app.workflow(name="child", timeout=MINUTE)
    def child() -> None:
        wf.receive("never")

    @app.workflow(name="parent")
    def parent() -> str:
        try:
            child()
        except DeadlineReached as error:
            return str(error)
        return ""

    handle = parent.start()
    run_until_idle(app)
    store.env.advance(MINUTE)
    run_until_idle(app)
    assert "did not end by its deadline" in handle.result(1)


def test_what_nobody_claims_ends_without_its_code(store):
    starter, other = (store.app(virtual=True, local_worker=False) for _ in range(2))

    @starter.workflow(name="flow")
    def flow() -> None:
        raise AssertionError

    @other.workflow(name="waits")
    def waits(key: Any) -> str:
        try:
            key.result()
        except DeadlineReached as error:
            return type(error).__name__
        return ""

    late = flow.options(timeout=MINUTE).start()
    delayed = flow.options(timeout=MINUTE, delay=59).start()
    free = flow.start()
    waiting = waits.start(late)
    run_until_idle(other)
    upkeep = Upkeep(other.runtime)
    upkeep.end_late()
    store.env.advance(MINUTE)
    assert late.status is S.READY
    Upkeep(other.runtime).end_late()
    run_until_idle(other)
    assert [each.status for each in (late, delayed, free)] == [S.CANCELLED, S.CANCELLED, S.READY]
    assert waiting.result(1) == "DeadlineReached"
    with pytest.raises(DeadlineReached):
        late.result(1)
    assert kinds(starter, late) == []


def test_a_worker_looks_for_what_nobody_claims(store):
    starter = store.app(local_worker=False)

    @starter.workflow(name="flow")
    def flow() -> None:
        raise AssertionError

    handle = flow.options(timeout=0.05).start()
    with store.app(local_worker=False) as other:

        @other.workflow(name="another")
        def another() -> None:
            return None

        other.start_worker()
        until(lambda: handle.status is S.CANCELLED, "the end of what nobody claims")
    with pytest.raises(DeadlineReached):
        handle.result(1)


def test_one_whose_worker_died(store, monkeypatch):
    """Its lease runs out, whoever claims it then finds its time over, and lets it clean up."""
    app = store.app(virtual=True, local_worker=False)
    dies = [True]

    def die_or(self, *, busy):
        if dies:
            self.halt(None)
            raise LeaseLost
        idle(self, busy=busy)

    idle = SyncAttempt.idle
    monkeypatch.setattr(SyncAttempt, "idle", die_or)

    @app.workflow(name="flow")
    def flow() -> None:
        try:
            wf.receive("never")
        except wf.Cancelled:
            wf.set_data("cleaned", True)
            raise

    handle = flow.options(timeout=10).start()
    step_once(app)
    assert state(handle) is S.RUNNING
    dies.clear()
    store.env.advance(MINUTE)
    run_until_idle(app)
    assert state(handle) is S.CANCELLED
    assert handle.get_data("cleaned") is True


def test_a_paused_one_is_cancelled_when_it_is_resumed(store):
    app = store.app(virtual=True, local_worker=False)

    @app.workflow(name="flow", timeout=MINUTE)
    def flow() -> None:
        wf.receive("never")

    handle = flow.start()
    run_until_idle(app)
    handle.pause()
    store.env.advance(MINUTE)
    Upkeep(app.runtime).end_late()
    assert run_until_idle(app) == 0
    assert state(handle) is S.PAUSED
    handle.resume()
    run_until_idle(app)
    assert state(handle) is S.CANCELLED


def test_another_generation_has_its_time_from_its_own_start(store):
    app = store.app(virtual=True, local_worker=False)

    @app.workflow(name="flow", timeout=MINUTE)
    def flow() -> None:
        wf.receive("never")

    again = flow.options(id="f", on_existing="new_generation_if_failed")
    first = again.start()
    run_until_idle(app)
    store.env.advance(MINUTE)
    run_until_idle(app)
    second = again.start()
    assert second.key.generation == 2
    assert second.deadline - first_deadline(app, first) == timedelta(minutes=1)


def first_deadline(app: Perdure, handle: Any) -> datetime:
    record = app.runtime.backend.read(*handle.key)
    assert record is not None
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=record.created_at)
    return moment + timedelta(minutes=1)


def test_what_code_learns_of_it(store):
    app = store.app(local_worker=False)

    @app.workflow(name="flow")
    def flow() -> Any:
        return wf.deadline()

    limited, free = flow.options(timeout=MINUTE).start(), flow.start()
    run_until_idle(app)
    assert limited.result(1) == limited.deadline
    assert free.result(1) is None
    assert free.deadline is None
    assert [each.deadline for each in app.workflows(limit=2)] == [None, limited.deadline]
    with pytest.raises(NotInWorkflow):
        wf.deadline()


def test_bad_limits(memory_store):
    app = memory_store.app()

    @app.task(name="task")
    def task() -> None:
        return None

    @app.workflow(name="flow", timeout=10)
    def flow() -> None:
        return None

    refusals: list[tuple[Any, str]] = [
        (lambda: task.options(timeout=1), "are for workflows"),
        (lambda: task.options(deadline="inherit"), "are for workflows"),
        (lambda: flow.options(timeout=0), "could end in time"),
        (lambda: flow.options(timeout=-1), "timeout"),
        (lambda: flow.options(timeout="a minute"), "timeout"),
        (lambda: flow.options(deadline=datetime(2030, 1, 1)), "no time zone"),
        (lambda: flow.options(deadline="soon"), "'inherit'"),
        (lambda: flow.options(deadline=5), "expected an aware datetime"),
        (lambda: flow.options(delay=10), "before it could begin"),
        (lambda: app.workflow(timeout=0), "could end in time"),
    ]
    for ask, text in refusals:
        with pytest.raises(ConfigurationError, match=text):
            ask()
    assert flow.options(delay=9, timeout=11).start().result(LONG) is None
