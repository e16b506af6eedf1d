"""What the app tells about invocations: a line of a listing, the outcome of a verification."""

from __future__ import annotations

from datetime import datetime

import msgspec

from perdure.api.moments import to_datetime
from perdure.backends.base import InvocationRecord
from perdure.backends.endings import deadline_of
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import InvocationState


class InvocationInfo(msgspec.Struct, frozen=True, kw_only=True):
    """An invocation as it stood in one read.

    Attributes:
        entries: length of the journal.
        attempts: failed attempts (tasks). crashes: claims of lost leases since progress.
        reason: why it is parked or dead, else "".
    """

    invocation_id: str
    generation: int
    kind: str
    name: str
    status: InvocationState
    parent_id: str | None
    created_at: datetime
    finished_at: datetime | None
    wake_at: datetime | None
    deadline: datetime | None
    entries: int
    attempts: int
    crashes: int
    reason: str

    @property
    def key(self) -> InvocationKey:
        """Id and generation."""
        return InvocationKey(self.invocation_id, self.generation)


def info_of(record: InvocationRecord) -> InvocationInfo:
    """The listing line of a record."""
    deadline = deadline_of(record.options, record.created_at)
    return InvocationInfo(
        invocation_id=record.key.invocation_id,
        generation=record.key.generation,
        kind=record.kind,
        name=record.name,
        status=record.state,
        parent_id=record.parent.invocation_id if record.parent else None,
        created_at=to_datetime(record.created_at),
        finished_at=None if record.finished_at is None else to_datetime(record.finished_at),
        wake_at=None if record.wake_at is None else to_datetime(record.wake_at),
        deadline=None if deadline is None else to_datetime(deadline),
        entries=record.head,
        attempts=record.attempts,
        crashes=record.crashes,
        reason=record.reason,
    )


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """What a verification found: no difference, or it would have raised.

    Attributes:
        entries: length of the journal.
        finished: the function ended where its record ended; else it reached the end of the record.
        value: its result, when it returned.
    """

    entries: int
    finished: bool
    value: object = None
