"""Receiving messages in a workflow. `perdure.wf` re-exports what users call."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar, overload

from perdure.api.loose import decoder
from perdure.api.operations import client_of
from perdure.core.identity import validate_identifier
from perdure.core.retry import seconds
from perdure.engine import flows
from perdure.engine.context import WorkflowContext, current_workflow
from perdure.errors import WrongColour

T = TypeVar("T")
D = TypeVar("D")
_MISSING: Any = object()


@overload
def receive(name: str, type_: type[T], /, timeout: float | timedelta | None = None) -> T: ...
@overload
def receive(
    name: str, type_: type[T], /, timeout: float | timedelta | None = None, *, default: D
) -> T | D: ...
@overload
def receive(name: str, /, *, timeout: float | timedelta | None = None) -> Any: ...
@overload
def receive(name: str, /, *, timeout: float | timedelta | None = None, default: D) -> Any | D: ...
def receive(
    name: str,
    type_: Any = Any,
    /,
    timeout: float | timedelta | None = None,
    *,
    default: Any = _MISSING,
) -> Any:
    """Take the oldest message `name` that was sent to this workflow, or wait for one.

    Messages are kept until they are received, through suspensions and crashes, in the order in
    which they arrived; each is received once. The workflow holds no thread while it waits.

    Args:
        name: as given to `invocation.send`.
        type_: what the value must be; it is decoded to it. Any takes it as it is.
        timeout: seconds or timedelta, a durable timer; None waits for ever.
        default: given when the time is over, in place of the error.

    Raises:
        ReceiveTimeout: no message came in time, and there is no default.
        ConfigurationError: `type_` is no type; no message is taken.
        MessageInvalid: the value is no `type_`. That message is taken; the next is still there.
        WrongColour: in an async workflow; `await wf.receive_async(...)`.
    """
    context = current_workflow("wf.receive")
    if context.is_async:
        raise WrongColour(
            "wf.receive was called in an async workflow, which it would block. Write: "
            f"await wf.receive_async({name!r}, ...)"
        )
    decode, limit = _asked(context, name, type_, timeout)
    value = context.perform(flows.receive(context, name, decode, limit))
    return _given(context, name, value, limit, default)


@overload
async def receive_async(
    name: str, type_: type[T], /, timeout: float | timedelta | None = None
) -> T: ...
@overload
async def receive_async(
    name: str, type_: type[T], /, timeout: float | timedelta | None = None, *, default: D
) -> T | D: ...
@overload
async def receive_async(name: str, /, *, timeout: float | timedelta | None = None) -> Any: ...
@overload
async def receive_async(
    name: str, /, *, timeout: float | timedelta | None = None, default: D
) -> Any | D: ...
async def receive_async(
    name: str,
    type_: Any = Any,
    /,
    timeout: float | timedelta | None = None,
    *,
    default: Any = _MISSING,
) -> Any:
    """As `receive`, awaited, in an async workflow."""
    context = current_workflow("wf.receive_async")
    decode, limit = _asked(context, name, type_, timeout)
    value = await context.perform_async(flows.receive(context, name, decode, limit))
    return _given(context, name, value, limit, default)


def _asked(
    context: WorkflowContext, name: str, type_: Any, timeout: float | timedelta | None
) -> tuple[Callable[[bytes], object], int | None]:
    """How to decode, and how many microseconds to wait."""
    validate_identifier(name, "the name given to receive")
    decode = decoder(client_of(context), type_, f"message {name!r}")
    limit = None if timeout is None else int(seconds(timeout, "timeout") * flows.MICROSECONDS)
    return decode, limit


def _given(
    context: WorkflowContext, name: str, value: object, limit: int | None, default: object
) -> object:
    if value is not flows.TIMED_OUT:
        return value
    if default is _MISSING:
        raise flows.timed_out(context, name, limit or 0)
    return default
