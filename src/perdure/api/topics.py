"""Topics: values for many listeners. `perdure.wf` and `Perdure.emit` are what users call."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Generic, Self, TypeVar, cast, overload

from perdure.api.client import Client
from perdure.api.loose import decoder, encode_message
from perdure.api.operations import client_of, require_context
from perdure.core.identity import validate_identifier
from perdure.core.retry import seconds
from perdure.engine import flows, topics
from perdure.engine.context import TaskContext, WorkflowContext, current, current_workflow
from perdure.engine.effects import EmitNow, Emitted, Flow
from perdure.engine.outcome import Outcome
from perdure.errors import (
    InvalidIdentifier,
    InvocationCancelled,
    MessageInvalid,
    OperationRefused,
    WrongColour,
)

T = TypeVar("T")
D = TypeVar("D")
_MISSING: Any = object()


# --- emitting -----------------------------------------------------------------------------------


def emit_in_context(
    topic: str, value: object = None, id: str = "", *, once: bool = False
) -> Emitted:
    """As `app.emit`, in a workflow or a task of the app.

    In a workflow it is a recorded operation: it happens once, whatever crashes. In a task, a retry
    emits the same again, which is one emit.
    """
    return emit(client_of(require_context("wf.emit")), topic, value, id, once=once)


def emit(client: Client, topic: str, value: object, id_: str, *, once: bool) -> Emitted:
    """Emit from outside of workflows, or as an operation of the workflow that runs here."""
    _check_topic(client, topic)
    if id_:
        validate_identifier(id_, "the id of an emit")
    context = current()
    if isinstance(context, WorkflowContext):
        context.check()
        body = encode_message(client, value, f"emit to {topic!r}")
        flow = flows.emit(context, topic, body, id_, once=once)
        return cast("Emitted", context.perform(flow))
    client.refuse_in_pure(context, f"An emit to topic {topic!r}")
    body = encode_message(client, value, f"emit to {topic!r}")
    runtime = client.runtime
    if isinstance(context, TaskContext):
        id_ = id_ or context.next_start_id()  # a retry of the task emits the same again
    asked = EmitNow(topic, id_ or runtime.env.new_id(), body, once)
    return topics.emit(runtime, asked, repeats=bool(id_))


def _check_topic(client: Client, topic: object) -> str:
    text = validate_identifier(topic, "the name of a topic")
    longest = topics.longest(client.runtime)
    if len(text) > longest:
        raise InvalidIdentifier(
            f"The name of topic {text[:40]!r}... has {len(text)} characters. Together with the "
            f"app's name it is part of an id, so at most {longest} are allowed here."
        )
    return text


# --- listening ----------------------------------------------------------------------------------


@overload
def receive_topic(topic: str, type_: type[T], /, timeout: float | timedelta | None = None) -> T: ...
@overload
def receive_topic(
    topic: str, type_: type[T], /, timeout: float | timedelta | None = None, *, default: D
) -> T | D: ...
@overload
def receive_topic(topic: str, /, *, timeout: float | timedelta | None = None) -> Any: ...
@overload
def receive_topic(
    topic: str, /, *, timeout: float | timedelta | None = None, default: D
) -> Any | D: ...
def receive_topic(
    topic: str,
    type_: Any = Any,
    /,
    timeout: float | timedelta | None = None,
    *,
    default: Any = _MISSING,
) -> Any:
    """Give the first value that was ever emitted to a topic, or wait for it.

    It is the same for every workflow, whenever it asks, and what is emitted later changes nothing.
    The workflow holds no thread while it waits.

    Args:
        topic: as given to `app.emit`.
        type_: what the value must be; it is decoded to it. Any takes it as it is.
        timeout: seconds or timedelta, a durable timer; None waits for ever.
        default: given when the time is over, in place of the error.

    Raises:
        ReceiveTimeout: nothing was emitted in time, and there is no default.
        MessageInvalid: the value is no `type_`.
        WrongColour: in an async workflow; `await wf.receive_topic_async(...)`.
    """
    context = _blocking("wf.receive_topic", "await wf.receive_topic_async(...)")
    first: Listener[Any] = Listener(context, topic, type_, 1)
    return (
        first.receive(timeout) if default is _MISSING else first.receive(timeout, default=default)
    )


@overload
async def receive_topic_async(
    topic: str, type_: type[T], /, timeout: float | timedelta | None = None
) -> T: ...
@overload
async def receive_topic_async(
    topic: str, type_: type[T], /, timeout: float | timedelta | None = None, *, default: D
) -> T | D: ...
@overload
async def receive_topic_async(
    topic: str, /, *, timeout: float | timedelta | None = None
) -> Any: ...
@overload
async def receive_topic_async(
    topic: str, /, *, timeout: float | timedelta | None = None, default: D
) -> Any | D: ...
async def receive_topic_async(
    topic: str,
    type_: Any = Any,
    /,
    timeout: float | timedelta | None = None,
    *,
    default: Any = _MISSING,
) -> Any:
    """As `receive_topic`, awaited, in an async workflow."""
    context = current_workflow("wf.receive_topic_async")
    first: Listener[Any] = Listener(context, topic, type_, 1)
    if default is _MISSING:
        return await first.receive_async(timeout)
    return await first.receive_async(timeout, default=default)


@overload
def listen(topic: str, type_: type[T], /, *, from_start: bool = False) -> Listener[T]: ...
@overload
def listen(topic: str, /, *, from_start: bool = False) -> Listener[Any]: ...
def listen(topic: str, type_: Any = Any, /, *, from_start: bool = False) -> Listener[Any]:
    """Listen to a topic from here on: `for price in wf.listen("prices", Price): ...`.

    Every value that is emitted after this comes, in the order of the topic, which is the same for
    all its listeners; none is lost, whenever it is asked for. In an async workflow `async for`.

    Args:
        topic: as given to `app.emit`.
        type_: what the values must be; they are decoded to it. Any takes them as they are.
        from_start: begin with the first value that was ever emitted.
    """
    context = current_workflow("wf.listen")
    _check_topic(client_of(context), topic)
    emitted = 0 if from_start else cast("int", context.perform(flows.count_emits(context, topic)))
    return Listener(context, topic, type_, emitted + 1)


class Listener(Generic[T]):
    """What is emitted to one topic, one value after the other, for the branch that listens."""

    def __init__(self, context: WorkflowContext, topic: str, type_: Any, number: int) -> None:
        """Made by `wf.listen`, not by users. `number` is that of the next emit."""
        self.topic = _check_topic(client_of(context), topic)
        self._context = context
        self._number = number
        self._decode = _decoder(client_of(context), type_, f"emit to {topic!r}")

    @overload
    def receive(self, timeout: float | timedelta | None = None) -> T: ...
    @overload
    def receive(self, timeout: float | timedelta | None = None, *, default: D) -> T | D: ...
    def receive(self, timeout: float | timedelta | None = None, *, default: Any = _MISSING) -> Any:
        """Give the next value, or wait for it. The workflow holds no thread meanwhile.

        Args:
            timeout: seconds or timedelta, a durable timer; None waits for ever.
            default: given when the time is over, in place of the error.

        Raises:
            ReceiveTimeout: it was not emitted in time, and there is no default. It still comes.
            MessageInvalid: it is not of the type; the next is still there.
            OperationRefused: in another branch than the one that listens.
            WrongColour: in an async workflow; `await listener.receive_async(...)`.
        """
        _blocking("listener.receive", "await listener.receive_async(...)")
        flow, limit = self._asked(timeout)
        with self._taken():
            value = self._context.perform(flow)
        return self._given(value, limit, default)

    @overload
    async def receive_async(self, timeout: float | timedelta | None = None) -> T: ...
    @overload
    async def receive_async(
        self,
        timeout: float | timedelta | None = None,
        *,
        default: D,
    ) -> T | D: ...
    async def receive_async(
        self,
        timeout: float | timedelta | None = None,
        *,
        default: Any = _MISSING,
    ) -> Any:
        """As `receive`, awaited, in an async workflow."""
        flow, limit = self._asked(timeout)
        with self._taken():
            value = await self._context.perform_async(flow)
        return self._given(value, limit, default)

    def __iter__(self) -> Self:
        """Itself; it has no end."""
        return self

    def __next__(self) -> T:
        """As `receive()`."""
        return self.receive()

    def __aiter__(self) -> AsyncIterator[T]:
        """Itself; it has no end."""
        return self

    async def __anext__(self) -> T:
        """As `receive_async()`."""
        return await self.receive_async()

    def _asked(self, timeout: float | timedelta | None) -> tuple[Flow[Outcome], int | None]:
        """What to perform, and how many microseconds it may take."""
        if current_workflow("a listener") is not self._context:
            raise OperationRefused(
                f"A listener to topic {self.topic!r} was asked in another branch than the one that "
                "listens: which of them gets which value would be a matter of timing. Call "
                "wf.listen in each branch; each of them gets every value."
            )
        limit = None if timeout is None else int(seconds(timeout, "timeout") * flows.MICROSECONDS)
        flow = flows.receive_emit(self._context, self.topic, self._number, self._decode, limit)
        return flow, limit

    @contextmanager
    def _taken(self) -> Generator[None]:
        """An emit that cannot be had is taken, too."""
        try:
            yield
        except (MessageInvalid, InvocationCancelled):
            self._number += 1
            raise

    def _given(self, value: object, limit: int | None, default: object) -> Any:
        if value is not flows.TIMED_OUT:
            self._number += 1
            return value
        if default is _MISSING:
            raise flows.not_emitted(self._context, self.topic, self._number, limit or 0)
        return default


def _decoder(client: Client, type_: Any, where: str) -> Callable[[bytes], object]:
    decode = decoder(client, type_, where)
    return lambda body: decode(bytes(topics.read_held(body).value))


def _blocking(operation: str, instead: str) -> WorkflowContext:
    """The context of an operation that blocks.

    Raises:
        WrongColour: in an async workflow.
    """
    context = current_workflow(operation)
    if context.is_async:
        raise WrongColour(
            f"{operation} was called in an async workflow, which it would block. Write: {instead}"
        )
    return context
