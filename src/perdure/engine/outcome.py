"""The bodies of journal entries: small JSON objects whose members are values encoded elsewhere.

Values are embedded as they are (they are JSON texts already) and taken out again as raw bytes, so
nothing is encoded or decoded twice.
"""

from __future__ import annotations

from hashlib import blake2b

import msgspec

from perdure.backends.base import Finish, InvocationRecord, Transition
from perdure.backends.endings import deadline_of, told
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import InvocationState
from perdure.core.reading import UNREADABLE
from perdure.engine.cancellation import UNEXPLAINED
from perdure.errors import (
    BodyDied,
    Cancelled,
    DeadlinePassed,
    DeadlineReached,
    DeserializationError,
    ExecutorUnavailable,
    InternalError,
    InvocationCancelled,
    JournalCorrupted,
)
from perdure.values import fingerprint, is_record_of, message_of, notes_of, without_traceback

_NOTHING = msgspec.Raw(b"")


class Body(msgspec.Struct):
    """Every member any entry body may have. Absent ones stay empty, which no JSON value is.

    Attributes:
        arguments: encoded arguments of a call.
        result: encoded value; error: encoded exception. Never both.
        id, generation: an invocation.
        due: microseconds since 1970 UTC.
        asks: the outcome is not known, and the task of this name is called next to find out.
    """

    arguments: msgspec.Raw = _NOTHING
    result: msgspec.Raw = _NOTHING
    error: msgspec.Raw = _NOTHING
    id: str = ""
    generation: int = 0
    due: int = 0
    asks: str = ""


_decode = msgspec.json.Decoder(Body).decode
_encode = msgspec.json.Encoder().encode


def read_body(body: bytes) -> Body:
    """Take the members of an entry body apart.

    Raises:
        JournalCorrupted: it is not such an object (the chain was intact, so a bug wrote it).
    """
    try:
        return _decode(body)
    except UNREADABLE as error:
        raise JournalCorrupted(
            f"An entry body cannot be read ({error}): {body[:200]!r}. Restore a backup."
        ) from error


class Returned(msgspec.Struct, frozen=True):
    """A body or function returned. `value` is the decoded round trip of `body`."""

    body: bytes
    value: object


class Raised(msgspec.Struct, frozen=True):
    """A body or function raised. `error` is what it raised, `body` the record of it."""

    body: bytes
    error: BaseException
    final: bool = False
    """No other attempt: it cannot help (an unrecordable result), or the policy wants none."""


Outcome = Returned | Raised


class Later:
    """What a body returns that leaves its task open, to be completed from outside."""

    def __repr__(self) -> str:
        """As it is spelled."""
        return "wf.complete_later()"


LATER = Later()
"""The only one. A body that returned it has `Returned(b"", LATER)` as its outcome."""


class Unfinished(msgspec.Struct, frozen=True):
    """A body has no outcome: it could not be run where it should, or its process died under it."""

    error: ExecutorUnavailable | BodyDied

    @property
    def may_have_begun(self) -> bool:
        """Whether it is not certain that no line of it ran."""
        return isinstance(self.error, BodyDied)


def outcome_body(outcome: Outcome, arguments: bytes = b"", asks: str = "") -> bytes:
    """The entry body of an ended call, with its arguments in front when given."""
    member = b'"result":' if isinstance(outcome, Returned) else b'"error":'
    if asks:
        member = b'"asks":' + _encode(asks) + b"," + member
    if arguments:
        return b'{"arguments":' + arguments + b"," + member + outcome.body + b"}"
    return b"{" + member + outcome.body + b"}"


def invocation_body(key: InvocationKey, arguments: bytes = b"") -> bytes:
    """The entry body that names an invocation, with its arguments when given."""
    named = _encode({"id": key.invocation_id, "generation": key.generation})
    if arguments:
        return b'{"arguments":' + arguments + b"," + named[1:]
    return named


def outcome_token(key: InvocationKey, epoch: int, finish: Finish) -> bytes:
    """The token of the commit that ends an invocation: a seal over its outcome.

    It names the commit as any token does (one epoch ends an invocation once), and as the row keeps
    the token of its last commit, an outcome that was changed afterwards does not match it.
    """
    content = msgspec.msgpack.encode((*key, epoch, finish.state.value, finish.outcome))
    return blake2b(content, digest_size=16, person=b"perdure-result").digest()


def end_digest(outcome: bytes, *, failed: bool) -> bytes:
    """The body of the entry that ends a workflow: a digest of its outcome, as JSON.

    Without the traceback of a failure: lines and paths may change without any difference.
    """
    told = without_traceback(outcome) if failed else outcome
    return f'"{blake2b(told, digest_size=16, person=b"perdure-outcome").hexdigest()}"'.encode()


def recorded_outcome(record: InvocationRecord) -> bytes | None:
    """The outcome of an ended invocation, checked; None if it has none.

    Raises:
        JournalCorrupted: its bytes are not those that were recorded.
    """
    outcome = record.outcome
    if outcome is None:
        return None
    seal = outcome_token(record.key, record.epoch, Finish(record.state, outcome))
    if seal != record.last_token:
        raise JournalCorrupted(
            f"The outcome of {record.key.invocation_id!r} (generation {record.key.generation}) "
            "does not match its seal. Its bytes were changed after they were written. Restore the "
            "database from a backup; the damaged value was not used."
        )
    return outcome


def ended_by(record: InvocationRecord, end: Transition) -> InvocationRecord:
    """What a row became by the commit that ended it, as far as its outcome goes."""
    finish = end.disposition
    if not isinstance(finish, Finish):
        raise InternalError(f"{end.key.invocation_id!r} did not end by a commit that was its end.")
    return msgspec.structs.replace(
        record,
        state=finish.state,
        outcome=finish.outcome,
        epoch=end.epoch,
        last_token=end.token,
    )


def recorded_arguments(record: InvocationRecord) -> bytes:
    """The arguments of an invocation, checked against their fingerprint.

    Raises:
        JournalCorrupted: they are not those that it was started with.
    """
    try:
        found = fingerprint(record.arguments)
    except (DeserializationError, TypeError):  # no bytes at all, in a damaged file
        found = b""
    # The id of the call stands beside them, and the name elsewhere: another row's would differ.
    if found != record.fingerprint or record.call_id != f"{record.name}:{found.hex()}":
        raise JournalCorrupted(
            f"The arguments of {record.key.invocation_id!r} (generation {record.key.generation}) "
            "do not match their fingerprint. Their bytes were changed after they were written. "
            "Restore the database from a backup; the damaged arguments were not used."
        )
    return record.arguments


def ended_as(key: InvocationKey, state: InvocationState, reason: str) -> str:
    """What the outcome of an invocation says that was ended from outside of it."""
    return f"Invocation {key.invocation_id!r} was {state.value}{f': {reason}' if reason else '.'}"


def reason_of(record: InvocationRecord, outcome: bytes) -> str:
    """Why it was cancelled or terminated, as whoever did it said; "" if they did not say.

    Raises:
        DeserializationError: the bytes are damaged.
    """
    from asyncio import CancelledError  # noqa: PLC0415 - 50 ms, for who asks after a cancellation

    # An async workflow ends with what asyncio raised in it.
    if not (is_record_of(outcome, Cancelled) or is_record_of(outcome, CancelledError)):
        return ""
    message = message_of(outcome)
    nothing = ended_as(record.key, record.state, "")
    if message in {UNEXPLAINED, nothing}:
        return ""
    return message.removeprefix(f"{nothing.removesuffix('.')}: ")


def ended_early(record: InvocationRecord) -> InvocationCancelled:
    """What is raised for who wants the result of a cancelled or terminated invocation.

    With the notes of what ended it: they say what was undone.

    Raises:
        JournalCorrupted: as `recorded_outcome`.
    """
    outcome = recorded_outcome(record) or b""
    if outcome and is_record_of(outcome, DeadlinePassed):
        deadline = deadline_of(record.options, record.created_at)
        error: InvocationCancelled = DeadlineReached(
            f"Workflow {record.key.invocation_id!r} did not end by its deadline"
            f"{'' if deadline is None else f', {told(deadline)}'}, so it was cancelled and "
            "has no result."
        )
    else:
        reason = reason_of(record, outcome) if outcome else ""
        error = InvocationCancelled(
            f"Invocation {record.key.invocation_id!r} was {record.state}, so it has no result."
            f"{f' Reason: {reason}' if reason else ''}"
        )
    for note in notes_of(outcome) if outcome else []:
        error.add_note(note)
    return error


def due_body(due: int, error: bytes = b"") -> bytes:
    """The entry body of a timer, or of a failed attempt with its error."""
    head = b'{"due":' + str(due).encode()
    return head + b',"error":' + error + b"}" if error else head + b"}"
