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

_CALLS = frozenset({EntryKind.TASK, EntryKind.START})


def early_end(runtime: Runtime, record: InvocationRecord) -> InvocationCancelled:
    """`ended_early`, with a note of what a terminated workflow leaves behind that is not undone.

    One that was cancelled or failed has undone it, and says so itself.

    Raises:
        JournalCorrupted: its outcome or its journal is damaged.
    """
    error = ended_early(record)
    if record.state is InvocationState.TERMINATED and record.head:
        journal = runtime.backend.read_journal(record.key)
        if left := [_shown(entry) for entry in _not_undone(journal)]:
            error.add_note(f"Not undone: {', '.join(left)}.")
    return error


def _not_undone(journal: Iterable[Entry]) -> list[Entry]:
    """What was registered and not called since, newest first."""
    left: list[Entry] = []
    for entry in journal:
        if entry.kind == EntryKind.COMPENSATE:
            if read_body(entry.body).arguments:
                left.append(entry)
            else:  # the point of no return
                left.clear()
        elif entry.kind in _CALLS:
            same = (each for each in reversed(left) if _is_call_of(entry, each))
            if (called := next(same, None)) is not None:
                left.remove(called)
    return left[::-1]


def _is_call_of(entry: Entry, undo: Entry) -> bool:
    return (entry.scope, entry.name, entry.digest) == ("", undo.name, undo.digest)


def _shown(undo: Entry) -> str:
    return shown_call(undo.name, bytes(read_body(undo.body).arguments))
