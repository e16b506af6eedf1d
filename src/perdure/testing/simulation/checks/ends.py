"""Ends: why something ended, who was told what of it, and what it left behind (I1, I7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from perdure.backends.base import InvocationRecord
from perdure.core.entries import Entry, EntryKind
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import TERMINAL, InvocationState
from perdure.engine.letters import CYCLE
from perdure.engine.outcome import read_body
from perdure.testing.simulation.checks.broken import Broken
from perdure.testing.simulation.checks.journals import TRIES

_S = InvocationState
_FAILURES = {
    "workflow": frozenset({"ProgramFailed"}),
    "task": frozenset({"ConnectionError", "OutcomeUnknown"}),
}
"""What programs and bodies raise for good, by the last part of its name."""
_UNDO = "undo"
"""The task that programs register to be called."""


def told_truly(
    key: InvocationKey, entries: Sequence[Entry], rows: Mapping[InvocationKey, InvocationRecord]
) -> None:
    """What a workflow is told of the end of another one is how that ended.

    Raises:
        Broken: it is something else.
    """
    for entry in entries:
        if entry.kind != EntryKind.DONE or entry.key == CYCLE:
            continue
        body = read_body(entry.body)
        row = rows.get(InvocationKey(entry.name, body.generation))
        result, error = bytes(body.result), bytes(body.error)
        if row is None or row.state not in TERMINAL:
            fits = bool(error) and not result and row is None
        elif row.state is _S.COMPLETED:
            fits = result == row.outcome and not error
        else:
            fits = bool(error) and not result
            fits = fits and (row.state is not _S.FAILED or error == row.outcome)
        if not fits:
            raise Broken("I7", f"{key} was told {entry} of the end of {row}")


def ended_well(row: InvocationRecord, entries: Sequence[Entry], data: Mapping[str, bytes]) -> None:
    """What has ended failed for nothing but what it was to fail for, and left nothing undone.

    Raises:
        Broken: it did not.
    """
    if row.state is _S.FAILED and row.outcome is not None:
        failure: dict[str, Any] = msgspec.json.decode(row.outcome)
        if str(failure["type"]).rpartition(".")[2] not in _FAILURES[row.kind]:
            raise Broken("I1", f"{row.key} failed for something that is not its own: {failure}")
    if row.kind == "task" and row.attempts >= TRIES.get(row.name, 1):
        raise Broken("I9", f"{row.key} failed {row.attempts} times and was tried again")
    registered = sum(entry.kind == EntryKind.COMPENSATE for entry in entries)
    undone = sum(entry.kind == EntryKind.TASK and entry.name == _UNDO for entry in entries)
    if undone != registered and row.state in {_S.FAILED, _S.CANCELLED}:
        raise Broken("I1", f"{row.key} is {row.state}, undid {undone} of {registered}")
    if undone and row.state is _S.COMPLETED:
        raise Broken("I1", f"{row.key} is {row.state}, and undid {undone} of {registered}")
    recorded = {entry.name: entry.body for entry in entries if entry.kind == EntryKind.DATA}
    if row.kind == "workflow" and recorded != data:
        raise Broken("I7", f"the data of {row.key} are {data}, on record are {recorded}")
