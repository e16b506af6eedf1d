"""Tasks that end from outside: what a body leaves behind, and the tokens that end it."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping

import msgspec

from perdure.backends.base import Finish, InvocationRecord
from perdure.core.draws import derive_id
from perdure.core.identity import InvocationKey, read_key
from perdure.core.lifecycle import InvocationState
from perdure.core.reading import UNREADABLE
from perdure.engine import control
from perdure.engine.outcome import recorded_outcome
from perdure.engine.runtime import Runtime
from perdure.errors import (
    AlreadyCompleted,
    InvalidIdentifier,
    InvalidToken,
    InvocationEnded,
    JournalCorrupted,
    TaskTimeout,
)

LEFT_OPEN = "perdure:left_open"
"""Under this name the data of a task say that its body came to its end, in which attempt."""
_PREFIX = "perdure-"
_CHECK_BYTES = 16


class LeftOpen(msgspec.Struct, frozen=True):
    """A body has run, and its task waits for its completion.

    Attributes:
        attempt: failed attempts before this one; a note of an earlier attempt counts no more.
        due: when nobody will have completed it, by the state backend's clock; None: never.
    """

    attempt: int
    due: int | None = None


_read_note = msgspec.json.Decoder(LeftOpen).decode
_read_content = msgspec.msgpack.Decoder(tuple[str, int]).decode


def left_open(record: InvocationRecord, data: Mapping[str, bytes]) -> LeftOpen | None:
    """What the body of the present attempt left behind, or None if it has not come to its end.

    Raises:
        JournalCorrupted: the note cannot be read.
    """
    body = data.get(LEFT_OPEN)
    if body is None:
        return None
    try:
        note = _read_note(body)
    except UNREADABLE as error:
        raise JournalCorrupted(
            f"What the open task {record.key.invocation_id!r} left behind cannot be read "
            f"({error}): {body[:200]!r}. Restore a backup."
        ) from error
    return note if note.attempt == record.attempts else None


def nobody_completed(task: str, seconds: float | None) -> TaskTimeout:
    """The failure of an attempt that was left open for too long."""
    return TaskTimeout(
        f"Task {task!r} was left open, and nobody completed it within {seconds} seconds. Whoever "
        "has its token may be late or gone; raise timeout=, or let a retry ask again."
    )


# --- tokens ---------------------------------------------------------------------------------------


def token_of(key: InvocationKey, seed: bytes) -> str:
    """The text that ends this invocation: it names it, and proves that one was told.

    The proof follows from the seed and so from the store's random id; nobody computes it from the
    id of the invocation.
    """
    content = bytes.fromhex(_check_of(seed)) + msgspec.msgpack.encode(tuple(key))
    return _PREFIX + base64.urlsafe_b64encode(content).decode().rstrip("=")


def _check_of(seed: bytes) -> str:
    return derive_id(seed, "completion")


def read_token(token: object) -> InvocationKey:
    """Which invocation a token names; whether it may is another question.

    Raises:
        InvalidToken: it is no token.
    """
    try:
        return read_key(_read_content(_content(token)[_CHECK_BYTES:]))
    except (ValueError, msgspec.MsgspecError, InvalidIdentifier):
        raise _invalid() from None


def _content(token: object) -> bytes:
    """Its bytes.

    Raises:
        ValueError: it is no token.
    """
    if not isinstance(token, str) or not token.startswith(_PREFIX):
        raise ValueError
    text = token.removeprefix(_PREFIX)
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars="-_", validate=True)
    except binascii.Error as error:
        raise ValueError from error


def proven(token: str, record: InvocationRecord | None) -> InvocationRecord:
    """The record that a token names, if the token was made for it.

    Raises:
        InvalidToken: there is no such invocation, or the proof is wrong; which, is not told.
    """
    if record is None or not hmac.compare_digest(
        token.encode(), token_of(record.key, record.seed).encode()
    ):
        raise _invalid()
    return record


def _invalid() -> InvalidToken:
    # Without the token: a truncated one may be most of a good one, and logs are read by many.
    return InvalidToken(
        "This is no completion token of a task of this app in this state backend. Use the whole "
        "text that wf.completion_token() gave in the body of the task, unchanged, and the same "
        "database."
    )


# --- completing -----------------------------------------------------------------------------------


def complete(runtime: Runtime, record: InvocationRecord, finish: Finish) -> None:
    """End a task from outside. Durable when it returns, with the wake-up of whoever waits for it.

    Raises:
        AlreadyCompleted, InvocationEnded: it has ended; nothing changed.
        CommitUnknown: it may be completed; doing it again is safe.
    """
    if control.end_with(runtime, record, finish):
        return
    ended = runtime.backend.read(*record.key) or record
    raise _ended(runtime, ended, finish)


def _ended(runtime: Runtime, record: InvocationRecord, finish: Finish) -> InvocationEnded:
    named = f"Task {record.name!r} ({record.key.invocation_id!r})"
    if record.state not in {InvocationState.COMPLETED, InvocationState.FAILED}:
        return InvocationEnded(f"{named} was {record.state}; nobody waits for its completion.")
    outcome = recorded_outcome(record) or b"null"
    same = (record.state, outcome) == (finish.state, finish.outcome)
    how = "completed"
    if record.state is InvocationState.FAILED:
        how = f"failed with {type(runtime.bodies.rebuilt(outcome)).__name__}"
    told = "with the very same outcome" if same else "with another outcome"
    return AlreadyCompleted(
        f"{named} has {how} already, {told}; what was recorded first stays.",
        state=record.state.value,
        finished_at=record.finished_at or 0,
        same=same,
    )
