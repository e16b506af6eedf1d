"""What comes when nobody waits for it any more, or before anybody does: in branches and loops."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from typing import Any

import pytest

from perdure import InvocationState, Perdure, wf
from perdure.backends.memory import MemoryBackend
from perdure.core.identity import InvocationKey
from perdure.engine import control
from perdure.engine.cancellation import Cancellation
from perdure.engine.context import current_workflow
from perdure.engine.shipping import run_shipment
from perdure.errors import (
    BackendUnavailable,
    Divergence,
    ExecutorUnavailable,
    InternalError,
    InvocationEnded,
    InvocationNotFound,
)
from tests.support.stores import LONG, Store, run_until_idle, step

KEY = InvocationKey("w", 1)
S = InvocationState


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def kinds(app: Perdure) -> list[str]:
    return [entry.kind for entry in app.runtime.backend.read_journal(KEY)]


@pytest.fixture
def app() -> Any:
    with Perdure(backend=MemoryBackend(), local_worker=False, grace=0.0) as made:
        yield made


def run(app: Perdure, main: Any) -> Any:
    handle = app.workflow(name="main")(main).options(id="w").start()
    run_until_idle(app)
    return handle.result(LONG)


# --- executors that fail at first ----------------------------------------------------------------


class Reluctant:
    """Processes that do not start at first. Then they are this one."""

    def __init__(self) -> None:
        self.left = 0

    def run(self, payload: bytes, left: Any, answer: Any, may_start: Any) -> bytes | None:
        if self.left:
            self.left -= 1
            raise ExecutorUnavailable("not now")
        return run_shipment(payload) if may_start() else None

    def close(self) -> None:
        """There is nothing to end."""


_elsewhere = Perdure(backend=MemoryBackend(), name="elsewhere", local_worker=False, grace=0.0)
_ran: list[str] = []


@_elsewhere.task(name="once", delivery="at_most_once", executor="process")
def once() -> str:
    _ran.append("once")
    return f"ran {len(_ran)}"


@_elsewhere.task(name="often", executor="process")
def often() -> str:
    _ran.append("often")
    return f"ran {len(_ran)}"


@_elsewhere.workflow(name="plain")
def plain(name: str) -> str:
    return once() if name == "once" else often()


@_elsewhere.workflow(name="branched")
def branched(name: str) -> str:
    (result,) = wf.gather(once if name == "once" else often)
    return result


@_elsewhere.workflow(name="awaited")
async def awaited(name: str) -> str:
    return await (once.acall() if name == "once" else often.acall())


@pytest.mark.parametrize("task", ["once", "often"])
@pytest.mark.parametrize("flow", [plain, branched, awaited], ids=lambda flow: flow.name)
def test_a_body_that_no_executor_took_is_tried_again_and_was_never_begun(
    flow: Any, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("perdure.engine.runtime.UNAVAILABLE_SECONDS", 0.0)
    processes = Reluctant()
    _elsewhere.runtime.bodies._executors.processes = processes  # type: ignore[assignment]
    _ran.clear()
    processes.left = 2
    handle = flow.start(task)
    wait_until(lambda: run_until_idle(_elsewhere) == 0 and handle.status is S.COMPLETED)
    assert handle.result(1) == "ran 1"
    assert _ran == [task]
    journal = [entry.kind for entry in _elsewhere.runtime.backend.read_journal(handle.key)]
    notes = [kind for kind in journal if kind in ("began", "unbegun")]
    assert notes == (["began", "unbegun"] * 2 + ["began"] if task == "once" else [])


# --- branches ------------------------------------------------------------------------------------


def test_a_message_that_has_come_before_is_taken_at_once_by_a_branch(app: Perdure) -> None:
    def main() -> list[Any]:
        wf.sleep(0.001)

        def taker() -> Any:
            return wf.receive("m", timeout=3600)

        return wf.gather(taker, taker)

    handle = app.workflow(name="main")(main).options(id="w").start()
    handle.send("m", 1)
    handle.send("m", 2)
    wait_until(lambda: run_until_idle(app) == 0 and handle.status is S.COMPLETED)
    assert handle.result(1) == [1, 2]
    assert app.verify("w").finished


def test_who_waits_for_what_has_ended_does_not_wait(app: Perdure) -> None:
    @app.task(name="quick")
    def quick(word: str) -> str:
        return word

    def main() -> list[Any]:
        def outer() -> Any:
            return wf.gather(lambda: 1, lambda: quick("a"))

        first = wf.select(now=lambda: 2, later=lambda: wf.sleep(3600))
        return [outer(), first.key, wf.gather(outer, lambda: wf.gather())]

    assert run(app, main) == [[1, "a"], "now", [[1, "a"], []]]


@pytest.mark.parametrize("way", ["divergence", "away", "bug", "interrupt"])
def test_whatever_stops_the_root_drops_its_branches(
    memory_store: Store, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """The fault comes where the root lets others run; each branch is told, and its frame ends."""
    app = memory_store.app(virtual=True, local_worker=False)
    ended: list[str] = []
    attempts: list[Any] = []

    @app.workflow(name="main")
    def main() -> str:
        def branch(word: str) -> None:
            try:
                wf.sleep(50)
                wf.sleep(50)
            finally:
                ended.append(word)

        attempts.append(current_workflow("this test").attempt)
        wf.gather(lambda: branch("a"), lambda: branch("b"))
        return "done"

    handle = main.options(id="w").start()
    fault = {
        "divergence": Divergence("planted"),
        "away": BackendUnavailable("planted"),
        "bug": ZeroDivisionError("planted"),
        "interrupt": KeyboardInterrupt("planted"),
    }[way]

    def faulty(*_: Any, **__: Any) -> None:
        raise fault

    with monkeypatch.context() as patch:
        patch.setattr("perdure.engine.waiting.Waiting.idle", faulty)
        step(app)
    assert ended == ["b", "a"], "newest first"
    error = attempts[0].error
    state = handle.status
    if way == "away":
        assert (error, state) == (fault, S.READY)
    elif way == "interrupt":
        assert state is S.RUNNING, "the lease runs out"
        memory_store.env.advance(100)
    else:
        assert isinstance(error, Divergence if way == "divergence" else InternalError)
        assert state is S.PARKED
        handle.resume()
    for _ in range(4):
        run_until_idle(app)
        memory_store.env.advance(100)
    assert handle.result(1) == "done"


# --- async workflows -----------------------------------------------------------------------------


def test_a_body_that_ended_as_its_branch_was_cancelled_is_dropped(app: Perdure) -> None:
    """It ended while the workflow ran on, which cancels who waits for it before it looks."""
    go = threading.Event()

    @app.task(name="work")
    async def work(word: str) -> str:
        if word == "b":
            await asyncio.to_thread(go.wait, LONG)
        return word

    async def branch(word: str) -> str:
        return await work(word)

    async def main() -> list[Any]:
        attempt: Any = current_workflow("this test").attempt
        tasks = [asyncio.create_task(branch(word)) for word in "ab"]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        (late,) = [task for task in tasks if not task.done()]
        if not go.is_set():  # a replay runs no body
            go.set()
            wait_until(lambda: len(attempt._finished) == 1)
        late.cancel()
        await asyncio.wait(tasks)
        await work("c")  # and the late one comes
        return sorted([task.cancelled() for task in tasks])

    assert run(app, main) == [False, True]
    assert app.verify("w").finished


def test_names_timers_and_callbacks_of_the_loop(app: Perdure, caplog: Any) -> None:
    order: list[Any] = []

    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        assert loop.is_running()
        assert not loop.is_closed()
        loop.call_later(0, order.append, "at once")
        loop.call_soon(order.append, "cancelled").cancel()
        loop.call_later(-1, order.append, "late").cancel()
        timer = loop.call_later(3600, order.append, "never")
        timer.cancel()
        timer.cancel()

        async def named() -> str | None:
            task = asyncio.current_task()
            return None if task is None else task.get_name()

        names = [
            await loop.create_task(named(), name="mine"),
            await asyncio.create_task(named()),
        ]
        loop.call_exception_handler({"message": "something odd", "exception": ValueError("odd")})
        loop.call_exception_handler({"message": "not told", "exception": None})
        return names

    caplog.set_level(logging.WARNING, "perdure.engine")
    assert run(app, main) == ["mine", "/2"]
    assert "in an async workflow: something odd" in caplog.text
    assert set(order) == {"at once"}


# --- control -------------------------------------------------------------------------------------


def test_children_are_told_however_many_they_are_and_whatever_has_ended(
    app: Perdure, monkeypatch: pytest.MonkeyPatch
) -> None:

    monkeypatch.setattr(control, "PAGE", 2)

    @app.workflow(name="child")
    def child(number: int) -> None:
        wf.receive("never")

    def main() -> None:
        for number in range(5):
            child.options(id=f"c{number}").start(number)
        wf.receive("never")

    handle = app.workflow(name="main")(main).options(id="w").start()
    run_until_idle(app)
    children = control.live_children(app.runtime, KEY)
    assert [key.invocation_id for key in children] == [f"c{n}" for n in (4, 3, 2, 1, 0)]

    looked = control.live_children

    def stale(*given: Any) -> list[InvocationKey]:
        """Between the look and the word to it, one of them ends by itself."""
        found = looked(*given)
        app.invocation("c3").terminate() if app.invocation("c3").status is S.WAITING else None
        return found

    monkeypatch.setattr(control, "live_children", stale)
    control.cancel_children(app.runtime, KEY, Cancellation("enough"))
    run_until_idle(app)
    states = {n: app.invocation(f"c{n}").status for n in range(5)}
    assert states == {n: S.TERMINATED if n == 3 else S.CANCELLED for n in range(5)}
    handle.terminate(children=False)
    assert handle.status is S.TERMINATED


def test_termination_goes_on_where_a_child_has_ended_meanwhile(
    app: Perdure, monkeypatch: pytest.MonkeyPatch
) -> None:

    @app.workflow(name="child")
    def child(number: int) -> None:
        wf.receive("never")

    def main() -> None:
        for number in range(3):
            child.options(id=f"c{number}").start(number)
        wf.receive("never")

    handle = app.workflow(name="main")(main).options(id="w").start()
    run_until_idle(app)
    looked = control.live_children

    def stale(runtime: Any, key: InvocationKey) -> list[InvocationKey]:
        found = looked(runtime, key)
        if key == KEY:
            app.invocation("c1").cancel()
            run_until_idle(app)
        return found

    monkeypatch.setattr(control, "live_children", stale)
    handle.terminate()
    states = [app.invocation(f"c{n}").status for n in range(3)]
    assert states == [S.TERMINATED, S.CANCELLED, S.TERMINATED]


def test_a_workflow_that_ended_as_it_was_cancelled_cannot_be_cancelled_any_more(
    app: Perdure, monkeypatch: pytest.MonkeyPatch
) -> None:

    handle = app.workflow(name="main")(lambda: wf.receive("m")).options(id="w").start()
    run_until_idle(app)
    found = control._found

    def stale(*given: Any) -> Any:
        record = found(*given)
        if record.state is S.WAITING:
            handle.send("m", "come")
            run_until_idle(app)
        return record

    monkeypatch.setattr(control, "_found", stale)
    with pytest.raises(InvocationEnded, match="completed"):
        handle.cancel()
    assert handle.result(1) == "come"


def test_nobody_can_cancel_what_there_is_not(app: Perdure) -> None:

    for act in (control.cancel, control.terminate):
        with pytest.raises(InvocationNotFound, match=r"'nobody' \(generation 1\)"):
            act(app.runtime, InvocationKey("nobody", 1), Cancellation())
