"""Starts of other invocations, for any worker."""

from __future__ import annotations

import msgspec

from perdure.backends.base import InvocationRecord, NewInvocation
from perdure.core.draws import derive_id
from perdure.core.entries import EntryKind
from perdure.core.identity import InvocationKey
from perdure.core.journal import Command, Draft
from perdure.core.reading import read_memo
from perdure.engine.conflicts import conflict
from perdure.engine.effects import Call, Find, Flow, Flush, Now, StartNow
from perdure.engine.flows.place import Place, begin, check_arguments, name_of, stage
from perdure.engine.outcome import (
    Outcome,
    Raised,
    Returned,
    invocation_body,
    outcome_body,
    read_body,
)
from perdure.errors import InternalError


def start(place: Place, call: Call, wanted: NewInvocation) -> Flow[Outcome]:
    """Start an invocation for any worker; gives its key as (id, generation).

    Args:
        wanted: what to start. An empty `invocation_id` gets one derived from this place.

    The child, the entry and its queue row are one transaction. A user-given id that exists with
    the same input is linked to; with other input the recorded outcome is a `StartConflict`.
    """
    name = name_of(call, place.journal.ahead(place.scope))
    command = begin(place, EntryKind.START, "start", name)
    if (entry := command.recorded) is not None:
        members = read_body(entry.body)
        check_arguments(place, entry, call, bytes(members.arguments))
        place.scope.event(entry.at)
        if members.error:
            error = bytes(members.error)
            return Raised(error, place.rebuilt(error))
        key = InvocationKey(members.id, members.generation)
        return Returned(entry.body, key)
    given = wanted.invocation_id
    if given:
        yield Flush()
    scope, ordinal = command.place
    derived = derive_id(place.journal.seed, "start", scope, str(ordinal))
    invocation_id = given or place.beside(derived)
    new = msgspec.structs.replace(wanted, invocation_id=invocation_id)
    at: int = yield Now()
    outcome = yield from _insert_or_link(place, command, call, new, at, given=bool(given))
    place.scope.event(at)
    return outcome


def _insert_or_link(
    place: Place, command: Command, call: Call, new: NewInvocation, at: int, *, given: bool
) -> Flow[Outcome]:
    """Insert the child, or link to what has its id; the backend decides a race between the two."""
    key = InvocationKey(new.invocation_id, 1)
    existing: InvocationRecord | None = None
    if given and place.is_spread:
        # It may live on another server, so it is started before this is recorded. Everything
        # before it is durable: whoever repeats this asks for the same start and finds it.
        existing = yield StartNow(new)
    elif given:
        existing = yield Find(new.invocation_id)
    while True:
        outcome: Outcome
        if existing is None:
            outcome = Returned(b"", key)
            body = invocation_body(key, call.arguments)
            place.add_child(new)
        elif existing.app != new.app:
            outcome = place.raised(conflict(existing, new))
            body = outcome_body(outcome, call.arguments)
        elif existing.name in call.function.names and (
            existing.fingerprint == new.fingerprint
            or call.function.same_arguments(existing.arguments, new.arguments)
        ):
            key = existing.key
            outcome = Returned(b"", key)
            body = invocation_body(key, call.arguments)
        else:
            outcome = place.raised(conflict(existing, new))
            body = outcome_body(outcome, call.arguments)
        stage(place, command, body, at, call.digest)
        if (yield Flush()):
            return outcome
        place.journal.unstage()
        existing = yield Find(new.invocation_id)


def execute_task(place: Place, call: Call, wanted: NewInvocation) -> Flow[Outcome]:
    """One invocation per `call_id` within the workflow, whichever branch asks first."""
    memo_key = f"task_invocation:{call.call_id}"
    journal = place.journal
    child = journal.memos.get(memo_key)
    if child is None:
        child = yield from _memo_of_older_signature(place, call)
    if child is None:
        child = place.beside(derive_id(journal.seed, "memo", call.call_id))
        at: int = yield Now()
        draft = Draft(
            EntryKind.MEMO,
            "",
            0,
            memo_key,
            call.function.name,
            call.digest,
            msgspec.json.encode(child),
            b"{}",
            at,
        )
        journal.stage(draft)
        place.add_child(msgspec.structs.replace(wanted, invocation_id=child))
        if not (yield Flush()):
            raise InternalError(f"The derived id of {memo_key!r} is taken. Please report this.")
    journal.memos[memo_key] = child
    journal.unclaimed_memos.pop(memo_key, None)
    return Returned(b"", InvocationKey(child, 1))


def _memo_of_older_signature(place: Place, call: Call) -> Flow[str | None]:
    """A recorded call that is this one but for parameters that are new and at their default.

    Only memos of earlier runs that nobody has asked for in this one can be meant; unless the
    signature changed there are next to none of them when a call is new.
    """
    unclaimed = place.journal.unclaimed_memos
    for key, entry in list(unclaimed.items()):
        if entry.name not in call.function.names:
            continue
        child = read_memo(entry)
        record: InvocationRecord | None = yield Find(child)
        if record is not None and call.function.same_arguments(record.arguments, call.arguments):
            unclaimed.pop(key, None)
            return child
    return None
