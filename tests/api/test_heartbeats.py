"""Heartbeats of task bodies: what other attempts read, when silence fails, who is told to stop."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from typing import Any

import pytest

from perdure import InvocationState, Perdure, Retry, wf
from perdure.api.queries import read_data
from perdure.core.entries import EntryKind
from perdure.engine import pulse
from perdure.engine.bodies import BodyRunner
from perdure.engine.heartbeats import HEARTBEAT
from perdure.engine.pulse import Pulse
from perdure.errors import (
    AttemptLost,
    ConfigurationError,
    DeserializationError,
    HeartbeatTimeout,
    InvalidIdentifier,
    InvocationCancelled,
    NotInWorkflow,
    OperationRefused,
    RegistrationError,
    TaskError,
    WrongColour,
)
from tests.support.stores import LEASE, LONG, Store, run_until_idle, step
from tests.worker.fleet import until

S = InvocationState
AGAIN = Retry(attempts=3, wait_initial=0.0)


@dataclass
class Progress:
    done: int
    of: int


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each heartbeat is made durable and looks whether its attempt counts still."""
    monkeypatch.setattr(pulse, "TELL_SECONDS", 0.0)


@pytest.mark.parametrize("started", [True, False])
def test_a_retry_goes_on_from_what_the_failed_attempt_told_last(store, started):
    app = store.app(local_worker=False)
    seen: list[Any] = []

    @app.task(name="copy", retry=AGAIN)
    def copy(of: int) -> int:
        last = wf.last_heartbeat(Progress)
        seen.append(last)
        first = 0 if last is None else last.done
        for done in range(first + 1, first + 4):
            wf.heartbeat(Progress(done, of))
        assert wf.last_heartbeat(Progress) == Progress(first + 3, of)
        if first + 3 < of:
            raise ValueError("too much at a time")
        return first + 3

    @app.workflow(name="flow")
    def flow() -> Any:
        if started:
            return copy.start(9).result()
        return copy(9)

    handle = flow.start()
    run_until_idle(app)
    assert handle.result(1) == 9
    assert seen == [None, Progress(3, 9), Progress(6, 9)]


def test_async_bodies_too(store):
    app = store.app(local_worker=False)
    seen: list[Any] = []

    @app.task(name="copy", retry=AGAIN)
    async def copy(name: str) -> str:
        last = wf.last_heartbeat()
        seen.append((name, last))
        await wf.heartbeat_async([name, 1])
        await wf.heartbeat_async([name, 2])
        await wf.heartbeat_async()
        if last is None:
            raise ValueError(name)
        return name

    @app.workflow(name="flow")
    async def flow() -> list[str]:
        return list(await asyncio.gather(copy("a"), copy("b"), copy.start("c")))

    handle = flow.start()
    until(lambda: run_until_idle(app) == 0 and handle.status is S.COMPLETED, "the end of it")
    assert handle.result(1) == ["a", "b", "c"]
    assert sorted(seen, key=lambda pair: (pair[1] is not None, pair[0])) == [
        *((name, None) for name in "abc"),
        *((name, [name, 2]) for name in "abc"),
    ]


@pytest.mark.parametrize("started", [True, False])
def test_after_a_lost_lease_the_next_attempt_reads_it_and_the_lost_one_is_told(
    store, started, eager
):
    app, other = (store.app(virtual=True, local_worker=False) for _ in range(2))
    seen: list[Any] = []

    def define(app: Perdure) -> Any:
        @app.task(name="copy")
        def copy() -> str:
            seen.append(wf.last_heartbeat())
            if len(seen) == 1:
                wf.heartbeat("half")
                store.env.advance(LEASE + 1)
                run_until_idle(other)
                try:
                    wf.heartbeat("more")
                except AttemptLost as error:
                    seen.append(str(error))
                    raise
            return "done"

        @app.workflow(name="flow")
        def flow() -> str:
            return copy()

        return copy if started else flow

    main = define(app)
    define(other)
    handle = main.start()
    step(app)
    assert seen[:2] == [None, "half"]
    assert "counts no more: its lease is lost" in seen[2]
    assert handle.result(1) == "done"


@pytest.mark.usefixtures("eager")
def test_a_started_task_is_told_of_its_end(store):
    app = store.app(local_worker=False)
    told = threading.Event()
    beaten = threading.Event()

    @app.task(name="endless")
    def endless() -> None:
        try:
            while True:
                wf.heartbeat("on")
                beaten.set()
        except AttemptLost:
            told.set()
            raise

    handle = endless.start()
    assert handle.last_heartbeat(str, "none") == "none"
    app.start_worker()
    assert beaten.wait(LONG)
    assert handle.last_heartbeat(str) == "on"
    handle.cancel("enough")
    assert told.wait(LONG)
    with pytest.raises(InvocationCancelled):
        handle.result(LONG)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("by", ["cancel", "deadline", "terminate"])
def test_a_called_body_is_told_that_its_workflow_ends(store, by):
    app = store.app(virtual=True, local_worker=False, lease=3600.0)
    told, beaten = threading.Event(), threading.Event()

    @app.task(name="endless")
    def endless() -> None:
        try:
            while True:
                wf.heartbeat("on")
                beaten.set()
        except AttemptLost:
            told.set()
            raise

    @app.task(name="clean")
    def clean() -> str:
        wf.heartbeat("cleaning")
        wf.heartbeat()
        return "clean"

    @app.workflow(name="flow")
    def flow() -> None:
        try:
            endless()
        except wf.Cancelled:
            wf.set_data("clean", clean())
            raise

    handle = flow.options(timeout=60.0).start()
    app.start_worker()
    assert beaten.wait(LONG)
    if by == "deadline":
        store.env.advance(60.0)
    else:
        getattr(handle, by)()
    assert told.wait(LONG)
    with pytest.raises(InvocationCancelled):
        handle.result(LONG)
    if by == "terminate":
        return
    assert handle.get_data("clean") == "clean"
    kinds = [entry.kind for entry in app.runtime.backend.read_journal(handle.key)]
    assert kinds[:2] == [EntryKind.CANCEL, EntryKind.DROPPED]
    assert app.verify(handle.invocation_id).finished


@pytest.mark.usefixtures("eager")
def test_bodies_of_branches_are_told(memory_store):
    app = memory_store.app(local_worker=False)
    told: list[str] = []
    beaten = threading.Barrier(3)

    @app.task(name="endless")
    def endless(name: str) -> None:
        wf.heartbeat(name)
        beaten.wait(LONG)
        try:
            while True:
                wf.heartbeat(name)
        except AttemptLost:
            told.append(name)
            raise

    @app.workflow(name="sync")
    def sync() -> None:
        wf.gather(lambda: endless("a"), lambda: endless("b"))

    @app.workflow(name="awaits")
    async def awaits() -> None:
        await asyncio.gather(endless.acall("c"), endless.acall("d"))

    app.start_worker()
    for flow in (sync, awaits):
        handle = flow.start()
        beaten.wait(LONG)
        handle.cancel()
        with pytest.raises(InvocationCancelled):
            handle.result(LONG)
    until(lambda: sorted(told) == ["a", "b", "c", "d"], "all are told")


@pytest.mark.usefixtures("eager")
def test_a_body_that_ends_well_although_it_is_told(memory_store):
    """What a body gives is recorded, and the cancellation comes after it."""
    app = memory_store.app(local_worker=False)
    beaten = threading.Event()

    @app.task(name="polite")
    def polite() -> str:
        try:
            while True:
                wf.heartbeat()
                beaten.set()
        except AttemptLost:
            return "as far as I came"

    @app.workflow(name="flow")
    def flow() -> None:
        wf.set_data("came", polite())
        wf.receive("never")

    handle = flow.start()
    app.start_worker()
    assert beaten.wait(LONG)
    handle.cancel()
    with pytest.raises(InvocationCancelled):
        handle.result(LONG)
    assert handle.get_data("came") == "as far as I came"


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("started", [True, False])
def test_a_silent_attempt_fails_and_its_body_is_told(store, started):
    app = store.app(local_worker=False)
    told, second = threading.Event(), threading.Event()
    seen: list[Any] = []

    @app.task(name="copy", heartbeat_timeout=1.0, retry=AGAIN)
    def copy() -> str:
        seen.append(wf.last_heartbeat())
        if len(seen) > 1:
            second.set()
            return "done"
        wf.heartbeat("half")
        assert second.wait(LONG)
        try:
            wf.heartbeat("late")
        except AttemptLost:
            told.set()
            raise
        return "late"

    @app.workflow(name="flow")
    def flow() -> Any:
        if started:
            return copy.start().result()
        return copy()

    handle = flow.start()
    app.start_worker()
    assert handle.result(LONG) == "done"
    assert told.wait(LONG)
    assert seen == [None, "half"]


def test_a_silent_async_body_is_cancelled(store):
    app = store.app(local_worker=False)
    cancelled = threading.Event()

    @app.task(name="silent", heartbeat_timeout=0.1, raises=[HeartbeatTimeout])
    async def silent() -> None:
        try:
            await asyncio.sleep(LONG)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    @app.workflow(name="flow")
    async def flow() -> str:
        try:
            await silent()
        except HeartbeatTimeout as error:
            return str(error)
        return ""

    handle = flow.start()
    app.start_worker()
    assert "'silent' told no heartbeat for 0.1 seconds" in handle.result(LONG)
    assert cancelled.wait(LONG)


def test_heartbeats_keep_an_attempt_alive(memory_store, monkeypatch):
    """By a clock that goes on at each heartbeat only, half as far as an attempt may be silent."""
    app = memory_store.app(virtual=True, local_worker=False, lease=3600.0)
    now, looks, pause = [0.0], [0], threading.Event()
    monkeypatch.setattr(memory_store.env, "monotonic", lambda: now[0], raising=False)

    class Counted(BodyRunner):
        def _look(self, *args: Any) -> None:
            super()._look(*args)
            looks[0] += 1

    monkeypatch.setattr(app.runtime.bodies, "__class__", Counted)

    @app.task(name="slow", heartbeat_timeout=0.05)
    def slow() -> str:
        while looks[0] < 5:
            wf.heartbeat()
            now[0] += 0.025
            pause.wait(0.001)
        return "in its own time"

    handle = slow.start()
    app.start_worker()
    assert handle.result(LONG) == "in its own time"
    assert now[0] > 0.05


def test_past_its_timeout_a_body_is_told(memory_store):
    app = memory_store.app(local_worker=False)
    told, over = [], threading.Event()

    @app.task(name="slow", timeout=0.1)
    def slow() -> None:
        assert over.wait(LONG)
        try:
            wf.heartbeat()
        except AttemptLost as error:
            told.append(str(error))
            raise

    handle = slow.start()
    app.start_worker()
    with pytest.raises(TimeoutError):
        handle.result(LONG)
    over.set()
    until(lambda: "past its timeout" in "".join(told), "it is told")


def test_at_most_one_write_a_second() -> None:
    now = [10.0]
    told: list[bytes | None] = []

    class Kept:
        def tell(self, details: bytes | None) -> str:
            told.append(details)
            return ""

        def load(self) -> bytes | None:
            return b"0"

    beats = Pulse(lambda: now[0], Kept())
    assert beats.details() == b"0"
    for number in range(30):
        now[0] = 10.0 + number / 10
        if beats.beat(str(number).encode()):
            beats.tell()
    assert told == [b"0", b"10", b"20"]
    assert beats.has_untold
    assert (beats.last, beats.details()) == (12.9, b"29")
    beats.tell()
    assert told[-1] == b"29"
    assert not beats.has_untold
    now[0] = 20.0
    assert beats.beat(None)
    beats.tell()
    assert told[-1] is None


def test_heartbeats_are_no_data_of_the_workflow(store):
    app = store.app(local_worker=False)

    @app.task(name="beats")
    def beats() -> None:
        wf.heartbeat({"secret": 1})

    @app.workflow(name="flow")
    def flow() -> None:
        wf.set_data("mine", 1)
        beats()
        with pytest.raises(InvalidIdentifier, match="perdure's own"):
            wf.set_data(HEARTBEAT, 1)

    handle = flow.start()
    run_until_idle(app)
    handle.result(1)
    assert dict(read_data(app.client, handle.key)) == {"mine": 1}
    assert f"{HEARTBEAT}:" in app.runtime.backend.read_data(handle.key)


def test_each_call_of_a_scope_has_its_own(memory_store):
    app = memory_store.app(local_worker=False)
    seen: list[Any] = []

    @app.task(name="beats")
    def beats(word: str) -> None:
        seen.append(wf.last_heartbeat())
        wf.heartbeat(word)

    @app.workflow(name="flow")
    def flow() -> None:
        beats("a")
        beats("b")

    flow.start()
    run_until_idle(app)
    assert seen == [None, None]


def test_details_of_another_type(memory_store):
    app = memory_store.app(local_worker=False)

    @app.task(name="beats", raises=[DeserializationError])
    def beats() -> None:
        wf.heartbeat("text")
        wf.last_heartbeat(Progress)

    handle = beats.start()
    run_until_idle(app)
    with pytest.raises(DeserializationError, match="details of a heartbeat"):
        handle.result(1)


def test_refusals(memory_store: Store) -> None:
    app = memory_store.app(local_worker=False)

    @app.task(name="pure", pure=True)
    def pure() -> None:
        wf.heartbeat()

    @app.task(name="wrong")
    async def wrong() -> None:
        wf.heartbeat()

    @app.workflow(name="flow")
    def flow() -> list[str]:
        seen = []
        for call in (wf.heartbeat, wf.last_heartbeat, pure, wrong.call):
            try:
                call()
            except (OperationRefused, WrongColour, TaskError) as error:
                seen.append(f"{type(error).__name__}: {error}")
        return seen

    handle = flow.start()
    until(lambda: run_until_idle(app) == 0 and handle.status is S.COMPLETED, "the end of it")
    in_flow, last, in_pure, in_async = handle.result(1)
    assert "was called in a workflow" in in_flow
    assert "was called in a workflow" in last
    assert "pure=True" in in_pure
    assert "await wf.heartbeat_async" in in_async
    with pytest.raises(NotInWorkflow):
        wf.heartbeat()
    with pytest.raises(RegistrationError, match="cannot tell heartbeats"):
        app.task(heartbeat_timeout=1, pure=True)(test_refusals)
    with pytest.raises(ConfigurationError, match="heartbeat_timeout=0"):
        app.task(heartbeat_timeout=0)
    with pytest.raises(ConfigurationError, match="heartbeat_timeout"):
        app.task(heartbeat_timeout=-1)
