"""What is told of an invocation that ended before it had a result."""

from __future__ import annotations

from collections.abc import Iterable

from perdure.backends.base import InvocationRecord
from perdure.core.entries import Entry, EntryKind
from perdure.core.lifecycle import InvocationState
from perdure.engine.effects import shown_call
from perdure.engine.outcome import ended_early, read_body
from perdure.engine.runtime import Runtime
from perdure.errors import InvocationCancelled


def early_end(runtime: Runtime, record: InvocationRecord) -> InvocationCancelled:
    """`ended_early`, with a note of what a terminated workflow leaves behind that is not undone.

    One that was cancelled or failed has undone it, and says so itself.

    Raises:
        JournalCorrupted: its outcome or its journal is damaged.
    """
    error = ended_early(record)
    if record.state is InvocationState.TERMINATED and record.head:
        for note in left_behind(runtime.backend.read_journal(record.key)):
            error.add_note(note)
    return error


def left_behind(journal: Iterable[Entry]) -> list[str]:
    """A note of what a workflow that was terminated here did not undo; none if that is nothing.

    Raises:
        JournalCorrupted: the journal is damaged.
    """
    left = [_shown(entry) for entry in _not_undone(journal)]
    return [f"Not undone: {', '.join(left)}."] if left else []


def _not_undone(journal: Iterable[Entry]) -> list[Entry]:
    """What was registered and has not been called with success since, newest first.

    What was begun when it was terminated is among it: a body that ran was dropped, and a workflow
    or a started task was terminated with it.
    """
    left: list[Entry] = []
    begun: dict[str, Entry] = {}
    for entry in journal:
        done: Entry | None = None
        if entry.kind == EntryKind.COMPENSATE:
            if read_body(entry.body).arguments:
                left.append(entry)
            else:  # the point of no return
                left.clear()
        elif entry.kind == EntryKind.START:
            if (undo := _called(entry, left)) is not None:
                begun[read_body(entry.body).id] = undo
        elif entry.kind == EntryKind.TASK:
            done = _called(entry, left)
        elif entry.kind == EntryKind.DONE:
            done = begun.get(entry.name)
        if done in left and not read_body(entry.body).error:
            left.remove(done)
    return left[::-1]


def _called(entry: Entry, undos: list[Entry]) -> Entry | None:
    """Which undo this is a call of: they are made in the root scope, newest first."""
    call = ("", entry.name, entry.digest)
    same = (each for each in reversed(undos) if (entry.scope, each.name, each.digest) == call)
    return next(same, None)


def _shown(undo: Entry) -> str:
    return shown_call(undo.name, bytes(read_body(undo.body).arguments))
