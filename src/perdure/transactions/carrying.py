"""Carries what lies in a user's outbox to the state backend, and sets aside what cannot be carried.

Any number of processes may carry at the same time. Each goes from the oldest row on, and a row is
removed only after it was carried. So whoever carries a row has carried all that were before it, or
others have. What is carried twice is accepted once, by its id.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from perdure.api.client import Client
from perdure.backends.base import NewInvocation
from perdure.backends.letters import Letter
from perdure.core.identity import validate_identifier
from perdure.core.reading import is_json
from perdure.engine import letters
from perdure.errors import (
    BackendError,
    ConfigurationError,
    InvocationNotFound,
    SerializationError,
)
from perdure.transactions.around import Place
from perdure.transactions.outbox import SEND, START, Message
from perdure.transactions.ports import Values
from perdure.transactions.sessions import change, fetch

logger = logging.getLogger("perdure.relay")

PAGE = 100
"""Rows that are read, and removed, at a time."""
REASON_MAX = 2_000
"""Characters of a reason that are stored."""

_start = msgspec.msgpack.Decoder(NewInvocation)
_message = msgspec.msgpack.Decoder(Message)


class SetAside(NamedTuple):
    """What could not be carried.

    Attributes:
        id: for `carry_again` and `discard`.
        kind: "start" or "send".
        target: id of the invocation.
        reason: the error, as text.
    """

    id: int
    kind: str
    target: str
    reason: str


def carry(place: Place, client: Client) -> int:
    """Carry all that is committed, in order; gives how many rows.

    Raises:
        BackendError: the state backend is away. What was not carried stays.
        DatabaseUnavailable: the user's database is.
    """
    door, count = place.sync_door(), 0
    while True:
        rows = fetch(door, "pending", {**_mine(place, client), "count": PAGE})
        done: list[tuple[str, Values]] = []
        try:
            # (One by one, so that what was carried before an outage is removed.)
            done.extend(_settle(client, row) for row in rows)
        finally:
            change(door, done)
        count += sum(name == "carried" for name, _ in done)
        if len(rows) < PAGE:
            return count


def _settle(client: Client, row: Sequence[Any]) -> tuple[str, Values]:
    """Carry one row; gives what is to be done with it then."""
    id_, kind, target = int(row[0]), str(row[1]), str(row[2])
    try:
        _deliver(client, kind, target, bytes(row[3]))
    except BackendError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"[:REASON_MAX]
        logger.exception("outbox row %d (%s of %s) was set aside", id_, kind, target)
        return "set_aside", {"id": id_, "reason": reason}
    return "carried", {"id": id_}


def _deliver(client: Client, kind: str, target: str, body: bytes) -> None:
    if kind == START:
        new = _start.decode(body)
        for letter in new.letters:
            _check(letter)
        if new.app != client.runtime.app_name:
            raise ConfigurationError(f"It is for app {new.app!r}.")
        if (new.parent, new.root, new.workflow) != (None, None, None):
            raise ConfigurationError("It names a parent, and what an outbox starts has none.")
        validate_identifier(new.invocation_id, "id")
        client.start(new, "return")
    elif kind == SEND:
        _send(client, _message.decode(body))
    else:
        raise ConfigurationError(f"{kind!r} for {target!r} is nothing that can be carried.")


def _send(client: Client, message: Message) -> None:
    key, letter = message.key, message.letter
    _check(letter)
    found = client.find(key.invocation_id)
    if found is None:
        raise InvocationNotFound(f"There is no invocation {key.invocation_id!r}.")
    if not key.generation:
        key = found.key
    error = letters.refusal(key, found, letter)
    if error is None:
        error = letters.refusal(key, found, letter, letters.send(client.runtime, key, letter))
    if error is not None:
        raise error


def _check(letter: Letter) -> None:
    """Refuse what no outbox of ours has written: its receiver could not go on with it.

    Raises:
        InvalidIdentifier: its name or id cannot be stored.
        SerializationError: its body is no JSON.
        ConfigurationError: it is no message.
    """
    validate_identifier(letter.name, "the name of a message")
    validate_identifier(letter.letter_id, "the id of a message")
    if letter.kind != letters.MESSAGE:
        raise ConfigurationError(f"A letter of the kind {letter.kind!r} is nothing to be carried.")
    if not is_json(letter.body):
        raise SerializationError(
            f"Message {letter.name!r} is no JSON text: {letter.body[:200]!r}. It was changed after "
            "it was written. Discard it and send it again."
        )


def aside(place: Place, client: Client, limit: int) -> list[SetAside]:
    """What was set aside, oldest first."""
    rows = fetch(place.sync_door(), "aside", {**_mine(place, client), "count": limit})
    return [SetAside(int(row[0]), str(row[1]), str(row[2]), str(row[3])) for row in rows]


def change_aside(place: Place, client: Client, name: str, id_: int) -> bool:
    """Carry again, or discard, one that was set aside; False if there is none with this id."""
    return change(place.sync_door(), [(name, {**_mine(place, client), "id": id_})]) == 1


def _mine(place: Place, client: Client) -> dict[str, object]:
    return {"store": place.store, "app": client.runtime.app_name}
