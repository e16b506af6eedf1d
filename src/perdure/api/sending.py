"""Sending messages to workflows, from outside and from workflows and tasks."""

from __future__ import annotations

from typing import Any, cast

from perdure.api.client import Client
from perdure.api.loose import encode_message
from perdure.backends.letters import Letter
from perdure.core.identity import InvocationKey, validate_identifier
from perdure.engine import flows, letters
from perdure.engine.context import TaskContext, WorkflowContext, current
from perdure.engine.letters import OWN_IDS
from perdure.errors import ConfigurationError, InvalidIdentifier


def new_letter(
    client: Client, name: str, value: object, id_: str, kind: str = letters.MESSAGE
) -> Letter:
    """A message on its way, with an id of its own if none is given.

    Raises:
        InvalidIdentifier: a name or an id that cannot be stored.
        SerializationError: a value that cannot be recorded.
    """
    validate_identifier(name, f"the name of the {kind}")
    body = encode_message(client, value, f"{kind} {name!r}")
    letter_id = check_message_id(id_) if id_ else _fresh_id(client)
    return Letter(kind=kind, name=name, letter_id=letter_id, body=body)


def letter_with_start(client: Client, message: object) -> Letter:
    """The message that a start brings with it, as `message=` gave it.

    Raises:
        ConfigurationError: it is neither (name, value) nor (name, value, id).
        InvalidIdentifier, SerializationError: as `new_letter`.
    """
    given: tuple[Any, ...] = cast("Any", message) if isinstance(message, tuple) else ()
    texts = (*given[:1], *given[2:])  # name and id
    if len(given) not in (2, 3) or not all(isinstance(each, str) for each in texts):
        raise ConfigurationError(
            f"message={message!r}: expected (name, value), such as ('paid', 5), or "
            "(name, value, id)."
        )
    name, value, *id_ = given
    return new_letter(client, name, value, id_[0] if id_ else "")


def check_message_id(id_: object) -> str:
    """An id that users may give to a message.

    Raises:
        InvalidIdentifier: it cannot be stored, or is one of ours.
    """
    text = validate_identifier(id_, "the id of a message")
    if text.startswith(OWN_IDS):
        raise InvalidIdentifier(
            f"The id {text!r} of a message begins with {OWN_IDS!r}, as perdure's own do. "
            "Use another."
        )
    return text


def _fresh_id(client: Client) -> str:
    context = current()
    if isinstance(context, TaskContext):
        return context.next_start_id()  # a retry of the task sends the same message
    return client.runtime.env.new_id()


def send(client: Client, key: InvocationKey, name: str, value: object, id_: str) -> None:
    """Send from outside of workflows, or as an operation of the workflow that runs here."""
    context = current()
    if not isinstance(context, WorkflowContext):
        client.refuse_in_pure(context, f"Message {name!r} to {key.invocation_id!r}")
        letter = new_letter(client, name, value, id_)
        found = client.find(key.invocation_id)
        error = letters.refusal(key, found, letter)
        if error is None:
            sent = letters.send(client.runtime, key, letter)
            error = letters.refusal(key, found, letter, sent)
        if error is not None:
            raise error
        return
    context.check()
    validate_identifier(name, "the name of a message")
    if id_:
        check_message_id(id_)
    body = encode_message(client, value, f"message {name!r}")
    context.perform(flows.send(context, key, name, body, id_))
