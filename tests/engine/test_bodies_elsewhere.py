"""Bodies that go to other processes: what becomes of them when those do not do as they should."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import Executor, Future
from typing import Any

import msgspec
import pytest

from perdure import Perdure
from perdure.backends.base import InvocationRecord
from perdure.backends.memory import MemoryBackend
from perdure.engine import processes, shipping
from perdure.engine.bodies import BodyRunner, _Once
from perdure.engine.effects import Call, RunBody
from perdure.engine.env import SystemEnv
from perdure.engine.executors import Executors
from perdure.engine.outcome import Raised, Returned, Unfinished
from perdure.engine.processes import OutOfTime, Processes, _Asking
from perdure.engine.pulse import Pulse
from perdure.engine.started import call_context, template_of
from perdure.engine.telling import refusal
from perdure.errors import BodyDied, ExecutorUnavailable
from tests.engine.test_late_answers import wait_until
from tests.support.stores import LONG, claim

APP = Perdure(backend=MemoryBackend(), name="shipped", local_worker=False)


@APP.task(name="double", executor="process")
def double(number: int) -> int:
    return 2 * number


@APP.task(name="double once", executor="process", delivery="at_most_once")
def double_once(number: int) -> int:
    return 2 * number


@APP.workflow(name="main")
def main() -> None:
    return None


_claimed: list[InvocationRecord] = []


def shipment(task: Any = double, **changes: Any) -> tuple[Call, bytes]:
    """A body on its way."""
    if not _claimed:
        main.options(id="w").start()
        _claimed.extend(claim(APP).records)
    record, function = _claimed[0], task.definition
    call = Call(function, b'{"number":21}', b"")
    effect = RunBody(call, ("", 1), 5)
    template = template_of(record, record.key)
    no_pulse: Any = None
    context = call_context(APP.runtime, record, template, effect, no_pulse)
    packed = shipping.pack(call, context, APP.runtime.store_id)
    sent = msgspec.msgpack.decode(packed, type=shipping.Shipment)
    return call, msgspec.msgpack.encode(msgspec.structs.replace(sent, **changes))


def unpacked(call: Call, reply: bytes) -> Any:
    return shipping.unpack(call.function, reply, APP.runtime.types)


def test_a_body_is_run_where_its_function_is() -> None:
    begun: list[str] = []
    call, payload = shipment()
    outcome = unpacked(call, shipping.run_shipment(payload, lambda: begun.append("it")))
    assert outcome == Returned(b"42", 42)
    assert begun == ["it"]


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        (("no.such.module", "double", "double"), r"importing its module.*ModuleNotFoundError"),
        ((__name__, "double", "another name"), r"did not register 'double' under this name"),
    ],
)
def test_a_function_that_is_not_found_there_was_not_begun(
    reference: tuple[str, str, str], why: str
) -> None:
    call, payload = shipment(home=b"another process", reference=shipping.Reference(*reference))

    def began() -> None:
        raise AssertionError("it must not begin")

    outcome = unpacked(call, shipping.run_shipment(payload, began))
    assert isinstance(outcome, Unfinished)
    assert not outcome.may_have_begun
    with pytest.raises(ExecutorUnavailable, match=why):
        raise outcome.error


def test_a_function_of_an_app_that_is_gone() -> None:
    call, payload = shipment(number=10**9)
    outcome = unpacked(call, shipping.run_shipment(payload))
    assert isinstance(outcome, Unfinished)
    assert str(outcome.error) == "The app of this task is gone."


def test_the_same_module_in_another_process_is_the_same_function() -> None:
    call, payload = shipment(home=b"another process")
    assert unpacked(call, shipping.run_shipment(payload)) == Returned(b"42", 42)


@pytest.mark.parametrize("reply", [b"", b"\x93", b"\xc1" * 9, b"\x83\xa4kind\xa3odd"])
def test_an_answer_that_cannot_be_read_is_none(reply: bytes) -> None:
    """It did run. So a body that must not run twice has died, and another is tried again."""
    for task, may_have_begun in ((double, False), (double_once, True)):
        call, _ = shipment(task)
        outcome = unpacked(call, reply)
        assert isinstance(outcome, Unfinished)
        assert outcome.may_have_begun == may_have_begun
        assert "cannot be read here" in str(outcome.error)


# --- questions -----------------------------------------------------------------------------------


class Pipe:
    """One end of a connection that answers everything with the same."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def send_bytes(self, sent: bytes) -> None:
        self.sent.append(sent)

    def recv_bytes(self) -> bytes:
        return b"told"


def test_only_the_body_asks_and_only_while_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe: Any = Pipe()
    asking = _Asking(pipe)
    assert asking.ask(b"1") == b"told"
    with monkeypatch.context() as forked:
        forked.setattr(os, "getpid", lambda: -1)
        assert b"it was forked" in asking.ask(b"2")
    asking.end()
    assert asking.ask(b"3") == refusal("its body has ended")
    assert pipe.sent == [b"asks:1"]


# --- processes that do not do as they should -----------------------------------------------------


def test_a_process_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError("no more processes")

    pool = Processes(1)
    with monkeypatch.context() as patch:
        patch.setattr("multiprocessing.context.SpawnProcess.start", refuse)
        with pytest.raises(ExecutorUnavailable, match=r"could not be started: no more.*__main__"):
            pool.run(b"", lambda: None, bytes, lambda: True)
    _, payload = shipment()
    reply = pool.run(payload, lambda: LONG, bytes, lambda: True)
    assert reply is not None, "its place is free again"
    pool.close()


class Scripted:
    """A `_Process` whose pipe says what the test wants."""

    def __init__(self, *messages: bytes | BaseException) -> None:
        self.messages = list(messages)
        self.killed = self.closed = 0
        process: Any = processes._Process.__new__(processes._Process)
        process._connection, process._receive = self, self.receive
        process.kill, process.close = self.kill, self.close
        self.process = process

    def send_bytes(self, sent: bytes) -> None:
        """It is heard."""

    def receive(self, limit: float | None) -> bytes:
        message = self.messages.pop(0)
        if isinstance(message, BaseException):
            raise message
        return message

    def kill(self) -> int:
        self.killed += 1
        return -9

    def close(self) -> None:
        self.closed += 1

    def run(self) -> bytes:
        reply: bytes = self.process.run(b"payload", lambda: 1.0, lambda _: b"answer")
        return reply


@pytest.mark.parametrize(
    ("messages", "error", "told"),
    [
        ((EOFError(),), ExecutorUnavailable, "while it imported the task's module"),
        ((OutOfTime(),), ExecutorUnavailable, "while it imported the task's module"),
        ((b"began", EOFError()), BodyDied, "ended under it"),
        ((b"began", OSError()), BodyDied, "exit code -9"),
        ((b"began", OutOfTime()), OutOfTime, None),
        ((b"began", b"asks:1", OutOfTime()), OutOfTime, None),
    ],
)
def test_how_a_process_ends_tells_whether_the_body_may_have_run(
    messages: tuple[bytes | BaseException, ...], error: type[BaseException], told: str | None
) -> None:
    scripted = Scripted(*messages)
    with pytest.raises(error, match=told):
        scripted.run()
    assert scripted.killed == 1


def test_what_is_said_before_it_is_ready_is_no_beginning() -> None:
    scripted = Scripted(b"something else")
    with pytest.raises(EOFError):
        scripted.process._expect(b"ready")
    assert Scripted(b"unknown function").run() == b"unknown function"
    assert Scripted(b"began", b"asks:1", b"reply").run() == b"reply"


def test_who_finds_no_free_process_waits_for_one_and_a_late_one_is_closed() -> None:
    pool = Processes(1)
    gate, begun = threading.Event(), threading.Event()
    made: list[Any] = []

    class Slow(Scripted):
        def run(self, *_: Any) -> bytes:
            begun.set()
            assert gate.wait(LONG)
            return b"reply"

    slow = Slow()
    pool._idle.append(slow)  # type: ignore[arg-type]
    pool._count = 1

    def use() -> None:
        made.append(pool.run(b"", lambda: None, bytes, lambda: True))

    threads = [threading.Thread(target=use) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert begun.wait(LONG)
    wait_until(lambda: len(pool._free._waiters) == 1)  # type: ignore[attr-defined]
    gate.set()
    for thread in threads:
        thread.join(LONG)
    assert made == [b"reply", b"reply"]
    idle: list[Any] = [*pool._idle]
    assert (pool._count, idle) == (1, [slow])
    begun.clear()
    gate.clear()
    last = threading.Thread(target=use)
    last.start()
    assert begun.wait(LONG)
    pool.close()
    assert slow.closed == 0, "its body runs still"
    gate.set()
    last.join(LONG)
    assert slow.closed == 1


def test_a_process_that_never_started_has_nothing_to_kill() -> None:
    class Unborn:
        pid = None
        exitcode = None

        def kill(self) -> None:
            """Nothing."""

        def join(self) -> None:
            """Nothing."""

    class Closed:
        closed = False

        def close(self) -> None:
            self.closed = True

    process: Any = processes._Process.__new__(processes._Process)
    process._process, process._connection = Unborn(), Closed()
    assert process.kill() is None
    assert process._connection.closed


# --- executors of users --------------------------------------------------------------------------


def test_a_broken_executor_that_was_replaced_meanwhile_leaves_the_new_one_alone() -> None:
    class Noted(Executor):
        ended = 0

        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            raise AssertionError

        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            self.ended += 1

    old, new = Noted(), Noted()
    executors, factory = Executors(2), lambda: new
    assert executors._make(factory) is new
    executors._discard(factory, old)
    assert (old.ended, new.ended) == (1, 0)
    assert executors._make(factory) is new
    executors._discard(factory, new)
    assert (old.ended, new.ended) == (1, 1)


# --- bodies on the loop --------------------------------------------------------------------------


@pytest.fixture
def runner() -> Any:
    made = BodyRunner(SystemEnv(), APP.runtime.types, 2, APP.runtime.store_id)
    yield made
    made.close()


def test_off_the_loop_what_fails_is_raised_and_what_is_given_up_does_not_begin(
    runner: BodyRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, ran = threading.Event(), list[str]()

    def hold() -> None:
        assert gate.wait(LONG)

    def fail() -> None:
        raise ValueError("no")

    async def use() -> None:
        with pytest.raises(ValueError, match="no"):
            await runner.off_loop(fail)
        holding = [asyncio.ensure_future(runner.off_loop(hold)) for _ in range(4)]
        given_up = asyncio.ensure_future(runner.off_loop(lambda: ran.append("given up")))
        await asyncio.sleep(0)
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        gate.set()
        await asyncio.gather(*holding)
        await runner.off_loop(lambda: ran.append("last"))

    asyncio.run(asyncio.wait_for(use(), LONG))
    assert ran == ["last"]


def test_who_ended_in_time_is_not_found_silent_afterwards(runner: BodyRunner) -> None:
    call, _ = shipment()
    results: list[Any] = []
    once = _Once(results.append)
    context: Any = type("Context", (), {"lost": ""})()
    keeper: Any = None
    pulse = Pulse(lambda: -100.0, keeper)
    once(None)
    runner._look(call, context, once, pulse, 1.0)
    assert (results, context.lost) == ([None], "")
    late = _Once(results.append)
    runner._look(call, context, late, pulse, 1.0)
    assert isinstance(results[1], Raised)
    assert context.lost == "it told no heartbeat for too long"
