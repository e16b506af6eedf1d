"""Operations that record a value of the workflow itself."""

from __future__ import annotations

from collections.abc import Callable

from perdure.core.divergence import describe_arguments
from perdure.core.entries import EntryKind
from perdure.engine.effects import Compute, Flow, Flush, Now
from perdure.engine.flows.place import DecodeResult, Place, begin, recorded_outcome, stage
from perdure.engine.outcome import Outcome, Raised, Returned, outcome_body, read_body
from perdure.errors import Divergence


def record(
    place: Place,
    name: str,
    run: Callable[[], object],
    encode: Callable[[object], tuple[bytes, object]],
    decode: DecodeResult,
    *,
    foreign: bool = True,
) -> Flow[Outcome]:
    """Record what `run` returned or raised, once; it never runs again once that is durable.

    It may run again after a crash before that, so it must not have effects that matter.

    Args:
        foreign: `run` is the user's, who may let out what pure tasks gave: that is durable first.
    """
    command = begin(place, EntryKind.RECORD, name, name)
    if (entry := command.recorded) is not None:
        place.scope.event(entry.at)
        return recorded_outcome(place, read_body(entry.body), decode)
    if foreign and place.journal.deferred:
        yield Flush()
    outcome: Outcome = yield Compute(run, encode)
    at: int = yield Now()
    stage(place, command, outcome_body(outcome), at, observed=True)
    place.scope.event(at)
    if isinstance(outcome, Raised):
        return Raised(outcome.body, place.rebuilt(outcome.body))
    return outcome


def set_data(place: Place, name: str, body: bytes, digest: bytes) -> Flow[Outcome]:
    """Publish a value of the workflow's data with the next commit."""
    if (yield from tell(place, EntryKind.DATA, "data", name, body, digest)):
        place.add_data(name, body)
    return Returned(b"null", None)


def publish(place: Place, name: str, body: bytes, digest: bytes) -> Flow[Outcome]:
    """Append a value to an output stream with the next commit."""
    yield from tell(place, EntryKind.PUBLISH, "publish", name, body, digest)
    return Returned(b"null", None)


def tell(
    place: Place, kind: EntryKind, prefix: str, name: str, body: bytes, digest: bytes
) -> Flow[bool]:
    """Record what the workflow tells the world; True if it is new."""
    command = begin(place, kind, prefix, name)
    if (entry := command.recorded) is not None:
        if entry.digest != digest:
            then = place.journal.line_of(entry)
            raise Divergence(
                describe_arguments(place.key, entry, then, entry.body, body, place.line())
            )
        place.scope.event(entry.at)
        return False
    at: int = yield Now()
    stage(place, command, body, at, digest, observed=True)
    place.scope.event(at)
    return True
