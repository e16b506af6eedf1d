"""Cancel, terminate and pause as users call them, on every state backend."""

import asyncio
import contextlib
from typing import Any

import pytest

from perdure import InvocationState, Perdure, wf
from perdure.backends.base import Release, Stop, Transition
from perdure.backends.memory import MemoryBackend
from perdure.engine.sync_attempt import SyncAttempt
from perdure.errors import (
    Cancelled,
    InvocationCancelled,
    InvocationEnded,
    LeaseLost,
    OperationRefused,
)
from perdure.testing.faults import Fault, FaultyBackend, Mode, MortalEnv, SimulatedCrash
from tests.support.stores import LONG, run_until_idle
from tests.support.stores import step as step_once

S = InvocationState


def test_a_waiting_workflow_cleans_up(store):
    app = store.app(virtual=True, local_worker=False)
    seen = []

    @app.task(name="undo")
    def undo() -> int:
        seen.append("undo")
        return len(seen)

    @app.workflow(name="flow")
    def flow() -> None:
        try:
            wf.sleep(3600)
        except wf.Cancelled as error:
            wf.set_data("why", str(error))
            wf.sleep(10)  # a wait in the clean-up is not cancelled
            undo()
            raise

    handle = flow.start()
    run_until_idle(app)
    handle.cancel("enough")
    handle.cancel("again")
    run_until_idle(app)
    assert seen == [], "it waits in its clean-up"
    store.env.advance(11)
    run_until_idle(app)
    assert handle.status is S.CANCELLED
    assert handle.get_data("why") == "enough"
    assert seen == ["undo"]
    with pytest.raises(InvocationCancelled, match=r"has no result\. Reason: enough$"):
        handle.result(1)
    handle.cancel()  # it is what was asked for
    assert app.verify(handle.invocation_id).finished


def test_one_that_goes_on_completes(store):
    app = store.app(virtual=True, local_worker=False)

    @app.workflow(name="flow")
    def flow() -> str:
        try:
            wf.receive("never")
        except wf.Cancelled:
            return "done anyway"
        return ""

    handle = flow.start()
    run_until_idle(app)
    handle.cancel()
    run_until_idle(app)
    assert handle.result(1) == "done anyway"
    with pytest.raises(InvocationEnded, match="completed"):
        handle.terminate()


def test_a_busy_one_is_told_before_its_next_body(store):
    app = store.app(local_worker=False)
    ran: list[int] = []

    @app.task(name="step")
    def step(number: int) -> None:
        ran.append(number)
        if number == 2:
            app.invocation("f").cancel("from its own task")

    @app.workflow(name="flow")
    def flow() -> None:
        for number in range(1, 6):
            step(number)

    flow.options(id="f").start()
    run_until_idle(app)
    assert ran == [1, 2]
    assert app.invocation("f").status is S.CANCELLED
    assert app.verify("f").finished


def test_async_branches_are_cancelled_with_the_root(store):
    app = store.app(virtual=True, local_worker=False)

    @app.workflow(name="flow")
    async def flow() -> None:
        async def branch(number: int) -> None:
            try:
                await wf.receive_async(f"never {number}")
            except asyncio.CancelledError:
                wf.set_data(f"branch {number}", number)
                raise

        async with asyncio.TaskGroup() as group:
            for number in range(3):
                group.create_task(branch(number))

    handle = flow.start()
    run_until_idle(app)
    handle.cancel()
    run_until_idle(app)
    assert handle.status is S.CANCELLED
    assert [handle.get_data(f"branch {number}") for number in range(3)] == [0, 1, 2]
    assert app.verify(handle.invocation_id).finished


def test_what_nobody_began_ends_at_once(store):
    app = store.app(local_worker=False)

    @app.task(name="pay")
    def pay() -> None: ...

    @app.workflow(name="flow")
    def flow() -> None: ...

    for handle in (pay.start(), flow.start(), flow.options(delay=60).start()):
        handle.cancel("not needed")
        assert handle.status is S.CANCELLED
        with pytest.raises(InvocationCancelled):
            handle.result(1)
    assert run_until_idle(app) == 0


@pytest.mark.parametrize("children", [True, False])
def test_children_follow_or_not(store, children):
    app = store.app(local_worker=False)

    @app.workflow(name="child")
    def child() -> None:
        wf.receive("never")

    @app.workflow(name="parent")
    def parent() -> None:
        child.options(id="c").start().result()

    handle = parent.start()
    run_until_idle(app)
    handle.cancel(children=children)
    run_until_idle(app)
    assert handle.status is S.CANCELLED
    assert app.invocation("c").status is (S.CANCELLED if children else S.WAITING)


@pytest.mark.parametrize("state", ["waiting", "parked", "paused"])
def test_terminate_takes_anything(store, state):
    app = store.app(local_worker=False)

    @app.workflow(name="child")
    def child() -> None:
        wf.receive("never")

    @app.workflow(name="flow")
    def flow() -> None:
        child.options(id="c").start()
        wf.receive("never")

    handle = flow.start()
    run_until_idle(app)
    if state == "paused":
        handle.pause()
    elif state == "parked":
        _park(app, app.runtime.backend.read(*handle.key))
    assert handle.status.value == state
    handle.terminate("for good")
    assert handle.status is S.TERMINATED
    assert app.invocation("c").status is S.TERMINATED
    with pytest.raises(InvocationCancelled, match="was terminated"):
        handle.result(1)
    handle.terminate()  # it is what was asked for
    assert run_until_idle(app) == 0


def _park(app, record) -> None:
    stop = Stop(S.PARKED, "by a test")
    app.runtime.backend.seize(record.key, record.epoch, bytes(16), stop)


def released(record) -> Transition:
    return Transition(
        key=record.key,
        epoch=record.epoch,
        head=record.head,
        token=bytes(16),
        disposition=Release(),
    )


def test_a_pause_of_one_that_waits(store):
    app = store.app(virtual=True, local_worker=False)

    @app.workflow(name="flow")
    def flow() -> list[Any]:
        wf.sleep(60)
        return [wf.receive("m")]

    handle = flow.start()
    run_until_idle(app)
    handle.pause()
    assert handle.status is S.PAUSED
    store.env.advance(3600)
    handle.send("m", 1)
    assert run_until_idle(app) == 0
    assert handle.resume()
    run_until_idle(app)
    assert handle.result(1) == [1]


def test_a_pause_of_one_that_runs(store):
    app = store.app(local_worker=False)
    ran: list[int] = []

    @app.task(name="step")
    def step(number: int) -> None:
        ran.append(number)
        if number == 2:
            app.invocation("f").pause()
            app.invocation("f").pause()
            assert len(app.runtime.backend.read_inbox(handle.key)) == 1, "asked twice, it is one"

    @app.workflow(name="flow")
    def flow() -> int:
        for number in range(1, 5):
            step(number)
        return len(ran)

    handle = flow.options(id="f").start()
    run_until_idle(app)
    assert ran == [1, 2]
    assert handle.status is S.PAUSED
    assert handle.resume()
    run_until_idle(app)
    assert ran == [1, 2, 3, 4]
    assert handle.result(1) == 4
    with pytest.raises(InvocationEnded):
        handle.pause()


def test_a_second_pause_is_no_repetition_of_the_first(store, monkeypatch):
    """It was, when its workflow was claimed between the look and the pause."""
    app = store.app(local_worker=False)
    backend = app.runtime.backend

    @app.task(name="step")
    def step() -> None:
        app.invocation("f").pause()

    @app.workflow(name="flow")
    def flow() -> str:
        step()
        wf.sleep(3600)
        return wf.receive("never", str)

    def claims_first(*asked: Any) -> object:
        monkeypatch.undo()
        step_once(app)
        return backend.seize(*asked)

    handle = flow.options(id="f").start()
    run_until_idle(app)
    assert handle.status is S.PAUSED
    assert handle.resume()
    monkeypatch.setattr(backend, "seize", claims_first)
    handle.pause()
    run_until_idle(app)
    assert handle.status is S.PAUSED


@pytest.mark.keeps_frames("it breaks what a frame does as it goes on")
def test_a_pause_that_a_crash_prevented_is_there_still(store, monkeypatch):
    app = store.app(local_worker=False)

    @app.task(name="step")
    def step() -> None:
        app.invocation("f").pause()
        app.invocation("f").send("m", 1)

    @app.workflow(name="flow")
    def flow() -> list[Any]:
        step()
        return [wf.receive("m"), wf.receive("never")]

    def dies(attempt: SyncAttempt) -> None:
        attempt.halt(None)
        raise LeaseLost

    handle = flow.options(id="f").start()
    with monkeypatch.context() as patch:
        patch.setattr(SyncAttempt, "pause", dies)
        step_once(app)
    assert [row.kind for row in app.runtime.backend.read_inbox(handle.key)] == ["pause"]
    app.runtime.backend.commit([released(app.runtime.backend.read(*handle.key))])
    run_until_idle(app)
    assert handle.status is S.PAUSED
    assert app.runtime.backend.read_inbox(handle.key) == []


def test_an_async_one_notices_between_two_tasks(store):
    app = store.app(local_worker=False)
    ran: list[int] = []

    @app.task(name="step")
    async def step(number: int) -> None:
        ran.append(number)
        if number == 2:
            app.invocation("f").pause()
        if number == 4:
            app.invocation("f").cancel()

    @app.workflow(name="flow")
    async def flow() -> None:
        for number in range(1, 7):
            await step(number)

    handle = flow.options(id="f").start()
    run_until_idle(app)
    assert ran == [1, 2]
    assert handle.status.value == "paused"
    handle.pause()  # it is what was asked for
    assert handle.resume()
    run_until_idle(app)
    assert ran == [1, 2, 3, 4]
    assert handle.status.value == "cancelled"
    assert app.verify("f").finished


def test_what_was_cancelled_while_it_was_paused_runs_nothing_more(store):
    app = store.app(local_worker=False)
    ran: list[int] = []

    @app.task(name="step")
    def step(number: int) -> None:
        ran.append(number)
        if number == 1:
            app.invocation("f").pause()

    @app.workflow(name="flow")
    def flow() -> None:
        step(1)
        step(2)

    handle = flow.options(id="f").start()
    run_until_idle(app)
    handle.cancel()
    handle.resume()
    run_until_idle(app)
    assert ran == [1]
    assert handle.status is S.CANCELLED


def test_a_delayed_start_is_not_paused(store):
    app = store.app(local_worker=False)

    @app.workflow(name="flow")
    def flow() -> None: ...

    handle = flow.options(delay=60).start()
    with pytest.raises(OperationRefused, match="begins later"):
        handle.pause()
    assert handle.status is S.READY


def test_tasks_are_not_paused(store):
    app = store.app(local_worker=False)

    @app.task(name="pay")
    def pay() -> None: ...

    with pytest.raises(OperationRefused, match="runs as a whole"):
        pay.start().pause()


def test_cancelled_is_no_exception():
    assert not issubclass(Cancelled, Exception)
    assert wf.Cancelled is Cancelled


@pytest.mark.parametrize("begun", [True, False])
@pytest.mark.parametrize("how", ["cancel", "terminate"])
@pytest.mark.parametrize(
    ("reason", "told"), [("", r"no result\.$"), ("out of stock", r"result\. Reason: out of stock$")]
)
@pytest.mark.parametrize("colour", ["sync", "async"])
def test_the_reason_reaches_who_asks(store, colour, how, begun, reason, told):
    app = store.app(virtual=True, local_worker=False)

    @app.workflow(name="sync")
    def flow() -> None:
        wf.sleep(3600)

    @app.workflow(name="async")
    async def aflow() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(wf.receive_async("go"))
            await wf.sleep(3600)

    handle = (flow if colour == "sync" else aflow).start()
    if begun:
        run_until_idle(app)
    getattr(handle, how)(reason)
    run_until_idle(app)
    with pytest.raises(InvocationCancelled, match=told):
        handle.result(1)


def test_who_waits_is_told(store):
    app = store.app()

    @app.workflow(name="child")
    def child() -> None:
        wf.receive("never")

    @app.workflow(name="parent")
    def parent() -> str:
        handle = child.start()
        handle.cancel("by its parent")
        try:
            handle.result()
        except InvocationCancelled as error:
            return str(error)
        return ""

    assert "was cancelled" in parent.start().result(LONG)


@pytest.mark.parametrize("fault", [None, *(Fault(2, mode) for mode in (Mode.UNKNOWN, Mode.AFTER))])
def test_what_is_settled_from_outside_is_settled_in_one_write(fault):
    """So a canceller that dies leaves it as it was, or as it is wanted: nobody begins it early."""
    env = MortalEnv()
    backend = FaultyBackend(MemoryBackend(), env, fault)
    with Perdure(backend=backend, env=env, name="control", local_worker=False) as app:

        @app.workflow(name="flow")
        def flow() -> None: ...

        handle = flow.options(id="f", delay=60).start()
        with contextlib.suppress(SimulatedCrash):
            handle.cancel("not needed")
    survivor = backend._inner.read("f")
    assert survivor is not None
    assert (survivor.state, survivor.owner) == (S.CANCELLED, "")
    again = ["seize"] if fault is not None and fault.mode is Mode.UNKNOWN else []
    assert backend.calls == ["start", "seize", *again]


def test_of_two_that_resume_at_once_one_is_told_so(store, monkeypatch):
    """Both read that it is paused; one lets it go on, and to the other it was going on already."""
    apps = [store.app(local_worker=False) for _ in range(2)]
    for app in apps:
        app.workflow(name="flow")(lambda: wf.receive("go"))
    one, other = (app.named("flow").options(id="f").start() for app in apps)
    one.pause()
    backend = apps[0].runtime.backend
    resume = backend.resume

    def late(key: Any) -> Any:
        assert other.resume()
        return resume(key)

    with monkeypatch.context() as patched:
        patched.setattr(backend, "resume", late)
        if backend is apps[1].runtime.backend:  # in memory they have one
            patched.setattr(apps[1].runtime, "backend", _With(backend, resume))
        assert one.resume() is False
    assert one.resume() is False


class _With:
    """A backend with another `resume`."""

    def __init__(self, inner: Any, resume: Any) -> None:
        self._inner = inner
        self.resume = resume

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def test_a_resume_whose_outcome_was_open_is_taken_for_ours(memory_store):
    app = memory_store.app(local_worker=False)
    app.workflow(name="flow")(lambda: wf.receive("go"))
    handle = app.start("flow")
    handle.pause()
    faulty = FaultyBackend(app.runtime.backend, MortalEnv(), Fault(1, Mode.UNKNOWN))
    app.runtime.backend = faulty
    assert handle.resume() is True
    assert faulty.calls == ["resume", "resume"]
    assert handle.status is S.READY
