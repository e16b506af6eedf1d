"""Turns what others left for a workflow into deliveries of its journal. It decides no order."""

from __future__ import annotations

from perdure.backends.letters import InboxRow
from perdure.core.entries import EntryKind
from perdure.core.journal import Draft
from perdure.core.lifecycle import TERMINAL, InvocationState
from perdure.core.reading import is_json
from perdure.engine.cancellation import read_cancellation
from perdure.engine.early import early_end
from perdure.engine.ledger import Ledger
from perdure.engine.letters import CANCEL, CYCLE, MESSAGE, UPDATE
from perdure.engine.outcome import (
    Returned,
    invocation_body,
    outcome_body,
    read_body,
    recorded_outcome,
)
from perdure.engine.runtime import Runtime
from perdure.engine.stuck import draft_of
from perdure.errors import InvocationNotFound, JournalCorrupted


def receive(runtime: Runtime, ledger: Ledger, row: InboxRow, now: int) -> None:
    """Stage the delivery of an inbox row; the row goes with the same commit.

    Raises:
        JournalCorrupted: what it holds or tells of is damaged, or a newer perdure sent it. Nothing
            of it is staged.
    """
    if row.letter is None:
        ledger.journal.stage(_end_of(runtime, row, now))
    elif row.kind in (MESSAGE, UPDATE):
        if not is_json(row.letter.body):
            raise JournalCorrupted(
                f"The letter {row.letter.letter_id!r} ({row.letter.name!r}) in the inbox is no "
                f"JSON text: {row.letter.body[:200]!r}. Restore a backup."
            )
        body = outcome_body(Returned(row.letter.body, None))
        name, id_ = row.letter.name, row.letter.letter_id
        ledger.journal.stage(Draft(EntryKind(row.kind), "", 0, id_, name, b"", body, b"{}", now))
    elif row.kind == CYCLE:
        read_body(row.letter.body)
        ledger.journal.stage(draft_of(row.letter, now))
    elif row.kind == CANCEL:
        read_cancellation(row.letter.body)
        ledger.stage_cancellation(row.letter.body, now)
    else:
        raise JournalCorrupted(
            f"The inbox holds a letter of the unknown kind {row.kind!r}. A newer perdure sent it; "
            "run this workflow with that version."
        )
    ledger.add_consumed(row.row_id)


def _end_of(runtime: Runtime, row: InboxRow, now: int) -> Draft:
    """The delivery that tells of the end of an invocation."""
    source = runtime.backend.read(*row.source)
    if source is None or source.state not in TERMINAL:  # or it was not there when it was asked for
        gone = InvocationNotFound(f"Invocation {row.source.invocation_id!r} does not exist.")
        outcome = outcome_body(runtime.bodies.raised(gone))
    elif source.state is InvocationState.COMPLETED:
        outcome = outcome_body(Returned(recorded_outcome(source) or b"null", None))
    else:
        error = recorded_outcome(source)
        if error is None or source.state is not InvocationState.FAILED:
            error = runtime.bodies.raised(early_end(runtime, source)).body
        outcome = b'{"error":' + error + b"}"
    body = invocation_body(row.source)[:-1] + b"," + outcome[1:]
    name = row.source.invocation_id
    return Draft(EntryKind.DONE, "", 0, "", name, b"", body, b"{}", now)
