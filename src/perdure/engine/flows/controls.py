"""One invocation cancels or terminates another."""

from __future__ import annotations

import msgspec

from perdure.core.divergence import describe_arguments
from perdure.core.entries import EntryKind
from perdure.core.identity import InvocationKey
from perdure.engine.cancellation import Cancellation, ControlName
from perdure.engine.effects import ControlNow, Flow, Flush, Now
from perdure.engine.flows.place import Place, begin, recorded_outcome, stage
from perdure.engine.outcome import Outcome, Returned, outcome_body, read_body
from perdure.errors import Divergence, PerdureError
from perdure.values import fingerprint


def control(
    place: Place, what: ControlName, key: InvocationKey, asked: Cancellation
) -> Flow[Outcome]:
    """Cancel or terminate another invocation, once.

    Everything before it is durable when it happens. Repeated after a crash it asks the same again,
    which changes nothing more.
    """
    target = f"{key.invocation_id}#{key.generation}"
    command = begin(place, EntryKind.SEND, what, target)
    body = msgspec.json.encode(asked)
    digest = fingerprint(body)
    if (entry := command.recorded) is not None:
        members = read_body(entry.body)
        if entry.digest != digest:
            then, was = place.journal.line_of(entry), bytes(members.arguments)
            raise Divergence(describe_arguments(place.key, entry, then, was, body, place.line()))
        place.scope.event(entry.at)
        return recorded_outcome(place, members, lambda _: None)
    yield Flush()
    error: PerdureError | None = yield ControlNow(what, key, asked)
    outcome = Returned(b"null", None) if error is None else place.raised(error)
    at: int = yield Now()
    stage(place, command, outcome_body(outcome, body), at, digest, observed=True)
    place.scope.event(at)
    return outcome
