"""A direct task call: its attempts here, or its start on a queue."""

from __future__ import annotations

from typing import cast

from perdure.backends.base import NewInvocation
from perdure.core.draws import derive_id
from perdure.core.entries import Entry, EntryKind
from perdure.core.identity import InvocationKey
from perdure.core.journal import Command
from perdure.engine.effects import Call, Flow, Flush, Now, RunBody, Wait, WaitAny
from perdure.engine.flows.invocations import start
from perdure.engine.flows.place import (
    MICROSECONDS,
    Place,
    check_arguments,
    delivered,
    name_of,
    note,
    recorded_outcome,
    stage,
)
from perdure.engine.flows.waits import result
from perdure.engine.outcome import Outcome, Raised, Returned, due_body, outcome_body, read_body


def call_task(place: Place, call: Call, queued: NewInvocation | None = None) -> Flow[Outcome]:
    """Run a task, record its outcome, and give it; on replay, give the record.

    Args:
        queued: what to start, for a task that names a queue or a key: it is started there and
            waited for. Else the body runs in this worker.

    At least once: a crash between the body and its record runs the body again. After its outcome is
    durable it never runs again. What is recorded decides, so a task may get or lose its queue while
    workflows that called it are under way. The outcome of a pure task may be given before it is
    durable: it is before a body that is not pure starts, and before anything leaves the workflow.
    """
    ahead = place.journal.ahead(place.scope)
    on_queue = queued is not None if ahead is None else ahead.kind == EntryKind.START
    if on_queue:
        return _call_on_queue(place, call, queued)
    return _call_afresh(place, call) if ahead is None else _call_again(place, call, ahead)


def _call_again(place: Place, call: Call, entry: Entry) -> Flow[Outcome]:
    """Give what is recorded of a call that ended, when its turn comes."""
    journal = place.journal
    name = call.function.name if entry.name == call.function.name else name_of(call, entry)
    command = journal.begin(place.scope, EntryKind.TASK, "task", name, place.line)
    members = read_body(entry.body)
    arguments = bytes(members.arguments)
    if arguments != call.arguments:
        check_arguments(place, entry, call, arguments)
    # A sync workflow has nobody else to wake, so what comes next needs no waiting. Branches of an
    # async one have to go on in the order of the journal.
    if place.is_async or not journal.take(entry):
        wait = Wait(place=command.place)
        yield WaitAny((wait,))
        entry = delivered(wait)
    place.scope.event(entry.at)
    return recorded_outcome(place, members, call.function.decode_result)


def _call_on_queue(place: Place, call: Call, queued: NewInvocation | None) -> Flow[Outcome]:
    started: Outcome = yield from start(place, call, queued or place.template)
    if isinstance(started, Raised):
        return started
    key = cast("InvocationKey", started.value)
    return (yield from result(place, key, call.function.decode_result, None))


def _call_afresh(place: Place, call: Call) -> Flow[Outcome]:
    """Run the body of a call that is not recorded, and wait until its outcome is."""
    name = call.function.name
    command = place.journal.begin(place.scope, EntryKind.TASK, "task", name, place.line)
    try:
        fresh: Outcome = yield from _attempts(place, command, call)
    except BaseException:
        _drop(place, command, call)
        raise
    wait = Wait(place=command.place)
    yield WaitAny((wait,))
    delivery = delivered(wait)
    place.scope.event(delivery.at)
    if isinstance(fresh, Returned):
        return fresh
    return recorded_outcome(place, read_body(delivery.body), call.function.decode_result)


def _drop(place: Place, command: Command, call: Call) -> None:
    """The workflow itself cancelled the call (asyncio.timeout, Task.cancel) while it ran.

    The command keeps its place, or the next one of this scope would be taken for it on replay.
    """
    if not place.halted:
        command.kind = EntryKind.DROPPED
        body = b'{"arguments":' + call.arguments + b"}"
        stage(place, command, body, place.scope.clock, call.digest)


def _attempts(place: Place, command: Command, call: Call) -> Flow[Outcome]:
    """Run attempts until one succeeds or the policy gives up; stages the final entry."""
    notes = command.notes
    failed = [note for note in notes if note.kind == EntryKind.ATTEMPT] if notes else []
    pause = read_body(failed[-1].body).due if failed else 0
    number, pure = len(failed), call.function.pure
    while True:
        number += 1
        if pause:
            yield WaitAny((Wait(due=pause),))
        careful = place.careful
        if careful:
            at: int = yield Now()
            note(place, command, EntryKind.BEGAN, b"{}", at)
            yield Flush()
        elif place.journal.observed or (place.journal.deferred and not pure):
            yield Flush()
        outcome: Outcome = yield RunBody(call, command.place, place.scope.clock)
        at = yield Now()
        if isinstance(outcome, Returned):
            break
        delay = _retry_delay(place, command, call, outcome, number)
        if delay is None:
            break
        pause = at + delay
        note(place, command, EntryKind.ATTEMPT, due_body(pause, outcome.body), at)
        yield Flush()
    if place.careful:
        place.progressed()
    # A body that began on record ends on record, or the next crash would be counted against it.
    held = pure and not careful
    stage(place, command, outcome_body(outcome, call.arguments), at, call.digest, held=held)
    return outcome


def _retry_delay(
    place: Place, command: Command, call: Call, outcome: Raised, number: int
) -> int | None:
    """Microseconds before the next attempt, or None when this outcome is final."""
    if outcome.final:
        return None
    chance_id = derive_id(place.journal.seed, "retry", command.key, str(number))
    chance = int(chance_id, 16) / 2.0**128
    delay = call.function.retry.delay_after(number, chance)
    return None if delay is None else int(delay * MICROSECONDS)
