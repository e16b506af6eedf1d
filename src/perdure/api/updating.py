"""Updates from outside: validated here, sent as a letter, answered by an entry of the journal."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from typing import Any, NamedTuple

from perdure.api.client import Client, for_caller
from perdure.api.definition import Definition
from perdure.api.loose import decoder
from perdure.api.outside import refuse_undurable
from perdure.api.queries import check_reader, look, read_data
from perdure.api.registry import is_redefinition
from perdure.api.sending import new_letter
from perdure.api.streams import Tail
from perdure.api.waiting import Wanted
from perdure.backends.base import InvocationRecord
from perdure.backends.letters import Letter, Sent
from perdure.core.entries import EntryKind
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import TERMINAL
from perdure.engine import letters
from perdure.engine.context import current
from perdure.engine.outcome import read_body
from perdure.errors import (
    DeserializationError,
    MessageInvalid,
    PerdureError,
    RegistrationError,
    UpdateTimeout,
    UpdateUnanswered,
)
from perdure.values import decode_exception


class Answer(NamedTuple):
    """How to wait for the answer of an update, and what to make of its entry."""

    wanted: Wanted[bytes]
    value: Callable[[bytes], Any]


def add_validator(definition: Definition, name: str, function: Callable[..., Any]) -> None:
    """Register what may refuse the updates of one name.

    Raises:
        RegistrationError: it is no plain function, or there is one already.
    """
    check_reader(definition, function, "update_validator")
    older = definition.validators.get(name)
    if older is not None and not is_redefinition(older, function):
        raise RegistrationError(
            f"Workflow {definition.name!r} has a validator of update {name!r} already. Let one "
            "function check everything."
        )
    definition.validators[name] = function


def ask_update(
    client: Client,
    key: InvocationKey,
    asked: tuple[str, object, str],
    type_: Any,
    timeout: float | None,
) -> Answer:
    """Validate and send an update; what it gives waits for the answer.

    Raises:
        PerdureError: why it was not sent; so does what the validator raises.
    """
    name, value, id_ = asked
    refuse_undurable(f"invocation.update({name!r})")
    client.refuse_in_pure(current(), f"Update {name!r} of {key.invocation_id!r}")
    letter = new_letter(client, name, value, id_, letters.UPDATE)
    found = client.find(key.invocation_id)
    if (error := letters.refusal(key, found, letter)) is not None:
        raise error
    record = client.read(key)
    _validate(client, record, letter, repeats=bool(id_))
    sent = letters.send(client.runtime, key, letter)
    if (error := letters.refusal(key, record, letter, sent)) is not None:
        raise error
    # The answer of a new one comes behind what the journal held before it was sent.
    tail = Tail(client, record, from_start=sent is Sent.REPEATED)
    decode = decoder(client, type_, f"answer of update {name!r}")

    def find(now: InvocationRecord) -> bytes | None:
        for entry in tail.more(now):
            if entry.kind == EntryKind.ANSWER and entry.name == letter.letter_id:
                return entry.body
        if now.state in TERMINAL:
            raise UpdateUnanswered(
                f"Workflow {key.invocation_id!r} ended ({now.state}) without answering update "
                f"{name!r} (id {letter.letter_id!r}). Does its code receive updates of this name?"
            )
        return None

    def late(_: InvocationKey, limit: float | None) -> PerdureError:
        return UpdateTimeout(
            f"Workflow {key.invocation_id!r} did not answer update {name!r} within {limit} "
            f"seconds. It is accepted and may be answered still: ask again with "
            f"id={letter.letter_id!r}."
        )

    def value_of(body: bytes) -> Any:
        members = read_body(body)
        if members.error:
            raise for_caller(decode_exception(bytes(members.error), client.types))
        return decode(bytes(members.result))

    return Answer(Wanted(key, find, timeout, late, reads=True), value_of)


def _validate(client: Client, record: InvocationRecord, letter: Letter, *, repeats: bool) -> None:
    """Let the validator look at it, unless it was accepted before: then it is only asked again."""
    validator = client.registry.require(record.name).validators.get(letter.name)
    if validator is None:
        return
    try:
        value = _as_annotated(client, validator, letter)
        refused = look(validator, read_data(client, record.key), (value,), {})
    except Exception:
        if repeats and _was_accepted(client, record, letter.letter_id):
            return
        raise
    if refused is not None:
        raise RegistrationError(
            f"The validator of update {letter.name!r} returned {refused!r}, so it is not clear "
            "whether it accepts. Let it raise to refuse, and return nothing to accept. Nothing "
            "was sent."
        )


def _as_annotated(client: Client, validator: Callable[..., Any], letter: Letter) -> object:
    """The value as the second parameter of the validator is annotated."""
    names = list(inspect.signature(validator).parameters)[1:2]
    hints = typing.get_type_hints(validator) if names else {}
    annotation = next((hints.get(name, Any) for name in names), Any)
    try:
        return decoder(client, annotation, f"update {letter.name!r}")(letter.body)
    except DeserializationError as error:
        raise MessageInvalid(f"{error} Nothing was sent.") from error


def _was_accepted(client: Client, record: InvocationRecord, letter_id: str) -> bool:
    """Whether it waits in the inbox or was delivered; looked at in the order in which it moves."""
    backend = client.runtime.backend
    inbox = backend.read_inbox(record.key)
    if any(row.letter is not None and row.letter.letter_id == letter_id for row in inbox):
        return True
    return any(
        entry.kind == EntryKind.UPDATE and entry.key == letter_id
        for entry in backend.read_journal(record.key)
    )
