"""The attempts of one direct task call, until one succeeds or no other is to be made."""

from __future__ import annotations

from typing import TypeGuard

from perdure.core.draws import derive_id
from perdure.core.entries import EntryKind
from perdure.core.journal import Command
from perdure.engine.effects import Call, Flow, Flush, MayBegin, Now, RunBody, Wait, WaitAny
from perdure.engine.flows.place import MICROSECONDS, Place, note, stage
from perdure.engine.outcome import (
    Outcome,
    Raised,
    Returned,
    Unfinished,
    due_body,
    outcome_body,
    read_body,
)
from perdure.errors import OutcomeUnknown, TaskTimeout

PlaceOf = tuple[str, int]


def attempts(place: Place, command: Command, call: Call, about: PlaceOf | None) -> Flow[Outcome]:
    """Run attempts until one succeeds or the policy gives up; stages the final entry."""
    if call.function.once:
        return (yield from _once(place, command, call, about))
    number, pause = _so_far(command)
    pure = call.function.pure
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
        outcome: Outcome = yield RunBody(
            call, command.place, place.scope.clock, about=about, attempt=number
        )
        at = yield Now()
        pause = _again_at(place, command, call, outcome, number, at)
        if not pause:
            break
        yield Flush()
    # A body that began on record ends on record, or the next crash would be counted against it.
    return _ended(place, command, call, outcome, at, held=pure and not careful)


def _once(place: Place, command: Command, call: Call, about: PlaceOf | None) -> Flow[Outcome]:
    """The same for a task whose body must not run again unless its failure is on record.

    Each body is announced, durably, before it begins. An announced body without an outcome may have
    run, by a process that died or by one that is taken for dead and runs still.
    """
    number, pause = _so_far(command)
    if command.notes and command.notes[-1].kind == EntryKind.BEGAN:
        at: int = yield Now()
        return _unknown(place, command, call, "its process or its lease was lost", at)
    while True:
        if pause:
            yield WaitAny((Wait(due=pause),))
        yield MayBegin()
        at = yield Now()
        note(place, command, EntryKind.BEGAN, b"{}", at)
        yield Flush()
        answer: Outcome | Unfinished | Wait | None
        answer = yield RunBody(call, command.place, place.scope.clock, once=True, about=about)
        at = yield Now()
        if answer is None or isinstance(answer, Wait):
            pause = 0 if answer is None else answer.due or 0
            note(place, command, EntryKind.UNBEGUN, due_body(pause), at)
        elif isinstance(answer, Unfinished) or is_late(answer):
            return _unknown(place, command, call, str(answer.error), at)
        else:
            number += 1
            pause = _again_at(place, command, call, answer, number, at)
            if not pause:
                return _ended(place, command, call, answer, at)
        yield Flush()


def is_late(outcome: Outcome) -> TypeGuard[Raised]:
    """Whether its time was over: what it does outside may still happen."""
    return isinstance(outcome, Raised) and isinstance(outcome.error, TaskTimeout)


def _so_far(command: Command) -> tuple[int, int]:
    """How many attempts failed on record, and when the next one may be made; 0 for at once."""
    if not command.notes:
        return 0, 0
    failed = sum(entry.kind == EntryKind.ATTEMPT for entry in command.notes)
    return failed, max(read_body(entry.body).due for entry in command.notes)


def _again_at(
    place: Place, command: Command, call: Call, outcome: Outcome, number: int, at: int
) -> int:
    """When the next attempt is made, on record with the failure of this one; 0 if it is final."""
    if isinstance(outcome, Returned) or outcome.final:
        return 0
    chance_id = derive_id(place.journal.seed, "retry", command.key, str(number))
    delay = call.function.retry.delay_after(number, int(chance_id, 16) / 2.0**128)
    if delay is None:
        return 0
    pause = at + int(delay * MICROSECONDS)
    note(place, command, EntryKind.ATTEMPT, due_body(pause, outcome.body), at)
    return pause


def _unknown(place: Place, command: Command, call: Call, why: str, at: int) -> Outcome:
    """Nobody knows what came of it: that is the outcome, and who is asked next is on record."""
    outcome = place.raised(unknown(command.name, why))
    asking = call.function.asking(call.arguments)
    asks = "" if asking is None else asking.function.name
    return _ended(place, command, call, outcome, at, asks=asks)


def unknown(name: str, why: str) -> OutcomeUnknown:
    """What is raised in place of an outcome that nobody knows."""
    return OutcomeUnknown(
        f"The body of at-most-once task {name!r} may have run, and what came of it is not known: "
        f"{why}. It will not run again. Find out outside whether its effect happened, or give the "
        "task an on_uncertain= that does."
    )


def _ended(
    place: Place,
    command: Command,
    call: Call,
    outcome: Outcome,
    at: int,
    *,
    held: bool = False,
    asks: str = "",
) -> Outcome:
    """Stage the entry of the call."""
    if place.careful:
        place.progressed()
    body = outcome_body(outcome, call.arguments, asks)
    stage(place, command, body, at, call.digest, held=held)
    return outcome
