"""Tasks that are completed from outside: what their bodies ask for, and what ends them.

`perdure.wf` re-exports what bodies use; `app.complete` and `app.fail` are the other side.
"""

from __future__ import annotations

from typing import TypeVar, cast

from perdure.api.client import Client
from perdure.api.definition import Definition
from perdure.api.loose import encode_message, fitting
from perdure.api.operations import client_of, require_context
from perdure.api.outside import refuse_undurable
from perdure.backends.base import Finish
from perdure.core.lifecycle import InvocationState
from perdure.engine import outside
from perdure.engine.context import TaskContext, current
from perdure.engine.outcome import LATER
from perdure.errors import (
    ConfigurationError,
    DeserializationError,
    OperationRefused,
    SerializationError,
)
from perdure.values import encode_exception

T = TypeVar("T")


def completion_token() -> str:
    """The text that ends this task from outside: give it to whoever shall complete it.

    It is the same on every attempt of the task. Who has it can end the task, with any outcome; it
    cannot be computed from the id of the invocation. Letters, digits, `-` and `_` only.

    Raises:
        OperationRefused: outside of a task with `completes_outside=True`.
    """
    context = _of_open_task("wf.completion_token")
    return outside.token_of(context.invocation, context.seed())


def complete_later() -> T:  # type: ignore[type-var]  # it fits whatever the task is to give
    """What a task body returns to leave its task open: `return wf.complete_later()`.

    The task then waits and holds no thread, slot or lease, until `app.complete(token, value)` or
    `app.fail(token, error)` ends it, or its `timeout` is over (`TaskTimeout`). It may be completed
    earlier too, as soon as somebody has the token. A crash before this is durable runs the body
    again, with the same token.

    Raises:
        OperationRefused: outside of a task with `completes_outside=True`.
    """
    _of_open_task("wf.complete_later").asked_for_later = True
    return cast("T", LATER)


def _of_open_task(operation: str) -> TaskContext:
    context = require_context(operation)
    if not isinstance(context, TaskContext):
        raise OperationRefused(
            f"{operation} was called in a workflow. A token belongs to a task; a workflow waits "
            "for others with wf.receive(...)."
        )
    name = context.template.name
    definition = client_of(context).registry.get(name)
    if definition is None or not definition.completes_outside:
        raise OperationRefused(
            f"{operation} was called in the task {name!r}, which is not declared to be completed "
            "from outside. Write: @app.task(completes_outside=True)"
        )
    return context


def complete(client: Client, token: str, value: object) -> None:
    """End a task with a result. See `Perdure.complete`."""
    _refuse_here(client, "app.complete(...)")
    record = outside.proven(token, client.find_key(outside.read_token(token)))
    definition = client.definition_of(record)
    if definition is None:
        body = encode_message(client, value, f"result of task {record.name!r}")
    else:
        body = _fitting_result(definition, value)
    outside.complete(client.runtime, record, Finish(InvocationState.COMPLETED, body))


def _fitting_result(definition: Definition, value: object) -> bytes:
    """The recorded form of a result that did not come out of the function itself.

    Raises:
        SerializationError: it cannot be recorded, or is not of the result type.
    """
    body, given = definition.encode_result(value)
    try:
        fitting(given, definition.result_type, f"result of task {definition.name!r}")
    except DeserializationError as error:
        raise SerializationError(f"{error} The task is still open.") from None
    return body


def fail(client: Client, token: str, error: object) -> None:
    """End a task with an exception. See `Perdure.fail`."""
    _refuse_here(client, "app.fail(...)")
    if not isinstance(error, Exception):
        raise ConfigurationError(
            f"app.fail(token, {error!r:.200}): expected an exception object, such as "
            'ValueError("the card was declined").'
        )
    record = outside.proven(token, client.find_key(outside.read_token(token)))
    body = encode_exception(error, client.types)
    outside.complete(client.runtime, record, Finish(InvocationState.FAILED, body))


def _refuse_here(client: Client, what: str) -> None:
    """Refuse it in workflow code, where it is an effect, and in pure tasks."""
    refuse_undurable(what)
    client.refuse_in_pure(current(), what)
