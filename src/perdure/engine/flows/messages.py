"""Messages between workflows and the world: sending one, and waiting for one."""

from __future__ import annotations

from perdure.backends.base import InvocationRecord
from perdure.backends.letters import Letter, Sent
from perdure.core.divergence import describe_arguments
from perdure.core.draws import derive_id
from perdure.core.entries import Entry, EntryKind
from perdure.core.identity import InvocationKey
from perdure.engine.effects import Find, Flow, Flush, Now, SendNow, Wait, WaitAny
from perdure.engine.flows.place import (
    DecodeResult,
    Place,
    begin,
    delivered,
    recorded_outcome,
    stage,
)
from perdure.engine.flows.records import tell
from perdure.engine.flows.waits import timer
from perdure.engine.letters import MESSAGE, refusal
from perdure.engine.outcome import Outcome, Raised, Returned, end_digest, outcome_body, read_body
from perdure.errors import DeserializationError, Divergence, MessageInvalid, ReceiveTimeout
from perdure.values import fingerprint

TIMED_OUT = object()
"""The value of a `receive` whose time was over."""


def send(place: Place, key: InvocationKey, name: str, body: bytes, id_: str) -> Flow[Outcome]:
    """Send a message to another invocation, once.

    Everything before it is durable when it leaves. Whoever repeats it after a crash sends the same
    id, which is accepted once.
    """
    target = f"{key.invocation_id}#{key.generation}"
    command = begin(place, EntryKind.SEND, "send", target)
    digest = fingerprint(b'{"name":"' + name.encode() + b'","value":' + body + b"}")
    if (entry := command.recorded) is not None:
        members = read_body(entry.body)
        if entry.digest != digest:
            then, was = place.journal.line_of(entry), bytes(members.arguments)
            raise Divergence(describe_arguments(place.key, entry, then, was, body, place.line()))
        place.scope.event(entry.at)
        return recorded_outcome(place, members, lambda _: None)
    scope, ordinal = command.place
    letter_id = id_ or derive_id(place.journal.seed, "send", scope, str(ordinal))
    letter = Letter(kind=MESSAGE, name=name, letter_id=letter_id, body=body)
    yield Flush()
    found: InvocationRecord | None = yield Find(key.invocation_id)
    error = refusal(key, found, letter)
    if error is None:
        sent: Sent = yield SendNow(key, letter)
        error = refusal(key, found, letter, sent)
    outcome = Returned(b"null", None) if error is None else place.raised(error)
    at: int = yield Now()
    stage(place, command, outcome_body(outcome, body), at, digest, observed=True)
    place.scope.event(at)
    return outcome


def receive(place: Place, name: str, decode: DecodeResult, timeout: int | None) -> Flow[Outcome]:
    """Take the oldest message of this name that nobody took, or wait for one.

    A message is taken in journal order by the operation that asked first. `TIMED_OUT` is the value
    when none came within `timeout` microseconds.
    """
    delivery = yield from _take(place, EntryKind.MESSAGE, "receive", name, timeout)
    if delivery is None:
        return Returned(b"null", TIMED_OUT)
    try:
        return recorded_outcome(place, read_body(delivery.body), decode)
    except DeserializationError as error:
        return _invalid(place, name, delivery.body, error)


def receive_update(place: Place, name: str, timeout: int | None) -> Flow[Outcome]:
    """Take the oldest update of this name that nobody took, or wait for one, as `receive` does.

    The value is the delivery, or `TIMED_OUT`.
    """
    delivery = yield from _take(place, EntryKind.UPDATE, "receive_update", name, timeout)
    return Returned(b"null", TIMED_OUT if delivery is None else delivery)


def answer(place: Place, letter_id: str, outcome: Outcome) -> Flow[Outcome]:
    """Answer an update that was taken, with the next commit."""
    digest = end_digest(outcome.body, failed=isinstance(outcome, Raised))
    yield from tell(place, EntryKind.ANSWER, "answer", letter_id, outcome_body(outcome), digest)
    return Returned(b"null", None)


def _take(
    place: Place, kind: EntryKind, prefix: str, name: str, timeout: int | None
) -> Flow[Entry | None]:
    """The delivery of the next letter of this kind and name; None when none came in time."""
    command = begin(place, EntryKind.RECEIVE, prefix, name)
    if command.recorded is None:
        # No event for the workflow clock, for it is not durable before the next task body.
        at: int = yield Now()
        stage(place, command, b"null", at)
    wanted = Wait(letter=(kind, name))
    limit = None if timeout is None else (yield from timer(place, timeout))
    yield WaitAny((wanted,) if limit is None else (wanted, limit))
    if limit is not None and not wanted.satisfied:
        place.scope.event(delivered(limit).at)
        return None
    delivery = delivered(wanted)
    place.scope.event(delivery.at)
    return delivery


def _invalid(place: Place, name: str, body: bytes, error: DeserializationError) -> Raised:
    value = bytes(read_body(body).result)
    shown = value[:200].decode("utf-8", "replace")
    return place.raised(
        MessageInvalid(
            f"Workflow {place.key.invocation_id!r} got a message {name!r} that does not fit: "
            f"{error} It was sent as: {shown} It is taken, and stays in the journal. Send one of "
            "the type that receive asks for, or catch this and receive the next."
        )
    )


def timed_out(place: Place, name: str, timeout: int) -> ReceiveTimeout:
    """What `receive` raises when no message came in time."""
    return ReceiveTimeout(
        f"Workflow {place.key.invocation_id!r} got no message {name!r} within {timeout / 1e6} "
        "seconds. Give receive a default=, or catch this."
    )
