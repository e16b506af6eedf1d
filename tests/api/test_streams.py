"""Output streams: every reader sees every value once, in order, also while the workflow runs."""

import asyncio
import threading
from dataclasses import dataclass
from datetime import date
from typing import Any

import pytest

from perdure import InvocationState, wf
from perdure.errors import (
    DeserializationError,
    InvalidIdentifier,
    InvocationParked,
    JournalCorrupted,
    NotInWorkflow,
    OperationRefused,
    ResultTimeout,
    SerializationError,
    Superseded,
    WrongColour,
)
from tests.support.stores import LONG, in_threads, run_until_idle


@dataclass
class Step:
    number: int
    day: date


VALUES: list[Any] = [
    None,
    0,
    "",
    [],
    {"a": [1]},
    date(2026, 1, 2),
    (1, 2),
    Step(1, date(2026, 1, 2)),
]


def counting_on(app):
    """Publishes each message that it gets; `None` ends it, "fail" makes it fail."""

    @app.workflow(name="counting")
    def counting() -> int:
        count = 0
        while (value := wf.receive("value", timeout=LONG)) is not None:
            if value == "fail":
                raise ValueError("as asked")
            wf.publish("values", value)
            wf.publish("count", count := count + 1)
        return count

    return counting


def test_values_come_back_equal(store):
    app = store.app()

    @app.workflow(name="flow")
    def flow() -> None:
        for value in VALUES:
            wf.publish("values", value)

    handle = flow.start()
    *plain, step = handle.stream("values", timeout=LONG)
    assert plain == VALUES[:-1]
    assert step == {"number": 1, "day": "2026-01-02"}, "without its type it is plain"
    assert list(handle.stream("nothing", timeout=LONG)) == []


def test_a_type_is_asked_for(store):
    app = store.app()

    @app.workflow(name="flow")
    def flow() -> None:
        wf.publish("steps", Step(1, date(2026, 1, 2)))
        wf.publish("steps", "no step")

    reader = iter(flow.start().stream("steps", Step, timeout=LONG))
    assert next(reader) == Step(1, date(2026, 1, 2))
    with pytest.raises(DeserializationError, match="value of stream 'steps'"):
        next(reader)


def test_readers_follow_while_it_runs(store):
    app = store.app()
    handle = counting_on(app).start()
    values, counts = iter(handle.stream("values", timeout=LONG)), handle.stream("count", int)
    for number in range(5):
        handle.send("value", number)
        assert next(values) == number
    handle.send("value", None)
    assert list(values) == []
    assert list(counts) == [1, 2, 3, 4, 5]
    assert handle.result(LONG) == 5


def test_live_begins_after_what_is_committed(store):
    app = store.app(virtual=True, local_worker=False)
    handle = counting_on(app).start()
    before_it_ran = handle.stream("values", from_start=False, timeout=0)
    handle.send("value", 1)
    run_until_idle(app)
    live = handle.stream("values", from_start=False, timeout=0)
    for value in (2, None):
        handle.send("value", value)
    run_until_idle(app)
    assert list(before_it_ran) == [1, 2]
    assert list(live) == [2]
    assert list(live) == [2], "each iteration begins where the stream was asked for"
    assert list(handle.stream("values", from_start=False, timeout=0)) == []


def test_nothing_is_seen_before_it_is_committed_and_bodies_run_after(store):
    app = store.app()
    handles: list[Any] = []
    seen: list[Any] = []

    @app.task(name="look")
    def look() -> None:
        reader = iter(wf.invocation().stream("progress", timeout=LONG))
        seen.append(next(reader))

    @app.workflow(name="flow")
    def flow() -> None:
        wf.publish("progress", "before the task")
        look()

    handles.append(flow.start())
    handles[0].result(LONG)
    assert seen == ["before the task"]


def test_many_readers(store):
    app, other = store.app(), store.app(local_worker=False)
    handle = counting_on(app).start()
    counting_on(other)
    elsewhere = other.invocation(handle.invocation_id)
    streams = [each.stream("values", int, timeout=LONG) for each in (handle, elsewhere) * 3]
    read: list[list[int]] = []

    def run(number: int) -> None:
        if number == len(streams):
            for value in [*range(20), None]:
                handle.send("value", value)
        else:
            read.append(list(streams[number]))

    in_threads(len(streams) + 1, run)
    assert read == [list(range(20))] * len(streams)


def test_async_readers(store):
    app = store.app()
    handle = counting_on(app).start()

    async def read() -> list[int]:
        return [value async for value in handle.stream("values", int, timeout=LONG)]

    async def everything() -> list[list[int]]:
        readers = [asyncio.create_task(read()) for _ in range(3)]
        with pytest.raises(WrongColour, match="async for"):
            next(iter(handle.stream("values")))
        for value in (1, 2, None):
            await asyncio.to_thread(handle.send, "value", value)
        return await asyncio.gather(*readers)

    assert asyncio.run(everything()) == [[1, 2]] * 3


def test_what_it_published_before_it_failed(store):
    app = store.app()
    handle = counting_on(app).start()
    for value in (1, "fail"):
        handle.send("value", value)
    assert list(handle.stream("values", timeout=LONG)) == [1]
    assert handle.status is InvocationState.FAILED


def test_one_that_does_not_go_on(store):
    app = store.app(virtual=True, local_worker=False)
    handle = counting_on(app).start()
    handle.send("value", 1)
    run_until_idle(app)
    reader = iter(handle.stream("values", timeout=0))
    assert next(reader) == 1
    with pytest.raises(ResultTimeout, match="published nothing more on 'values' within 0"):
        next(reader)

    changed = store.app(virtual=True, local_worker=False)

    @changed.workflow(name="counting")
    def counting() -> None:
        wf.publish("values", "something else")

    handle.send("value", 2)
    run_until_idle(changed)
    reader = iter(handle.stream("values", timeout=0))
    assert next(reader) == 1
    with pytest.raises(InvocationParked):
        next(reader)


def test_another_value_on_replay_is_a_divergence(store):
    app = store.app(virtual=True, local_worker=False)
    value = ["one"]

    @app.workflow(name="flow")
    def flow() -> None:
        wf.publish("values", value[0])
        wf.sleep(60)

    handle = flow.start()
    run_until_idle(app)
    value[0] = "two"
    store.env.advance(61)
    run_until_idle(app)
    reason = app.runtime.backend.read(*handle.key).reason
    assert '"one"' in reason
    assert '"two"' in reason


def test_a_damaged_journal_gives_no_value(memory_store, monkeypatch):
    app = memory_store.app(virtual=True, local_worker=False)
    handle = counting_on(app).start()
    handle.send("value", 1)
    run_until_idle(app)
    reader = iter(handle.stream("values", timeout=0))
    live = handle.stream("values", from_start=False, timeout=0)
    assert next(reader) == 1
    handle.send("value", 2)
    run_until_idle(app)
    backend = app.runtime.backend
    whole = backend.read_journal
    monkeypatch.setattr(backend, "read_journal", lambda key, start=0: whole(key, start)[1:])
    for damaged in (reader, iter(live)):
        with pytest.raises(JournalCorrupted, match="missing or doubled"):
            next(damaged)


def test_one_that_lives_again(store):
    app = store.app()
    counting = counting_on(app)
    old = counting.options(id="f").start()
    old.send("value", "fail")
    with pytest.raises(ValueError, match="as asked"):
        old.result(LONG)
    new = counting.options(id="f", on_existing="new_generation_if_failed").start()
    new.send("value", 1)
    new.send("value", None)
    assert list(new.stream("values", timeout=LONG)) == [1]
    with pytest.raises(Superseded):
        old.stream("values")


@pytest.mark.keeps_frames("its workflow appends to a list in each attempt")
def test_bad_input(store):
    app = store.app()
    errors: list[type[BaseException]] = []

    @app.task(name="pay")
    def pay() -> None:
        try:
            wf.publish("values", 1)
        except OperationRefused as error:
            errors.append(type(error))

    @app.workflow(name="flow")
    def flow() -> None:
        for name, value in (("", 1), ("a\0", 1), ("values", object())):
            try:
                wf.publish(name, value)
            except (InvalidIdentifier, SerializationError) as error:
                errors.append(type(error))
        try:
            wf.invocation().stream("values")
        except OperationRefused as error:
            errors.append(type(error))
        pay()

    handle = flow.start()
    handle.result(LONG)
    assert list(handle.stream("values", timeout=LONG)) == []
    refused = [InvalidIdentifier, InvalidIdentifier, SerializationError]
    assert errors == [*refused, OperationRefused, OperationRefused]
    with pytest.raises(NotInWorkflow):
        wf.publish("values", 1)
    with pytest.raises(InvalidIdentifier):
        handle.stream("")
    with pytest.raises(OperationRefused, match="which is a task"):
        pay.start().stream("values")


def test_a_reader_that_stops_leaves_nothing_behind(memory_store):
    app = memory_store.app()
    handle = counting_on(app).start()
    handle.send("value", 1)
    reader = iter(handle.stream("values", timeout=LONG))
    assert next(reader) == 1
    reader.close()
    hub = app.runtime.hub
    assert not hub._readers
    assert threading.active_count() < 50
