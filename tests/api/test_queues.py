"""Queues as users see them: where calls go, limits, keys, and what is refused."""
# mypy: disable-error-code="no-any-return"
# A function of an app made by the untyped fixture is Any to the checker.

from __future__ import annotations

import asyncio
from datetime import timedelta
from itertools import count

import pytest

from perdure import InvocationState, wf
from perdure.api.queues import key_text
from perdure.backends.limits import QueueLimits, QueueStatus, Rate
from perdure.errors import ConfigurationError, InvalidIdentifier, RegistrationError
from tests.support.stores import LONG, claim, run_until_idle, step

calls = count()


# --- where a call goes --------------------------------------------------------------------------


def test_a_direct_call_of_a_queued_task_goes_to_its_queue_and_gives_its_value(store):
    app = store.app()
    runs = []

    @app.task(name="train", queue="gpu")
    def train(model: str) -> str:
        runs.append(model)
        return f"{model} {next(calls)}"

    @app.workflow(name="main")
    def main() -> list[str]:
        return [train("a"), train("b")]

    invocation = main.start()
    first = invocation.result(LONG)
    assert runs == ["a", "b"]
    assert [value.split()[0] for value in first] == ["a", "b"]
    queues = {app.client.latest(info.invocation_id).queue for info in app.tasks()}
    assert queues == {"gpu"}
    assert app.client.latest(invocation.key.invocation_id).queue == "default"
    assert app.verify(invocation.key.invocation_id).value == first
    assert runs == ["a", "b"]


def test_an_async_workflow_awaits_a_queued_task(store):
    app = store.app()

    @app.task(name="train", queue="gpu")
    async def train(model: str) -> str:
        return f"{model} {next(calls)}"

    @app.task(name="check", key="model")
    def check(model: str) -> int:
        return next(calls)

    @app.workflow(name="main")
    async def main() -> list[object]:
        return [await train("a"), await check.acall("b")]

    value, number = main.call()
    assert str(value).startswith("a ")
    assert isinstance(number, int)
    assert len(app.tasks()) == 2


def test_a_failure_on_a_queue_is_raised_where_it_was_called(store):
    app = store.app()

    @app.task(name="train", queue="gpu", raises=[LookupError])
    def train() -> None:
        raise LookupError("no such model")

    @app.workflow(name="main")
    def main() -> str:
        try:
            train()
        except LookupError as error:
            return str(error)
        return "no error"

    assert main() == "no such model"


def test_options_name_another_queue_and_key(store):
    app = store.app()

    @app.task(name="train")
    def train(model: str) -> int:
        return next(calls)

    @app.workflow(name="main")
    def main() -> int:
        return train.options(queue="cpu", key="one", priority=3)("a")

    main()
    (info,) = app.tasks()
    record = app.client.latest(info.invocation_id)
    assert (record.queue, record.limit_key, record.priority) == ("cpu", "one", 3)


def test_outside_of_a_workflow_a_queued_task_is_just_the_function(store):
    app = store.app()

    @app.task(name="train", queue="gpu", key="model")
    def train(model: str) -> str:
        return model

    assert train("a") == "a"
    assert app.tasks() == []


@pytest.mark.parametrize("queued_first", [True, False])
def test_a_task_may_get_or_lose_its_queue_while_workflows_are_under_way(store, queued_first):
    runs = []

    def declare(queue):
        app = store.app(virtual=True)

        @app.task(name="train", queue=queue)
        def train() -> int:
            runs.append(queue)
            return next(calls)

        @app.workflow(name="main")
        def main() -> list[int]:
            before = train()
            wf.sleep(60)
            return [before, train()]

        return app, main

    queues = ["gpu", None] if queued_first else [None, "gpu"]
    app, main = declare(queues[0])
    invocation = main.start()
    run_until_idle(app)
    assert runs == queues[:1]
    store.env.advance(61)
    app, main = declare(queues[1])
    run_until_idle(app)
    first, second = main.get(invocation.key.invocation_id).result(LONG)
    assert runs == queues
    assert first < second


# --- limits -------------------------------------------------------------------------------------


def limited(store, **limits):
    """An app with five calls ready in a limited queue."""
    app = store.app(virtual=True)
    app.queue("gpu", **limits)

    @app.task(name="train", queue="gpu")
    def train(number: int) -> int:
        return next(calls)

    for number in range(5):
        train.start(number)
    return app


def claimed(app, **changes):
    """How many a worker takes in one claim, and keeps."""
    return len(claim(app, **changes).records)


def test_concurrency_of_a_queue(store):
    app = limited(store, concurrency=2)
    assert claimed(app, owner="one") == 2
    assert claimed(app, owner="two") == 0
    assert app.queues() == [
        QueueStatus(queue="gpu", ready=3, scheduled=0, running=2, oldest=0),
    ]
    store.env.advance(31)
    assert claimed(app, owner="two") == 2


def test_concurrency_of_a_worker(store):
    app = limited(store, worker_concurrency=2)
    assert claimed(app, owner="one") == 2
    assert claimed(app, owner="one") == 0
    assert claimed(app, owner="two") == 2


def test_rate_of_a_queue(store):
    app = limited(store, rate=(2, timedelta(minutes=1)))
    assert claimed(app, owner="one") == 2
    store.env.advance(59)
    assert claimed(app, owner="two") == 0
    store.env.advance(1)
    assert claimed(app, owner="two") == 2


def test_a_worker_takes_only_from_its_queues(store):
    app = limited(store)
    assert claimed(app, queues=frozenset({"cpu", "default"})) == 0
    assert claimed(app, queues=frozenset({"gpu"})) == 5


def test_every_call_of_a_limited_queue_runs_in_the_end(store):
    app = store.app()
    app.queue("gpu", concurrency=1, worker_concurrency=1)
    runs = []

    @app.task(name="train", queue="gpu")
    def train(number: int) -> int:
        runs.append(number)
        return next(calls)

    @app.workflow(name="main")
    async def main() -> list[int]:
        return await asyncio.gather(*(train.acall(number) for number in range(6)))

    assert len(set(main.call())) == 6
    assert sorted(runs) == list(range(6))


def test_a_script_leaves_a_queue_of_workers_alone(store):
    app = store.app()
    app.queue("gpu", workers_only=True)
    ran = []

    @app.task(name="train", queue="gpu")
    def train() -> str:
        ran.append("train")
        return "trained"

    @app.task(name="note")
    def note() -> str:
        ran.append("note")
        return "noted"

    @app.workflow(name="main")
    def main() -> str:
        train.start()
        return note.start().result()

    @app.workflow(name="trained")
    def trained() -> str:
        return train()

    assert main() == "noted"
    waiting = trained.start()
    script = app.declared_queues.limits_of_a_script()
    assert script["gpu"] == QueueLimits(worker_concurrency=0)
    assert ran == ["note"]
    run_until_idle(app)
    assert waiting.result(LONG) == "trained"
    assert ran == ["note", "train", "train"]


# --- keys ---------------------------------------------------------------------------------------


def test_calls_with_equal_keys_take_turns(store):
    app = store.app(virtual=True)

    @app.task(name="ship", key=lambda order_id, *_: order_id)
    def ship(order_id: str, item: str) -> int:
        return next(calls)

    ship.start("o1", "pen")
    ship.start(order_id="o1", item="ink")
    ship.start(item="pad", order_id="o2")
    assert claimed(app) == 2
    assert claimed(app) == 0
    store.env.advance(31)
    assert run_until_idle(app) == 3
    assert len(app.tasks(status=InvocationState.COMPLETED)) == 3


@pytest.mark.parametrize(
    ("key", "stored"),
    [
        ("order_id", "o1"),
        (["order_id", "count"], '["o1",1]'),
        (("count",), "[1]"),
        ("count", "1"),
        (lambda order_id, count, *, fast: (order_id, fast), '["o1",false]'),
        (lambda *args, **kwargs: f"{args} {kwargs}", "('o1', 1) {'fast': False}"),
        (lambda *_, **__: "x" * 300, "blake2b:"),
        (lambda *_, **__: "a\nb", "blake2b:"),
    ],
)
def test_what_a_key_may_be(memory_store, key, stored):
    app = memory_store.app()

    @app.task(name="ship", key=key)
    def ship(order_id: str, count: int = 1, *, fast: bool = False) -> int:
        return next(calls)

    invocation = ship.start("o1")
    found = app.client.latest(invocation.key.invocation_id).limit_key
    assert found.startswith(stored)
    assert len(found) <= 255
    assert stored == "blake2b:" or found == stored


def test_equal_keys_have_equal_texts_in_every_process():
    """Sets have another order in each, and mappings that of their making."""
    assert key_text({f"{number}" for number in range(8)}) == key_text([*"01234567"])
    assert key_text({"a": 1, "b": 2}) == key_text({"b": 2, "a": 1})


def test_a_key_that_no_text_may_hold_is_stored_as_its_digest():
    assert key_text("a\ud800").startswith("blake2b:")
    assert key_text("a\ud800") != key_text("a\ud801")


@pytest.mark.parametrize("key", ["nothing", ["order_id", "nothing"], [], 5, [["order_id"]]])
def test_a_key_of_no_parameter_is_refused_at_once(memory_store, key):
    app = memory_store.app()
    with pytest.raises(RegistrationError, match="key="):

        @app.task(name="ship", key=key)
        def ship(order_id: str) -> None: ...


@pytest.mark.parametrize(
    ("key", "says"),
    [
        (lambda order_id: None, "None"),
        (lambda order_id: "", "''"),
        (lambda order_id: object(), "object"),
        (lambda: "x", "TypeError"),
        (lambda order_id: 1 / 0, r"ZeroDivisionError: .* at .*test_queues\.py:\d+\."),
    ],
)
def test_a_key_that_is_none_starts_nothing(memory_store, key, says):
    app = memory_store.app()

    @app.task(name="ship", key=key)
    def ship(order_id: str) -> None: ...

    with pytest.raises(ConfigurationError, match=says):
        ship.start("o1")
    assert app.tasks() == []


# --- declaring ----------------------------------------------------------------------------------


def test_a_declared_queue_may_stand_for_its_name(memory_store):
    app = memory_store.app()
    gpu = app.queue("gpu", concurrency=2, rate=(10, 60))

    @app.workflow(name="main", queue=gpu)
    def main() -> None: ...

    assert app.client.latest(main.start().key.invocation_id).queue == "gpu"
    assert app.queue("gpu", concurrency=2, rate=(10, timedelta(minutes=1))) == gpu
    assert gpu.limits.rate == Rate(10, 60_000_000)
    with pytest.raises(ConfigurationError, match="twice"):
        app.queue("gpu", concurrency=3)


@pytest.mark.parametrize(
    "limits",
    [
        {"concurrency": 0},
        {"worker_concurrency": -1},
        {"key_concurrency": 0},
        {"rate": (0, 60)},
        {"rate": (1, 0)},
        {"concurrency": "2"},
        {"concurrency": 1.5},
        {"key_concurrency": True},
        {"rate": 5},
        {"rate": (1, 2, 3)},
        {"rate": (1.5, 1)},
        {"rate": ("a", "b")},
        {"rate": (1, float("inf"))},
    ],
)
def test_a_limit_that_is_no_number_from_1_on_is_refused(memory_store, limits):
    with pytest.raises(ConfigurationError, match="gpu"):
        memory_store.app().queue("gpu", **limits)


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 300, "a,b", 7])
def test_a_queue_needs_a_name_that_can_be_stored(memory_store, name):
    app = memory_store.app()
    with pytest.raises(InvalidIdentifier):
        app.queue(name)
    with pytest.raises(InvalidIdentifier):
        app.task(name="train", queue=name)(lambda: None)


def test_queues_tell_what_is_scheduled_and_how_old_the_oldest_is(store):
    app = store.app(virtual=True)

    @app.task(name="train", queue="gpu")
    def train(number: int) -> int:
        return next(calls)

    train.options(delay=60).start(1)
    train.start(2)
    store.env.advance(5)
    assert app.queues() == [
        QueueStatus(queue="gpu", ready=1, scheduled=1, running=0, oldest=5_000_000)
    ]
    step(app)
    assert app.queues() == [QueueStatus(queue="gpu", ready=0, scheduled=1, running=0, oldest=None)]
