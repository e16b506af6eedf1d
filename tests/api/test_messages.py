"""Messages as users send and receive them; what goes wrong is told, and nothing is lost."""

import asyncio
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Annotated, Any, Literal, NewType, TypeVar

import msgspec
import pytest

from perdure import InvocationState, wf
from perdure.errors import (
    ConfigurationError,
    InvalidIdentifier,
    InvocationEnded,
    InvocationNotFound,
    MessageInvalid,
    NotInWorkflow,
    OperationRefused,
    ReceiveTimeout,
    SerializationError,
    StartConflict,
    Superseded,
    WrongColour,
)
from tests.support.stores import LONG, in_threads, run_until_idle


@dataclass
class Van:
    plate: str
    day: date


class Box(msgspec.Struct):
    label: str


VALUES: list[tuple[Any, Any]] = [
    (None, Any),
    (0, int),
    ("", str),
    ([], list),
    ({"a": [1]}, dict[str, list[int]]),
    (date(2026, 1, 2), date),
    (timedelta(days=1), timedelta),
    ((1, "a"), tuple[int, str]),
    ({1, 2}, set[int]),
    (Van("b-1", date(2026, 1, 2)), Van),
    (Box("x"), Box),
    (7, int | str),
    (date(2026, 1, 2), Any),
]


@pytest.mark.parametrize(("value", "type_"), VALUES)
def test_values_arrive_equal(store, value, type_):
    app = store.app()
    seen = []

    @app.workflow(name="flow")
    def flow() -> None:
        seen.append(wf.receive("m", type_))

    handle = flow.start()
    handle.send("m", value)
    handle.result(LONG)
    assert seen[-1] == value
    assert type(seen[-1]) is type(value)


WRONG: list[Any] = [
    ("seven", int),
    (True, int),
    (date(2026, 1, 2), int),
    ({1}, list[str]),
    ({"plate": 1}, Van),
    (None, str),
    # msgspec cannot even say which number it was, and no more can the name of a test.
    pytest.param(1 << 20_000, Literal[1, 2], id="huge"),
]


@pytest.mark.parametrize(("value", "type_"), WRONG)
def test_the_wrong_type_is_told_and_the_next_one_is_there(store, value, type_):
    app = store.app()

    @app.workflow(name="flow")
    def flow() -> list[str]:
        try:
            wf.receive("m", type_)
        except MessageInvalid as error:
            return [str(error), wf.receive("m", str)]
        return []

    handle = flow.start()
    handle.send("m", value)
    handle.send("m", "next")
    told, following = handle.result(LONG)
    assert "'m'" in told
    assert "does not fit" in told
    assert following == "next"


def test_an_id_is_received_once(store):
    app = store.app()

    @app.workflow(name="flow")
    def flow() -> list[Any]:
        return [wf.receive("m"), wf.receive("m"), wf.receive("m", timeout=0, default=None)]

    handle = flow.start()
    for value in (1, 2):
        handle.send("m", value, id="webhook-1")
    handle.send("m", 3, id="webhook-2")
    assert handle.result(LONG) == [1, 3, None]
    handle.send("m", 1, id="webhook-1")  # it was accepted, so this is no error


def test_many_senders(store):
    app = store.app()

    @app.workflow(name="flow")
    def flow() -> list[int]:
        return [wf.receive("m", int) for _ in range(40)]

    handle = flow.start()
    in_threads(4, lambda sender: [handle.send("m", sender * 10 + each) for each in range(10)])
    received = handle.result(LONG)
    assert sorted(received) == list(range(40))
    for sender in range(4):
        own = [value for value in received if value // 10 == sender]
        assert own == sorted(own), "one sender's messages keep their order"


def test_early_messages_are_kept_in_order(store):
    app = store.app(virtual=True, local_worker=False)

    @app.workflow(name="flow")
    def flow() -> list[Any]:
        wf.sleep(60)
        return [wf.receive("b"), wf.receive("a"), wf.receive("b")]

    handle = flow.start()
    run_until_idle(app)
    for name, value in (("a", 1), ("b", 2), ("b", 3)):
        handle.send(name, value)
        run_until_idle(app)  # each wakes it, is recorded, and it waits again
    assert handle.status is InvocationState.WAITING
    store.env.advance(61)
    run_until_idle(app)
    assert handle.result(1) == [2, 1, 3]


def test_a_time_limit(store):
    app = store.app(virtual=True, local_worker=False)

    @app.workflow(name="flow")
    def flow() -> str:
        try:
            wf.receive("m", timeout=timedelta(hours=1))
        except ReceiveTimeout as error:
            return str(error)
        return ""

    handle = flow.start()
    run_until_idle(app)
    assert handle.status is InvocationState.WAITING
    store.env.advance(3601)
    run_until_idle(app)
    assert "3600.0 seconds" in handle.result(1)


def test_a_message_before_the_limit(store):
    app = store.app(virtual=True, local_worker=False)

    @app.workflow(name="flow")
    def flow() -> list[Any]:
        first = wf.receive("m", timeout=3600)
        wf.sleep(7200)  # the timer of the first one comes meanwhile, and means nothing any more
        return [first, wf.receive("m", timeout=10, default="none")]

    handle = flow.start()
    run_until_idle(app)
    handle.send("m", 1)
    run_until_idle(app)
    for _ in range(4):
        store.env.advance(3601)
        run_until_idle(app)
    assert handle.result(1) == [1, "none"]


def test_branches_receive_in_the_order_they_asked(store):
    app = store.app()

    @app.workflow(name="flow")
    async def flow() -> list[Any]:
        return await asyncio.gather(*[wf.receive_async("m") for _ in range(3)])

    handle = flow.start()
    for value in range(3):
        handle.send("m", value)
    assert handle.result(LONG) == [0, 1, 2]


def test_what_a_cancelled_branch_did_not_take_is_there(store):
    app = store.app(virtual=True, local_worker=False)

    @app.workflow(name="flow")
    async def flow() -> list[Any]:
        try:
            async with asyncio.timeout(60):
                await wf.receive_async("m")
        except TimeoutError:
            return [await wf.receive_async("m")]
        return []

    handle = flow.start()
    run_until_idle(app)
    store.env.advance(61)
    run_until_idle(app)
    handle.send("m", 1)
    run_until_idle(app)
    assert handle.result(1) == [1]


def test_a_start_with_a_message(store):
    app = store.app()

    @app.workflow(name="flow")
    def flow() -> list[Any]:
        return [wf.receive("m") for _ in range(2)]

    handle = flow.options(id="f", message=("m", 1, "id-1")).start()
    for number in (1, 2, 2):
        flow.options(id="f", message=("m", number, f"id-{number}")).start()
    assert handle.result(LONG) == [1, 2]


def test_a_start_that_is_refused_has_sent_nothing(store):
    app = store.app(local_worker=False)

    @app.workflow(name="flow")
    def flow(number: int) -> None: ...

    handle = flow.options(id="f").start(1)
    with pytest.raises(StartConflict):
        flow.options(id="f", message=("m", 1)).start(2)
    with pytest.raises(StartConflict):
        flow.options(id="f", on_existing="raise", message=("m", 1)).start(1)
    assert app.runtime.backend.read_inbox(handle.key) == []
    run_until_idle(app)
    with pytest.raises(InvocationEnded):
        flow.options(id="f", message=("m", 1)).start(1)


def test_an_ended_workflow_refuses(store):
    app = store.app()

    @app.workflow(name="flow")
    def flow() -> int:
        return 1

    handle = flow.start()
    handle.result(LONG)
    with pytest.raises(InvocationEnded, match="has ended"):
        handle.send("m")


def test_a_failed_one_that_lives_again(store):
    app = store.app()

    @app.workflow(name="flow")
    def flow() -> int:
        raise ValueError(wf.receive("m", timeout=0, default="x"))

    old = flow.options(id="f").start()
    old.send("other", 1, id="accepted")
    with pytest.raises(ValueError, match="x"):
        old.result(LONG)
    flow.options(id="f", on_existing="new_generation_if_failed").start()
    with pytest.raises(Superseded):
        old.send("m")
    old.send("other", 1, id="accepted")  # it was accepted, so this is no error


def test_nobody_and_tasks(store):
    app = store.app(local_worker=False)

    @app.task(name="pay")
    def pay() -> None: ...

    @app.workflow(name="flow")
    def flow() -> None: ...

    with pytest.raises(InvocationNotFound):
        app.invocation("nobody")
    with pytest.raises(OperationRefused, match="is a task"):
        pay.start().send("m")
    with pytest.raises(ConfigurationError, match="only workflows"):
        pay.options(message=("m", 1))


def test_bad_input_sends_nothing(store):
    app = store.app(local_worker=False)

    @app.workflow(name="flow")
    def flow() -> None: ...

    handle = flow.start()
    for name in ("", "a\0b", "x" * 300, 7):
        with pytest.raises(InvalidIdentifier):
            handle.send(name)
    with pytest.raises(InvalidIdentifier):
        handle.send("m", 1, id="a\nb")
    with pytest.raises(InvalidIdentifier, match="perdure's own"):
        handle.send("m", 1, id="perdure:cancel")
    with pytest.raises(SerializationError):
        handle.send("m", object())
    assert app.runtime.backend.read_inbox(handle.key) == []


@pytest.mark.parametrize("given", ["str", 5, ["int"], lambda: int])
@pytest.mark.parametrize("is_async", [False, True])
def test_a_type_that_is_none_takes_nothing(store, given, is_async):
    app = store.app()

    @app.workflow(name="sync")
    def sync() -> list[str]:
        try:
            wf.receive("m", given)
        except ConfigurationError as error:
            return [str(error), wf.receive("m", str)]
        return []

    @app.workflow(name="awaits")
    async def awaits() -> list[str]:
        try:
            await wf.receive_async("m", given)
        except ConfigurationError as error:
            return [str(error), await wf.receive_async("m", str)]
        return []

    handle = (awaits if is_async else sync).options(message=("m", "kept")).start()
    told, value = handle.result(LONG)
    assert "is no type. Give the type itself" in told
    assert value == "kept"


def test_types_that_are_no_classes(store):
    app = store.app()
    number = TypeVar("number")

    @app.workflow(name="flow")
    def flow() -> list[object]:
        types: tuple[Any, ...] = (int | None, list[int], Literal[1], Annotated[int, "n"], None, Any)
        return [wf.receive("m", each, default="") for each in (*types, number, NewType("N", int))]

    handle = flow.start()
    sent = [1, [3], 1, 4, None, {"a": 5}, "free", 6]
    for value in sent:
        handle.send("m", value)
    assert handle.result(LONG) == sent


@pytest.mark.parametrize("message", ["paid", (), ("paid",), ("paid", 1, 2), ("paid", 1, "i", 2), 5])
def test_a_message_that_is_none_starts_nothing(store, message):
    app = store.app(local_worker=False)

    @app.workflow(name="flow")
    def flow() -> None: ...

    with pytest.raises(ConfigurationError, match=r"expected \(name, value\), such as"):
        flow.options(id="f", message=message).start()
    assert app.workflows() == []


def test_where_it_cannot_be_received(store):
    app = store.app()

    @app.task(name="pay")
    def pay() -> str:
        try:
            wf.receive("m")
        except OperationRefused as error:
            return str(error)
        return ""

    @app.workflow(name="blocking")
    def blocking() -> str:
        return str(pay())

    @app.workflow(name="awaiting")
    async def awaiting() -> str:
        try:
            wf.receive("m")
        except WrongColour as error:
            return str(error)
        return ""

    assert "inside the task 'pay'" in blocking()
    assert "await wf.receive_async('m'" in awaiting.call()
    with pytest.raises(NotInWorkflow):
        wf.receive("m")


def test_other_arguments_on_replay_are_a_divergence(store):
    app = store.app(virtual=True, local_worker=False)
    value = ["one"]

    @app.workflow(name="flow")
    def flow() -> None:
        wf.invocation().send("m", value[0])
        wf.sleep(60)

    handle = flow.start()
    run_until_idle(app)
    value[0] = "two"
    store.env.advance(61)
    run_until_idle(app)
    reason = app.runtime.backend.read(*handle.key).reason
    assert '"one"' in reason
    assert '"two"' in reason


def test_a_task_that_is_run_again_sends_once(store):
    app = store.app()
    runs: list[int] = []

    @app.task(name="tell")
    def tell(to) -> None:
        to.send("m", len(runs))
        runs.append(1)
        if len(runs) == 1:
            raise RuntimeError("after it was sent")

    @app.workflow(name="flow")
    def flow() -> list[Any]:
        tell(wf.invocation())
        return [wf.receive("m"), wf.receive("m", timeout=0, default="none")]

    tell.definition.retry = type(tell.definition.retry)(attempts=2, wait_initial=0.0)
    assert flow() == [0, "none"]
    assert len(runs) == 2
