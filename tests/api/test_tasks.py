"""Task attempts: retries, timeouts, what stays the same over attempts, values, exceptions."""
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from perdure import InvocationState, Retry, wf
from perdure.errors import ConfigurationError, TaskError, TaskTimeout
from tests.support.stores import LONG, run_until_idle, step

SOON = Retry(attempts=4, wait_initial=0.001, jitter=0.0)


@dataclass
class Receipt:
    number: str
    cents: list[int]


class OutOfStock(Exception):
    def __init__(self, item: str, left: int = 0) -> None:
        super().__init__(item, left)
        self.item = item
        self.left = left


class Unregistered(Exception):
    pass


@pytest.mark.parametrize("way", ["call", "start"])
def test_what_a_task_draws_is_the_same_on_every_attempt(store, way):
    app = store.app()
    seen: list[Any] = []

    @app.task(name="other")
    def other(n: int) -> int:
        return n

    @app.task(name="task", retry=SOON)
    def task() -> int:
        seen.append(
            (
                wf.random(),
                wf.random.getrandbits(40),
                wf.random.choice(range(10**9)),
                wf.uuid(),
                wf.utc_now(),
                wf.idempotency_key(),
                wf.idempotency_key(),
                other.start(1).invocation_id,
                other.start(2).invocation_id,
            )
        )
        if len(seen) % 3:
            raise OSError("again")
        return len(seen)

    @app.workflow(name="flow")
    def flow() -> list[int]:
        return [task() if way == "call" else task.start().result() for _ in range(2)]

    assert flow.options(id="f").start().result(LONG) == [3, 6]
    assert seen[0] == seen[1] == seen[2]
    assert seen[3] == seen[4] == seen[5]
    first, second = seen[0], seen[3]
    assert first[5] == first[6]
    assert all(a != b for n, (a, b) in enumerate(zip(first, second, strict=True)) if n != 4)
    assert first[7] != first[8]
    assert len(app.tasks(name="other")) == 4
    assert app.verify("f").finished


def test_a_task_draws_apart_from_its_workflow(store):
    app = store.app()

    @app.task(name="task")
    def task() -> list[str]:
        return [wf.uuid() for _ in range(3)]

    @app.workflow(name="flow")
    def flow() -> tuple[list[str], list[str], list[str]]:
        return [wf.uuid() for _ in range(3)], task(), task()

    drawn = [value for part in flow() for value in part]
    assert len(set(drawn)) == 9


def test_retries_back_off_exponentially(store):
    app = store.app(virtual=True, local_worker=False)
    env = store.env
    at: list[int] = []

    @app.task(
        name="task",
        retry=Retry(attempts=4, wait_initial=10, wait_factor=3, wait_max=60, jitter=0),
    )
    def task() -> None:
        at.append(env.moment)
        raise OSError("again")

    @app.workflow(name="flow")
    def flow() -> str:
        with pytest.raises(OSError, match="again"):
            task()
        return "gave up"

    handle = flow.options(id="f").start()
    for _ in range(200):
        run_until_idle(app)
        env.advance(1)
    assert handle.result() == "gave up"
    assert [(b - a) // 1_000_000 for a, b in pairwise(at)] == [10, 30, 60]
    assert app.verify("f").finished
    assert len(at) == 4


def test_started_tasks_are_retried_alike(store):
    app = store.app(virtual=True, local_worker=False)
    at: list[int] = []

    @app.task(name="task", retry=Retry(attempts=3, wait_initial=timedelta(seconds=10), jitter=0))
    def task() -> int:
        at.append(store.env.moment)
        if len(at) < 3:
            raise OSError("again")
        return 7

    handle = task.start()
    assert step(app)
    assert not step(app)
    assert app.tasks()[0].attempts == 1
    store.env.advance(10)
    assert step(app)
    store.env.advance(20)
    assert step(app)
    assert handle.result() == 7
    assert [(b - a) // 1_000_000 for a, b in pairwise(at)] == [10, 20]


def test_only_named_errors_are_tried_again(store):
    app = store.app()
    ran: list[str] = []

    @app.task(name="task", retry=Retry(attempts=5, wait_initial=0, on=(OSError,)))
    def task(kind: str) -> None:
        ran.append(kind)
        raise {"os": OSError, "value": ValueError}[kind](kind)

    @app.workflow(name="flow")
    def flow() -> None:
        with pytest.raises(OSError):
            task("os")
        with pytest.raises(ValueError):
            task("value")

    flow()
    assert ran == ["os"] * 5 + ["value"]


@pytest.mark.parametrize("way", ["call", "start"])
def test_a_sync_task_past_its_timeout_fails_and_its_late_result_is_dropped(store, way):
    app = store.app()
    release = threading.Event()

    @app.task(name="task", timeout=0.02)
    def task() -> str:
        release.wait(LONG)
        return "late"

    @app.workflow(name="flow")
    def flow() -> str:
        try:
            return task() if way == "call" else task.start().result()
        except TaskTimeout as error:
            return str(error)

    text = flow.options(id="f").start().result(LONG)
    release.set()
    assert "'task'" in text
    assert "0.02 seconds" in text
    assert app.verify("f").finished


def test_an_async_task_past_its_timeout_is_cancelled(store):
    import asyncio

    app = store.app()
    ended = threading.Event()

    @app.task(name="task", timeout=0.02)
    async def task() -> str:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return "never"

    @app.workflow(name="flow")
    async def flow() -> str:
        try:
            return await task()
        except TaskTimeout as error:
            return str(error)

    text = flow.options(id="f").start().result(LONG)
    assert "0.02 seconds" in text
    assert ended.wait(LONG)
    assert isinstance(TaskTimeout("x"), TimeoutError)


def test_a_timeout_error_of_the_body_itself_is_its_own(store):
    """`asyncio.timeout` in a body raises a bare TimeoutError, which is none of ours."""
    import asyncio

    app = store.app()

    @app.task(name="task", timeout=30)
    async def task() -> None:
        async with asyncio.timeout(0):
            await asyncio.sleep(30)

    @app.task(name="plain")
    async def plain() -> None:
        raise TimeoutError

    @app.workflow(name="flow")
    async def flow() -> list[str]:
        found = []
        for call in (task, plain):
            try:
                await call()
            except TimeoutError as error:
                found.append(type(error).__name__)
        return found

    assert flow.options(id="f").start().result(LONG) == ["TimeoutError", "TimeoutError"]


def test_a_timed_out_attempt_is_tried_again(store):
    app = store.app()
    release = threading.Event()
    ran = []

    @app.task(name="task", timeout=0.02, retry=Retry(attempts=2, wait_initial=0))
    def task() -> str:
        ran.append(1)
        if len(ran) == 1:
            release.wait(LONG)
        return "in time"

    @app.workflow(name="flow")
    def flow() -> str:
        return task()

    assert flow() == "in time"
    release.set()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda app: app.task(timeout=-1),
        lambda app: app.task(timeout="1"),
        lambda app: Retry(attempts=0),
        lambda app: Retry(wait_factor=0.5),
        lambda app: Retry(jitter=2),
        lambda app: Retry(wait_initial=-1),
        lambda app: Retry(wait_max=float("nan")),
    ],
)
def test_policies_that_mean_nothing_are_refused(memory_store, wrong):
    app = memory_store.app()
    with pytest.raises(ConfigurationError):
        wrong(app)(lambda: 1)


# --- values -------------------------------------------------------------------------------------


def test_a_task_cannot_change_the_objects_of_its_caller(store):
    app = store.app()

    @app.task(name="task")
    def task(items: list[int], more) -> list[int]:
        items.append(9)
        more["x"].append(9)
        return items

    @app.workflow(name="flow")
    def flow() -> list[Any]:
        items, more = [1], {"x": [1]}
        result = task(items, more)
        result.append(10)
        return [items, more, result]

    assert flow.options(id="f").start().result(LONG) == [[1], {"x": [1]}, [1, 9, 10]]
    assert app.verify("f").finished


def test_each_attempt_gets_fresh_arguments(store):
    app = store.app()
    seen = []

    @app.task(name="task", retry=SOON)
    def task(items: list[int]) -> list[int]:
        seen.append(list(items))
        items.append(9)
        if len(seen) < 3:
            raise OSError
        return items

    @app.workflow(name="flow")
    def flow() -> list[int]:
        return task([1])

    assert flow() == [1, 9]
    assert seen == [[1], [1], [1]]


def test_values_come_back_as_what_they_were(store):
    app = store.app()
    kept: list[Any] = []

    @app.task(name="typed")
    def typed(at: datetime, pair: tuple[int, str]) -> Receipt:
        assert isinstance(at, datetime)
        assert pair == (1, "a")
        kept.append(Receipt("r", [1]))
        return kept[-1]

    @app.task(name="untyped")
    def untyped(value):
        return value

    @app.workflow(name="flow")
    def flow() -> Receipt:
        receipt = typed(wf.utc_now(), (1, "a"))
        assert type(receipt) is Receipt
        assert receipt is not kept[-1]
        for value in ((1, (2,)), {1, 2}, frozenset({"a"}), b"x", receipt, {1: "a"}, 10**30, None):
            got = untyped(value)
            assert got == value
            assert type(got) is type(value)
        return receipt

    handle = flow.options(id="f").start()
    assert handle.result(LONG) == Receipt("r", [1])
    assert type(store.app().invocation("f").result(LONG)) in (Receipt, dict)
    assert app.verify("f").finished


def test_pydantic_models_are_typed_values(store):
    pydantic: Any = pytest.importorskip("pydantic")

    class Item(pydantic.BaseModel):  # type: ignore[misc]
        name: str
        price: float = 1.0

    app = store.app()

    def price(item: Item) -> Item:
        assert type(item) is Item
        return item.model_copy(update={"price": 2.0})

    price.__annotations__ = {"item": Item, "return": Item}
    task = app.task(name="price")(price)

    def body(item):
        got = task(item)
        assert type(got) is Item
        return got

    body.__annotations__ = {"item": Item, "return": Item}
    flow = app.workflow(name="flow")(body)
    got = flow(Item(name="pen"))
    assert type(got) is Item
    assert got.price == 2.0


# --- exceptions ---------------------------------------------------------------------------------


def described(error: BaseException | None) -> Any:
    if error is None:
        return None
    return (
        type(error),
        error.args,
        str(error),
        getattr(error, "__notes__", []),
        {key: value for key, value in vars(error).items() if not key.startswith("_")},
        described(error.__cause__),
        error.__suppress_context__,
    )


def raising(kind: str) -> None:
    if kind == "builtin":
        error: BaseException = KeyError("a", 1)
        error.add_note("a note")
        error.add_note("another")
        raise error
    if kind == "chained":
        try:
            raise OSError(2, "No such file", "x.txt")
        except OSError as cause:
            raise ValueError("while reading") from cause
    if kind == "registered":
        raise OutOfStock("pen", left=2)
    if kind == "exit":
        raise SystemExit(3)
    raise Unregistered("who knows me?")


KINDS = ["builtin", "chained", "registered", "exit", "unregistered"]


@pytest.mark.parametrize("way", ["call", "start"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.keeps_frames("its workflow appends to a list in each attempt")
def test_exceptions_are_the_same_on_the_first_run_and_on_replay(store, kind, way):
    app = store.app(virtual=True, local_worker=False)
    runs: list[Any] = []

    @app.task(name="task", raises=[OutOfStock])
    def task() -> None:
        raising(kind)

    @app.workflow(name="flow")
    def flow() -> None:
        try:
            task() if way == "call" else task.start().result()
        except BaseException as error:
            if way == "call" or not type(error).__name__.startswith("Suspended"):
                runs.append(described(error))
            else:
                raise
        wf.sleep(50)

    handle = flow.start()
    run_until_idle(app)
    store.env.advance(100)
    run_until_idle(app)
    assert handle.status is InvocationState.COMPLETED
    first, second = runs
    assert first == second
    expected: Any = None
    try:
        raising(kind)
    except BaseException as original:
        expected = described(original)
    if kind == "unregistered":
        assert first[0] is TaskError
        assert "Unregistered" in first[2]
        assert "who knows me?" in first[2]
    else:
        assert first[:6] == expected[:6]


def test_the_error_of_a_workflow_reaches_whoever_waits(store):
    app = store.app()

    @app.workflow(name="flow", raises=[OutOfStock])
    def flow() -> None:
        raise OutOfStock("pen", left=1)

    handle = flow.start()
    for _ in range(2):
        with pytest.raises(OutOfStock) as caught:
            handle.result(LONG)
        assert (caught.value.item, caught.value.left) == ("pen", 1)
    assert handle.status is InvocationState.FAILED
    assert isinstance(handle.exception(), OutOfStock)
    stranger = store.app()
    with pytest.raises(TaskError) as unknown:
        stranger.invocation(handle.invocation_id).result(LONG)
    assert unknown.value.type_name.endswith("OutOfStock")
    stranger.register(OutOfStock)
    with pytest.raises(OutOfStock):
        stranger.invocation(handle.invocation_id).result(LONG)
