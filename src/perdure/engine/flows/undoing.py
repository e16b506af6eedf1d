"""Undos: registered in a workflow while it runs, run in reverse order when it fails."""

from __future__ import annotations

from collections.abc import Sequence

from perdure.core.entries import EntryKind
from perdure.engine.effects import Flow, Now, Undo
from perdure.engine.flows.place import Place, begin, check_arguments, stage
from perdure.engine.flows.tasks import call_task
from perdure.engine.outcome import Outcome, Raised, Returned, read_body
from perdure.values import headline, with_notes

ERROR_MAX = 200
"""Characters of what an undo raised, there."""


def compensate(place: Place, undo: Undo) -> Flow[Outcome]:
    """Record that this is to be called if the workflow fails.

    It becomes durable with what comes after it. A crash before that has the workflow's code ask for
    it again.
    """
    call = undo.call
    ahead = place.journal.ahead(place.scope)
    name = call.function.name
    if ahead is not None and ahead.name in call.function.names:
        name = ahead.name
    command = begin(place, EntryKind.COMPENSATE, "compensate", name)
    if (entry := command.recorded) is not None:
        check_arguments(place, entry, call, bytes(read_body(entry.body).arguments))
    else:
        # No event for the workflow clock, for it is not durable before the next task body.
        at: int = yield Now()
        stage(place, command, b'{"arguments":' + call.arguments + b"}", at, call.digest)
    return Returned(b"null", None)


def forget(place: Place) -> Flow[Outcome]:
    """Record that nothing which was registered before is undone any more."""
    command = begin(place, EntryKind.COMPENSATE, "forget", "compensations")
    if command.recorded is None:
        at: int = yield Now()
        stage(place, command, b"{}", at)
    return Returned(b"null", None)


def undo_all(place: Place, undos: Sequence[Undo], failed: Raised) -> Flow[Outcome]:
    """Make the calls, newest first, and give the failure with notes of what came of them.

    Ordinary calls of the root scope: after a crash those that are on record are not made again. One
    that fails for good does not keep the others from being made.
    """
    undone: list[str] = []
    left: list[str] = []
    for undo in reversed(undos):
        ended: Outcome = yield from call_task(place, undo.call, undo.queued)
        if isinstance(ended, Raised):
            left.append(f"{undo} ({headline(ended.body)[:ERROR_MAX]})")
        else:
            undone.append(str(undo))
    notes = [
        f"{title}: {', '.join(names)}."
        for title, names in (("Undone", undone), ("Not undone", left))
        if names
    ]
    return Raised(with_notes(failed.body, notes), failed.error, failed.final)
