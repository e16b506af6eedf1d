"""What goes another way at first: bodies held up or told to end, ids and rows that others took."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from perdure import InvocationState, Perdure, wf
from perdure.backends.letters import InboxRow, Letter
from perdure.backends.memory import MemoryBackend
from perdure.core.identity import InvocationKey
from perdure.engine import control, letters, stuck, topics
from perdure.engine.bodies import BodyRunner, _Once
from perdure.engine.cancellation import Cancellation
from perdure.engine.context import Origin, TaskContext, current
from perdure.engine.effects import Call, EmitNow
from perdure.engine.env import SystemEnv
from perdure.engine.inbox import receive
from perdure.engine.ledger import Ledger
from perdure.engine.outcome import Raised, Returned
from perdure.errors import AttemptLost, InternalError, JournalCorrupted, Suspended
from tests.engine.test_bodies_elsewhere import APP, shipment
from tests.engine.test_late_answers import wait_until
from tests.engine.test_small_parts import claimed
from tests.support.stores import Store, claim, run_until_idle, step

KEY = InvocationKey("w", 1)
S = InvocationState


# --- bodies --------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["plain", "branched", "awaited"])
@pytest.mark.parametrize("first", ["held up", "told to end"])
def test_a_body_that_came_to_nothing_is_run_again(
    app: Perdure, monkeypatch: pytest.MonkeyPatch, way: str, first: str
) -> None:
    bodies, ran = app.runtime.bodies, list[str]()
    lost = Raised(b"{}", AttemptLost("its workflow was cancelled"), final=True)
    answers = [None if first == "held up" else lost]
    run, start = bodies.run, bodies.start

    def run_later(*given: Any) -> Any:
        return answers.pop() if answers else run(*given)

    def start_later(call: Any, context: Any, deliver: Any, may_start: Any) -> Any:
        if not answers:
            return start(call, context, deliver, may_start)
        deliver(answers.pop())
        return lambda: None

    monkeypatch.setattr(bodies, "run", run_later)
    monkeypatch.setattr(bodies, "start", start_later)

    @app.task(name="work")
    def work(number: int) -> int:
        ran.append("work")
        return number

    def plain() -> int:
        return work(1)

    def branched() -> int:
        return sum(wf.gather(lambda: work(1)))

    async def awaited() -> int:
        return await work.acall(1)

    code: Any = {"plain": plain, "branched": branched, "awaited": awaited}[way]
    handle = app.workflow(name="main")(code).options(id="w").start()
    wait_until(lambda: run_until_idle(app) == 0 and handle.status is S.COMPLETED)
    assert (handle.result(1), ran, answers) == (1, ["work"], [])
    assert app.verify("w").finished


def test_a_message_before_a_cancellation_is_delivered_before_it(app: Perdure) -> None:
    seen: list[Any] = []

    @app.task(name="first")
    def first() -> None:
        handle.send("m", 7)
        handle.cancel("enough")

    @app.task(name="second")
    def second() -> None:
        seen.append("second")

    def main() -> None:
        first()
        try:
            second()
        except wf.Cancelled as error:
            seen.append((str(error), wf.receive("m")))
            raise

    handle = app.workflow(name="main")(main).options(id="w").start()
    run_until_idle(app)
    assert handle.status is S.CANCELLED
    assert seen == [("enough", 7)]
    assert app.verify("w").finished


def test_what_is_failing_goes_on_undoing_when_it_is_cancelled(app: Perdure) -> None:
    undone: list[str] = []

    @app.task(name="undo")
    def undo(word: str) -> None:
        undone.append(word)
        if word == "b":
            handle.cancel("enough")

    def main() -> None:
        for word in "ab":
            wf.compensate(undo, word)
        raise ValueError("no")

    handle = app.workflow(name="main")(main).options(id="w").start()
    run_until_idle(app)
    assert undone == ["b", "a"]
    assert handle.status is S.FAILED
    assert app.verify("w").finished


def test_a_body_that_ended_in_time_is_not_late(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = BodyRunner(SystemEnv(), APP.runtime.types, 1, APP.runtime.store_id)
    timers: list[Any] = []

    class Loop:
        def after(self, delay: float, run: Any) -> None:
            timers.append(run)

        def close(self) -> None:
            """Nothing."""

    runner.__dict__["_io"] = Loop()
    call, _ = shipment()

    class Limited:
        """Its function, with a time limit."""

        timeout, heartbeat_timeout, is_async = 1.0, None, False

        def __getattr__(self, name: str) -> Any:
            return getattr(call.function, name)

    function: Any = Limited()
    limited = Call(function, call.arguments, call.digest)
    context: Any = type("Context", (), {"lost": ""})()
    for in_time in (True, False):
        results: list[Any] = []
        once = _Once(results.append)
        runner._limit(limited, context, once)
        if in_time:
            once(Returned(b"1", 1))
        timers.pop()()
        assert len(results) == 1
        assert isinstance(results[0], Returned if in_time else Raised)
        assert bool(context.lost) != in_time


def test_a_body_that_is_run_in_something_may_be_run_twice_and_gets_the_same() -> None:
    """As a transaction does that met a conflict."""
    runner = BodyRunner(SystemEnv(), APP.runtime.types, 1, APP.runtime.store_id)
    drawn: list[Any] = []
    call, _ = shipment()

    class Twice:
        def run(self, context: TaskContext, body: Any) -> Any:
            body()
            context.rewind()
            return body()

    class Wrapped:
        around = Twice()

        def __getattr__(self, name: str) -> Any:
            return getattr(call.function, name)

        def bind(self, arguments: bytes) -> Any:
            def body() -> int:
                context: Any = current()
                drawn.append((context.scope.random(), context.next_start_id()))
                return 1

            return body

    function: Any = Wrapped()
    no_template: Any = None
    origin = Origin(KEY, b"s" * 32, no_template, b"e" * 32)
    context = TaskContext(lambda: origin, 5, workflow=KEY, owner=APP)
    outcome = runner._here(Call(function, call.arguments, call.digest), context)
    assert isinstance(outcome, Returned)
    assert len(drawn) == 2
    assert drawn[0] == drawn[1]
    runner.close()


def test_a_dropped_root_that_goes_on_is_refused_as_its_branches_are(app: Perdure) -> None:
    seen: list[str] = []

    def main() -> None:
        try:
            wf.gather(lambda: wf.sleep(3600), lambda: wf.sleep(3600))
        except BaseException:
            try:
                wf.random()
            except Suspended:
                seen.append("refused")
            raise

    handle = app.workflow(name="main")(main).options(id="w").start()
    step(app)
    assert seen == ["refused"]
    assert handle.status is S.WAITING


# --- letters and control -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [letters.MESSAGE, letters.UPDATE])
def test_a_letter_that_is_no_json_is_no_entry(app: Perdure, kind: str) -> None:
    record = claimed(app)
    ledger = Ledger(app.runtime, record, [])
    bad = Letter(kind=kind, name="m", letter_id="l1", body=b'1},"x":{')
    with pytest.raises(JournalCorrupted, match="'l1'"):
        receive(app.runtime, ledger, InboxRow(7, kind, KEY, bad), 5)
    assert not ledger.dirty


def test_who_ends_another_looks_again_if_it_was_claimed_meanwhile(
    app: Perdure, backend: MemoryBackend
) -> None:
    handle = app.workflow(name="main")(lambda: wf.receive("m")).options(id="w").start()
    run_until_idle(app)
    seize, races = backend.seize, ["once"]

    def racing(*given: Any) -> Any:
        if races:
            races.clear()
            handle.send("m", 1)
            (record,) = claim(app).records
            assert record.epoch == 2
        return seize(*given)

    backend.seize = racing  # type: ignore[method-assign, assignment]
    control.terminate(app.runtime, KEY, Cancellation("enough"))
    assert handle.status is S.TERMINATED
    record = backend.read("w")
    assert record is not None
    assert record.epoch == 3, "what the other one had is fenced off"


def test_control_and_conflicts_of_topics_replay(memory_store: Store) -> None:
    app = memory_store.app(virtual=True, local_worker=False)

    @app.workflow(name="child")
    def child() -> None:
        wf.receive("never")

    @app.task(name="squatter")
    def squatter() -> None:
        return None

    squatter.options(id=topics._emit_of(app.runtime, "t", 1).invocation_id).start()

    @app.workflow(name="main")
    def main() -> list[str]:
        told = []
        started = child.options(id="c").start()
        started.cancel("enough")
        started.cancel("enough")
        try:
            wf.receive_topic("t")
        except Exception as error:
            told.append(type(error).__name__)
        wf.sleep(50)
        return told

    handle = main.options(id="w").start()
    for _ in range(3):
        run_until_idle(app)
        memory_store.env.advance(100)
    assert handle.result(1) == ["StartConflict"]
    assert app.verify("w").finished


# --- topics --------------------------------------------------------------------------------------


def test_an_emit_that_another_one_overtook_takes_the_next_number(
    app: Perdure, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime, put = app.runtime, topics._put

    def overtaken(*given: Any) -> str:
        monkeypatch.setattr(topics, "_put", put)
        assert topics.emit(runtime, EmitNow("t", "other", b"1", once=False)).number == 1
        return put(*given)

    for repeats in (True, False):
        topic = "t" if repeats else "u"
        monkeypatch.setattr(topics, "_put", overtaken if repeats else put)
        emitted = topics.emit(runtime, EmitNow(topic, "mine", b"2", once=False), repeats=repeats)
        assert emitted.number == (2 if repeats else 1)
    assert topics.count(runtime, "t") == 2
    for number in range(3, 8):
        assert topics.emit(runtime, EmitNow("t", f"e{number}", b"1", once=False)).number == number
        runtime.emits_seen.clear()
        assert topics.count(runtime, "t") == number


@pytest.mark.parametrize("bad", [b"", b"x", b"0", b"-1", b"9" * 11, b"\xff"])
def test_a_number_that_is_none(bad: bytes) -> None:
    with pytest.raises(JournalCorrupted, match="number of an emit"):
        topics.read_number(bad)
    assert topics.read_number(b"12") == 12


def test_an_emit_that_does_not_end_is_our_bug(
    app: Perdure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topics, "end_with", lambda *_: None)
    with pytest.raises(InternalError, match="has not ended"):
        topics.emit(app.runtime, EmitNow("t", "mine", b"1", once=False))


# --- others --------------------------------------------------------------------------------------


def test_a_workflow_that_two_wait_for_is_looked_at_once(
    app: Perdure, monkeypatch: pytest.MonkeyPatch
) -> None:
    @app.workflow(name="top")
    async def top() -> Any:
        return await asyncio.gather(*[low.options(id=f"low{n}").start(n) for n in (1, 2)])

    @app.workflow(name="low")
    def low(number: int) -> Any:
        return last.options(id="last").start().result()

    @app.workflow(name="last")
    def last() -> Any:
        return top.options(id="top").start().result()

    with monkeypatch.context() as patch:
        patch.setattr(stuck, "_cycle", lambda *_: None)
        top.options(id="top").start()
        run_until_idle(app)
    looked: list[str] = []
    below = stuck._whom_it_awaits

    def noted(runtime: Any, key: InvocationKey) -> Any:
        looked.append(key.invocation_id)
        return below(runtime, key)

    monkeypatch.setattr(stuck, "_whom_it_awaits", noted)
    awaited = [InvocationKey(f"low{n}", 1) for n in (1, 2)]
    path = stuck._cycle(app.runtime, InvocationKey("top", 1), awaited)
    assert path is not None
    assert [key.invocation_id for key in path][1:] == ["last", "top"]
    assert sorted(looked) == ["last", "low1", "low2"]


def test_a_memo_of_another_task_or_call_is_left_where_it_is(memory_store: Store) -> None:
    """A call that is new looks whether it is an older one with a new parameter; others are not."""
    app = memory_store.app(virtual=True, local_worker=False)
    asked: list[Any] = [("a", 1), ("b", 1)]

    @app.task(name="a")
    def a(number: int) -> str:
        return f"a{number}"

    @app.task(name="b")
    def b(number: int) -> str:
        return f"b{number}"

    @app.workflow(name="main")
    def main() -> list[str]:
        tasks: Any = {"a": a, "b": b}
        results = [wf.execute_task(tasks[name], number).result() for name, number in asked]
        wf.sleep(50)
        return results

    handle = main.options(id="w").start()
    run_until_idle(app)
    assert handle.status is S.WAITING
    asked[:] = [("b", 2), ("b", 1), ("a", 1)]
    memory_store.env.advance(100)
    for _ in range(3):
        step(app)
        memory_store.env.advance(100)
    journal = app.runtime.backend.read_journal(KEY)
    memos = [entry.key for entry in journal if entry.kind == "memo"]
    assert len(memos) == len(set(memos)) >= 2
