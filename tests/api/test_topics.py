"""Topics as users emit and listen to them: order, ids, first value, types, refusals."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Any

import pytest

from perdure import InvocationState, Perdure, Retry, wf
from perdure.backends.memory_server import MemoryServer
from perdure.backends.sharded import ShardedBackend
from perdure.cli.timeline import timeline
from perdure.core.identity import InvocationKey
from perdure.engine.audit import audit
from perdure.engine.env import SystemEnv
from perdure.errors import (
    InvalidIdentifier,
    InvocationCancelled,
    InvocationParked,
    MessageInvalid,
    NotInWorkflow,
    OperationRefused,
    ReceiveTimeout,
    SerializationError,
    StartConflict,
    WrongColour,
)
from tests.support.stores import LONG, in_threads, run_until_idle

bad: Any = wf
"""For arguments that a type checker would refuse."""


@dataclass
class Van:
    plate: str
    day: date


def result_of(app, function, *args):
    """What a workflow gives that is run here and now."""
    handle = app.workflow(name="flow")(function).start(*args)
    run_until_idle(app)
    return handle.result(LONG)


def heard(count, **options):
    """A workflow that gives the next so many values of the topic `news`."""

    def flow():
        news = wf.listen("news", **options)
        return [news.receive() for _ in range(count)]

    return flow


def test_the_first_value_is_for_all_whenever_they_ask(store):
    app = store.app()

    @app.workflow
    def early() -> str:
        return wf.receive_topic("opened", str)

    @app.workflow
    async def late() -> str:
        return await wf.receive_topic_async("opened", str)

    waiting = [early.start() for _ in range(3)]
    run_until_idle(app)
    assert {handle.status for handle in waiting} == {InvocationState.WAITING}
    assert app.emit("opened", "nine").number == 1
    assert app.emit("opened", "ten").number == 2
    waiting.append(late.start())
    run_until_idle(app)
    assert [handle.result(LONG) for handle in waiting] == ["nine"] * 4


def test_a_listener_gets_every_value_from_there_on_in_order(store):
    app = store.app()
    app.emit("news", "before")
    late = app.workflow(name="late")(heard(3)).start()
    all_ = app.workflow(name="all")(heard(4, from_start=True)).start()
    run_until_idle(app)
    for value in ("a", "b", "c"):
        app.emit("news", value)
    run_until_idle(app)
    assert late.result(LONG) == ["a", "b", "c"]
    assert all_.result(LONG) == ["before", "a", "b", "c"]


def test_all_listeners_see_one_order(store):
    app = store.app()
    listeners = [app.workflow(name="all")(heard(24, from_start=True)).start()]
    listeners += [app.named("all").start() for _ in range(2)]
    run_until_idle(app)
    emitted = in_threads(8, lambda n: [app.emit("news", f"{n}.{i}").number for i in range(3)])
    run_until_idle(app)
    orders = [handle.result(LONG) for handle in listeners]
    assert sorted(number for numbers in emitted for number in numbers) == list(range(1, 25))
    assert orders[0] == orders[1] == orders[2]
    by_number = {numbers[i]: f"{n}.{i}" for n, numbers in enumerate(emitted) for i in range(3)}
    assert orders[0] == [by_number[number] for number in range(1, 25)]


def test_what_is_emitted_again_with_its_id_is_one_emit(store):
    app = store.app()
    emitted = in_threads(6, lambda n: app.emit("news", n, id=f"event-{n % 2}"))
    assert {each.number for each in emitted} == {1, 2}
    assert app.emit("news", "again", id="event-0").number in {1, 2}
    assert app.emit("news", "other", id="event-2").number == 3
    assert len(result_of(app, heard(3, from_start=True))) == 3


def test_once_takes_only_the_first(store):
    app = store.app()
    emitted = in_threads(6, lambda n: app.emit("winner", n, id=f"try-{n}", once=True))
    won = [n for n, each in enumerate(emitted) if each.accepted]
    assert [each.number for each in emitted] == [1] * 6
    assert result_of(app, lambda: wf.receive_topic("winner", int)) == won[0]
    assert len(won) == 1
    assert app.emit("winner", 7, id=f"try-{won[0]}", once=True).accepted
    assert not app.emit("winner", 7, once=True).accepted


def test_values_come_as_the_type_that_is_asked_for(memory_store):
    app = memory_store.app()
    van = Van("b-1", date(2026, 1, 2))
    for value in (van, "no van", None):
        app.emit("vans", value)

    def flow():
        vans = wf.listen("vans", Van, from_start=True)
        first = vans.receive()
        with pytest.raises(MessageInvalid, match=r"(?s)topic 'vans' that does not.*no van"):
            vans.receive()
        anything = wf.listen("vans", from_start=True)
        return [first == van, list(itertools.islice(anything, 3))[2]]

    assert result_of(app, flow) == [True, None]


def test_what_does_not_come_in_time_comes_later(store):
    app = store.app(virtual=True)

    def flow():
        news = wf.listen("news", str)
        seen = [news.receive(10, default="none")]
        with pytest.raises(ReceiveTimeout, match=r"10.0 seconds for emit 1 of topic 'news'"):
            news.receive(10)
        return [*seen, news.receive(10), wf.receive_topic("other", timeout=10, default="none")]

    handle = app.workflow(name="flow")(flow).start()
    for number in range(5):
        run_until_idle(app)
        if number == 2:
            app.emit("news", "late")
            run_until_idle(app)
        store.env.advance(10)
    run_until_idle(app)
    assert handle.result(LONG) == ["none", "late", "none"]


def test_an_async_workflow_listens_with_async_for(store):
    app = store.app()

    async def flow():
        seen = []
        async for value in wf.listen("news", int, from_start=True):
            seen.append(value)
            if len(seen) == 2:
                break
        missing = await wf.receive_topic_async("none", int, 0.001, default=0)
        with pytest.raises(ReceiveTimeout):
            await wf.listen("none").receive_async(0.001)
        async with asyncio.TaskGroup() as group:
            below = [group.create_task(wf.receive_topic_async("news")) for _ in range(2)]
        return [seen, missing, [task.result() for task in below]]

    handle = app.workflow(name="flow")(flow).start()
    app.emit("news", 1)
    app.emit("news", 2)
    assert handle.result(LONG) == [[1, 2], 0, [1, 1]]


def test_a_workflow_emits_once_and_a_task_that_is_tried_again_too(store):
    app = store.app()
    tries: list[int] = []

    @app.task(retry=Retry(attempts=3, wait_initial=0.0, jitter=0.0))
    def announce() -> int:
        tries.append(app.emit("news", "task").number)
        wf.emit("other", "task")
        if len(tries) < 3:
            raise ConnectionError
        return tries[-1]

    def flow():
        numbers = [wf.emit("news", "one").number, announce(), app.emit("news", "two").number]
        wf.sleep(0.001)  # a replay
        return [*numbers, wf.emit("news", "first", once=True).accepted]

    assert result_of(app, flow) == [1, 2, 3, False]
    assert tries == [2, 2, 2]
    assert app.emit("other").number == 2


def test_branches_listen_each_for_itself(memory_store):
    app = memory_store.app()
    for value in "ab":
        app.emit("news", value)

    def flow():
        mine = wf.listen("news", from_start=True)
        with pytest.raises(OperationRefused, match="another branch"):
            wf.gather(mine.receive)
        return wf.gather(*[heard(2, from_start=True)] * 2)

    assert result_of(app, flow) == [["a", "b"]] * 2


def test_who_stops_waiting_loses_nothing(memory_store):
    app = memory_store.app()

    def flow():
        news = wf.listen("news", str)
        first = wf.select(slow=heard(1), quick=lambda: wf.sleep(0.001))
        wf.emit("news", "later")
        return [first.key, news.receive()]

    assert result_of(app, flow) == ["quick", "later"]


def test_an_emit_that_was_changed_in_the_code_is_found(store):
    first = store.app(virtual=True)

    def before():
        wf.emit("news", "one")
        wf.sleep(60)

    handle = first.workflow(name="flow")(before).start()
    run_until_idle(first)
    changed = store.app(virtual=True)

    def after():
        wf.emit("news", "two")
        wf.sleep(60)

    changed.workflow(name="flow")(after)
    store.env.advance(61)
    run_until_idle(changed)
    with pytest.raises(InvocationParked, match=r'(?s)Divergence.*news.*"one".*news.*"two"'):
        handle.result(LONG)


def test_apps_of_other_names_have_other_topics(store):
    ours, theirs = store.app(name="ours"), store.app(name="theirs")
    assert ours.emit("news", 1).number == theirs.emit("news", 2).number == 1
    assert result_of(theirs, lambda: wf.receive_topic("news")) == 2


def test_an_emit_is_seen_as_a_task_and_can_be_cancelled(memory_store):
    app = memory_store.app()

    def flow():
        news = wf.listen("news", str)
        with pytest.raises(InvocationCancelled):
            news.receive()
        return news.receive()

    handle = app.workflow(name="flow")(flow).start()
    run_until_idle(app)
    (waiting,) = app.tasks(name="perdure:topic")
    assert waiting.status is InvocationState.WAITING
    app.invocation(waiting.invocation_id).cancel()
    assert app.emit("news", "after").number == 2
    assert not app.emit("news", "after", once=True).accepted
    run_until_idle(app)
    assert handle.result(LONG) == "after"
    assert app.runtime.backend.queues(app.settings.name) == []


def test_a_database_that_is_older_than_what_was_seen_is_looked_at_anew(memory_store):
    app = memory_store.app()
    app.emit("news", "kept")
    app.runtime.emits_seen["news"] = 700
    assert app.emit("news", "next").number == 2


def test_the_timeline_and_the_auditor_know_topics(sqlite_store):
    app = sqlite_store.app()

    def flow():
        news = wf.listen("news", str)
        wf.emit("news", "one")
        return news.receive()

    app.workflow(name="flow")(flow).options(id="flow").start()
    run_until_idle(app)
    app.workflow(name="waits")(heard(1)).start()
    run_until_idle(app)
    entries = app.runtime.backend.read_journal(InvocationKey("flow", 1))
    told = [line.what for line in timeline(entries)]
    assert told[:3] == [
        "listen to news",
        'emit to news(once=false, value="one")',
        "receive_topic of news 1",
    ]
    report = audit(app.runtime.backend)
    assert report.violations == ()
    assert report.unnamed == 0


def test_an_id_that_belongs_to_something_else_is_a_conflict(memory_store):
    app = memory_store.app()

    @app.workflow
    def other() -> None:
        return None

    other.options(id=f"perdure:topic:{app.settings.name}:news:1").start()
    with pytest.raises(StartConflict, match="other"):
        app.emit("news")

    def flow():
        for ask in (
            partial(wf.receive_topic, "news"),
            partial(wf.emit, "news"),
            partial(wf.listen, "news"),
        ):
            with pytest.raises(StartConflict):
                ask()
        wf.sleep(0.001)  # a replay
        return "refused"

    assert result_of(app, flow) == "refused"


def test_bad_topics_and_values_are_refused(memory_store):
    app = memory_store.app()
    for topic, match in (
        ("", "is empty"),
        (5, "must be a str"),
        ("x" * 223, "223 characters.*most 222 "),
    ):
        with pytest.raises(InvalidIdentifier, match=match):
            app.emit(topic)
    with pytest.raises(InvalidIdentifier, match="id of an emit"):
        app.emit("news", id="\n")
    with pytest.raises(SerializationError, match="emit to 'news'"):
        app.emit("news", object())

    def flow():
        with pytest.raises(InvalidIdentifier):
            wf.listen("")
        with pytest.raises(SerializationError):
            wf.emit("news", object())
        with pytest.raises(OperationRefused, match=r"wf\.record"):
            wf.record("value", lambda: app.emit("news"))
        return wf.emit("news").number

    assert result_of(app, flow) == 1


def test_the_wrong_place_is_refused(memory_store):
    app = memory_store.app()

    @app.task(pure=True)
    def pure() -> None:
        app.emit("news")

    @app.task
    def body() -> None:
        wf.receive_topic("news")

    def flow():
        with pytest.raises(OperationRefused):
            pure()
        with pytest.raises(OperationRefused, match="inside the task"):
            body()
        return "refused"

    async def awaited():
        with pytest.raises(WrongColour, match=r"await wf\.receive_topic_async"):
            wf.receive_topic("news")
        with pytest.raises(WrongColour, match=r"await listener\.receive_async"):
            wf.listen("news").receive()
        return "refused"

    assert result_of(app, flow) == "refused"
    handle = app.workflow(name="awaited")(awaited).start()
    run_until_idle(app)
    assert handle.result(LONG) == "refused"
    for ask in (wf.receive_topic, wf.listen, wf.emit):
        with pytest.raises(NotInWorkflow):
            ask("news")


def test_topics_reach_listeners_on_other_servers():
    servers = [(f"server {n}", MemoryServer(SystemEnv().now)) for n in (1, 2, 3)]
    with Perdure(backend=ShardedBackend(servers), name="spread", grace=0.0) as app:
        flow = app.workflow(name="flow")(heard(5, from_start=True))
        listeners = [flow.start() for _ in range(6)]
        for handle in listeners:
            assert handle.status is not InvocationState.COMPLETED
        emitted = [app.emit("news", number).number for number in range(5)]
        assert emitted == [1, 2, 3, 4, 5]
        assert [handle.result(LONG) for handle in listeners] == [[0, 1, 2, 3, 4]] * 6
