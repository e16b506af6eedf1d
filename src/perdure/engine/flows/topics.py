"""Topics in workflows: to emit, to see how far a topic is, to wait for one of its emits."""

from __future__ import annotations

import msgspec

from perdure.core.divergence import describe_arguments
from perdure.core.draws import derive_id
from perdure.core.entries import EntryKind
from perdure.core.identity import InvocationKey
from perdure.core.journal import Command
from perdure.engine.effects import (
    CountEmits,
    EmitNow,
    Emitted,
    Flow,
    Flush,
    Now,
    OpenEmit,
    Wait,
    WaitAny,
)
from perdure.engine.flows.messages import TIMED_OUT
from perdure.engine.flows.place import (
    DecodeResult,
    Place,
    begin,
    delivered,
    recorded_outcome,
    stage,
)
from perdure.engine.flows.waits import timer
from perdure.engine.outcome import (
    Outcome,
    Raised,
    Returned,
    invocation_body,
    outcome_body,
    read_body,
)
from perdure.errors import (
    DeserializationError,
    Divergence,
    MessageInvalid,
    PerdureError,
    ReceiveTimeout,
)
from perdure.values import fingerprint

_read_emitted = msgspec.json.Decoder(Emitted).decode
_read_count = msgspec.json.Decoder(int).decode


def emit(place: Place, topic: str, body: bytes, id_: str, *, once: bool) -> Flow[Outcome]:
    """Emit a value, once. As a message, it leaves when all before it is durable."""
    command = begin(place, EntryKind.SEND, "emit", topic)
    asked = b'{"once":' + (b"true" if once else b"false") + b',"value":' + body + b"}"
    digest = fingerprint(asked)
    if (entry := command.recorded) is not None:
        members = read_body(entry.body)
        if entry.digest != digest:
            then, was = place.journal.line_of(entry), bytes(members.arguments)
            raise Divergence(describe_arguments(place.key, entry, then, was, asked, place.line()))
        place.scope.event(entry.at)
        return recorded_outcome(place, members, _read_emitted)
    scope, ordinal = command.place
    emit_id = id_ or derive_id(place.journal.seed, "emit", scope, str(ordinal))
    yield Flush()
    told: Emitted | PerdureError = yield EmitNow(topic, emit_id, body, once)
    return (yield from _observed(place, command, told, asked, digest))


def count_emits(place: Place, topic: str) -> Flow[Outcome]:
    """How many emits the topic has now, recorded."""
    command = begin(place, EntryKind.RECORD, "listen", topic)
    if (entry := command.recorded) is not None:
        place.scope.event(entry.at)
        return recorded_outcome(place, read_body(entry.body), _read_count)
    told: int | PerdureError = yield CountEmits(topic)
    return (yield from _observed(place, command, told))


def _observed(
    place: Place,
    command: Command,
    told: Emitted | int | PerdureError,
    asked: bytes = b"",
    digest: bytes = b"",
) -> Flow[Outcome]:
    """Record what the topic told."""
    outcome: Outcome
    if isinstance(told, PerdureError):
        outcome = place.raised(told)
    else:
        outcome = Returned(msgspec.json.encode(told), told)
    at: int = yield Now()
    stage(place, command, outcome_body(outcome, asked), at, digest, observed=True)
    place.scope.event(at)
    return outcome


def receive_emit(
    place: Place, topic: str, number: int, decode: DecodeResult, timeout: int | None
) -> Flow[Outcome]:
    """Wait for an emit, durably; `TIMED_OUT` is the value when it did not come in time.

    It is made something that can be waited for before that is recorded: nothing is lost if it is
    emitted in between, nor if a crash forgets who wanted to wait.
    """
    command = begin(place, EntryKind.WATCH, "receive_topic", f"{topic} {number}")
    if (entry := command.recorded) is not None:
        members = read_body(entry.body)
        if members.error:
            place.scope.event(entry.at)
            return recorded_outcome(place, members, decode)
        key = InvocationKey(members.id, members.generation)
    else:
        opened: InvocationKey | PerdureError = yield OpenEmit(topic, number)
        at: int = yield Now()
        if isinstance(opened, PerdureError):
            outcome = place.raised(opened)
            stage(place, command, outcome_body(outcome), at, observed=True)
            place.scope.event(at)
            return outcome
        key = opened
        # No event for the workflow clock, for it is not durable before the next task body.
        stage(place, command, invocation_body(key), at)
        place.add_watch(key)
    wanted = Wait(source=key)
    limit = None if timeout is None else (yield from timer(place, timeout))
    yield WaitAny((wanted,) if limit is None else (wanted, limit))
    if limit is not None and not wanted.satisfied:
        place.scope.event(delivered(limit).at)
        return Returned(b"null", TIMED_OUT)
    delivery = delivered(wanted)
    place.scope.event(delivery.at)
    try:
        return recorded_outcome(place, read_body(delivery.body), decode)
    except DeserializationError as error:
        return _invalid(place, topic, delivery.body, error)


def _invalid(place: Place, topic: str, body: bytes, error: DeserializationError) -> Raised:
    shown = bytes(read_body(body).result)[:200].decode("utf-8", "replace")
    return place.raised(
        MessageInvalid(
            f"Workflow {place.key.invocation_id!r} got an emit to topic {topic!r} that does not "
            f"fit: {error} It is: {shown} Emit one of the type that is listened for; this one "
            "stays what it is."
        )
    )


def not_emitted(place: Place, topic: str, number: int, timeout: int) -> ReceiveTimeout:
    """What is raised when an emit did not come in time."""
    return ReceiveTimeout(
        f"Workflow {place.key.invocation_id!r} waited {timeout / 1e6} seconds for emit {number} of "
        f"topic {topic!r}, which did not come. Give it a default=, or catch this."
    )
