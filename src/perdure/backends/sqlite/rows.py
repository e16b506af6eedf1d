"""Rows of SQLite to records of the port and back. No statement is run here."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from perdure.backends.base import InvocationRecord, NewInvocation
from perdure.core.entries import Entry
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import InvocationState

_STATES = {state.value: state for state in InvocationState}

Row = tuple[Any, ...]
"""What the driver hands over; the columns are those of the statement or view named beside it."""


def record_of(row: Row) -> InvocationRecord:
    """A row of the view `record`."""
    return InvocationRecord(
        key=InvocationKey(row[0], row[1]),
        app=row[2],
        kind=row[3],
        name=row[4],
        arguments=row[5],
        fingerprint=row[6],
        call_id=row[7],
        parent=_key(row[8], row[9]),
        root=InvocationKey(row[10], row[11]),
        workflow=_key(row[12], row[13]),
        queue=row[14],
        priority=row[15],
        options=row[16],
        code_version=row[17],
        seed=row[18],
        draw_algorithm=row[19],
        segment=row[20],
        state=_STATES[row[21]],
        epoch=row[22],
        owner=row[23],
        lease_until=row[24],
        wake_at=row[25],
        head=row[26],
        head_hash=row[27],
        last_token=row[28],
        attempts=row[29],
        crashes=row[30],
        base_time=row[31],
        created_at=row[32],
        finished_at=row[33],
        outcome=row[34],
        reason=row[35],
    )


def invocation_row(record: InvocationRecord) -> Row:
    """Parameters of `insert_invocation`."""
    parent_id, parent_generation = record.parent or (None, None)
    return (
        *record.key,
        record.app,
        record.kind,
        record.name,
        parent_id,
        parent_generation,
        *record.root,
        record.queue,
        record.priority,
        record.wake_at,
        record.created_at,
        record.created_at,
    )


def call_row(seq: int, record: InvocationRecord) -> Row:
    """Parameters of `insert_call`."""
    workflow_id, workflow_generation = record.workflow or (None, None)
    return (
        seq,
        record.arguments,
        record.fingerprint,
        record.call_id,
        workflow_id,
        workflow_generation,
        record.options,
        record.code_version,
        record.seed,
        record.draw_algorithm,
        record.segment,
    )


def entry_of(row: Row) -> Entry:
    """A row of `read_journal`."""
    return Entry(*row)


def entry_row(seq: int, entry: Entry) -> Row:
    """Parameters of `append`."""
    return (
        (seq << 32) | entry.position,
        entry.kind,
        entry.scope,
        entry.ordinal,
        entry.key,
        entry.name,
        entry.digest,
        entry.body,
        entry.meta,
        entry.at,
        entry.epoch,
        entry.token,
        entry.checksum,
        entry.codec,
        entry.key_id,
    )


def json_list(values: Iterable[str | int]) -> str:
    """A parameter that stands for a list of any length, so that the SQL text stays constant."""
    return json.dumps(list(values))


def key_parameters(key: InvocationKey) -> dict[str, str | int]:
    """`:id` and `:generation`."""
    return {"id": key.invocation_id, "generation": key.generation}


def ids_of(children: Iterable[NewInvocation]) -> list[str]:
    """The ids that a transition wants to be new."""
    return [child.invocation_id for child in children]


def _key(id_: str | None, generation: int | None) -> InvocationKey | None:
    return None if id_ is None or generation is None else InvocationKey(id_, generation)
