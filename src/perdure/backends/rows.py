"""Rows of an SQL database to records of the port and back, in every dialect."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from perdure.backends.base import InvocationRecord, NewInvocation
from perdure.backends.endings import deadline_of
from perdure.backends.letters import InboxRow, Letter
from perdure.backends.limits import QueueStatus
from perdure.backends.rules import STORE_ID_BYTES
from perdure.backends.server import ServerList
from perdure.core.entries import Entry
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import InvocationState
from perdure.errors import JournalCorrupted

_STATES = {state.value: state for state in InvocationState}

Row = tuple[Any, ...]
"""What the driver hands over; the columns are those of the statement or view named beside it."""


def record_of(row: Row) -> InvocationRecord:
    """A row of the view `record`.

    Raises:
        JournalCorrupted: its state is none, or its head no number, so the row is damaged.
    """
    if type(row[27]) is not int:
        raise JournalCorrupted(
            f"The row of {row[0]!r} (generation {row[1]}) has the head {row[27]!r}, which is no "
            "number. It was changed after it was written. Restore the database from a backup."
        )
    try:
        state = _STATES[row[22]]
    except KeyError:
        raise JournalCorrupted(
            f"The row of {row[0]!r} (generation {row[1]}) has the state {row[22]!r}, which is none."
            " It was changed after it was written. Restore the database from a backup."
        ) from None
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
        limit_key=row[15],
        priority=row[16],
        options=row[17],
        code_version=row[18],
        seed=row[19],
        draw_algorithm=row[20],
        segment=row[21],
        state=state,
        epoch=row[23],
        owner=row[24],
        lease_until=row[25],
        wake_at=row[26],
        head=row[27],
        head_hash=row[28],
        last_token=row[29],
        attempts=row[30],
        crashes=row[31],
        base_time=row[32],
        created_at=row[33],
        finished_at=row[34],
        outcome=row[35],
        reason=row[36],
    )


def invocation_row(record: InvocationRecord) -> Row:
    """Parameters of `insert_invocation`, without the seq."""
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
        record.limit_key,
        record.priority,
        record.wake_at,
        record.created_at,
        record.created_at,
        deadline_of(record.options, record.created_at),
    )


def claimed_row(record: InvocationRecord) -> Row:
    """Parameters of `insert_claimed`, without the seq."""
    claim = (record.epoch, record.owner, record.lease_until, record.last_token, record.base_time)
    return *invocation_row(record), *claim


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


def entry_columns(entry: Entry) -> Row:
    """Parameters of `append` after those that say where the entry stands."""
    return (
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


def inbox_row(row: Row) -> InboxRow:
    """An unread row from the columns of `read_inbox`."""
    row_id, kind, source_id, source_generation, name, letter_id, body = row
    letter = None
    if letter_id is not None:
        letter = Letter(kind=kind, name=name, letter_id=letter_id, body=body)
    return InboxRow(row_id, kind, InvocationKey(source_id, source_generation), letter)


def queue_status(row: Row, now: int) -> QueueStatus:
    """A row of `queues`."""
    queue, ready, scheduled, running, since = row
    return QueueStatus(
        queue=queue,
        ready=ready,
        scheduled=scheduled,
        running=running,
        oldest=None if since is None else max(0, now - since),
    )


def server_list_of(row: Row) -> ServerList:
    """A row of `server_list`."""
    position, stores, complete = row
    ids = (stores[at : at + STORE_ID_BYTES] for at in range(0, len(stores), STORE_ID_BYTES))
    return ServerList(position=position, stores=tuple(map(bytes, ids)), complete=bool(complete))


def ids_of(children: Iterable[NewInvocation]) -> list[str]:
    """The ids that a transition wants to be new."""
    return [child.invocation_id for child in children]


def _key(id_: str | None, generation: int | None) -> InvocationKey | None:
    return None if id_ is None or generation is None else InvocationKey(id_, generation)
