"""Heartbeats as task bodies tell and read them. `perdure.wf` re-exports what they use."""

from __future__ import annotations

from typing import Any, TypeVar, overload

from perdure.api.loose import decoder, encode_message
from perdure.api.operations import client_of, require_context
from perdure.api.progress import DETAILS
from perdure.engine.context import TaskContext
from perdure.engine.pulse import Pulse
from perdure.engine.telling import tell
from perdure.errors import AttemptLost, OperationRefused, WrongColour

T = TypeVar("T")
_NONE: Any = object()


def heartbeat(details: object = _NONE) -> None:
    """Tell, in a task body, that it is alive, and how far it has come.

    The details are made durable at once, but at most once a second; what is told in between goes
    with the next heartbeat, or when the attempt fails. A crash loses that second at most. Another
    attempt reads them by `wf.last_heartbeat()`.

    Args:
        details: plain data, or an instance of a dataclass, msgspec Struct or pydantic model.
            Without any, those that were told before stay.

    Raises:
        AttemptLost: this attempt counts no more, as far as that was found out; it is looked for
            once a second. Clean up what the body itself began, and let it pass.
        OperationRefused: in a workflow, in a pure task, a transaction, or an executor of the user.
        SerializationError: the details cannot be recorded; nothing was.
        WrongColour: in an async body; `await wf.heartbeat_async(...)`.
    """
    context, pulse = _of_body("wf.heartbeat")
    if client_of(context).registry.require(context.template.name).is_async:
        raise WrongColour(
            "wf.heartbeat would block the loop of async bodies while it waits for the state "
            "backend. Write: await wf.heartbeat_async(...)"
        )
    if _beat(context, pulse, details):
        tell(context)
        _refuse_lost(context)


async def heartbeat_async(details: object = _NONE) -> None:
    """As `heartbeat`, in an async task body."""
    context, pulse = _of_body("wf.heartbeat_async")
    if _beat(context, pulse, details):
        await client_of(context).runtime.bodies.off_loop(lambda: tell(context))
        _refuse_lost(context)


@overload
def last_heartbeat(type_: type[T], default: T | None = None) -> T | None: ...
@overload
def last_heartbeat(type_: Any = Any, default: Any = None) -> Any: ...
def last_heartbeat(type_: Any = Any, default: Any = None) -> Any:
    """The newest details of this task: of this attempt, or of the last one that told any.

    A call of a task in a workflow, and a started task, keep theirs over failures and crashes. What
    a crash came too soon after may be missing: see `heartbeat`.

    Args:
        type_: what the details must be; they are decoded to it.
        default: given if there are none.

    Raises:
        OperationRefused: in a workflow, in a pure task, a transaction, or an executor of the user.
        DeserializationError: they are no `type_`.
    """
    context, pulse = _of_body("wf.last_heartbeat")
    body = pulse.details()
    if body is None:
        return default
    return decoder(client_of(context), type_, DETAILS)(body)


def _beat(context: TaskContext, pulse: Pulse, details: object) -> bool:
    """Note it; whether it is time to make it durable."""
    _refuse_lost(context)
    body = None
    if details is not _NONE:
        body = encode_message(client_of(context), details, DETAILS)
    return pulse.beat(body)


def _refuse_lost(context: TaskContext) -> None:
    if context.lost:
        raise AttemptLost(
            f"This attempt of task {context.template.name!r} counts no more: {context.lost}. What "
            "it gives will be dropped. Clean up what the body itself began, and let this pass."
        )


def _of_body(operation: str) -> tuple[TaskContext, Pulse]:
    context = require_context(operation)
    if not isinstance(context, TaskContext):
        raise OperationRefused(
            f"{operation} was called in a workflow, which needs none: what it has done is in its "
            "journal. Heartbeats are for the bodies of tasks."
        )
    client_of(context).refuse_in_pure(context, operation)
    pulse = context.pulse
    if pulse is None:
        raise OperationRefused(
            f"{operation} was called in the task {context.template.name!r}, whose bodies run on "
            'an executor of yours, from where nobody can be told. Use executor="process" for '
            "tasks that tell heartbeats, or leave it out, or split the work into several calls."
        )
    return context, pulse
