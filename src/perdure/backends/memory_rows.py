"""What the memory backend asks of one row. Pure."""

from __future__ import annotations

import msgspec

from perdure.backends.base import ClaimRequest, InvocationQuery, InvocationRecord
from perdure.core.lifecycle import InvocationState


def age(row: InvocationRecord) -> tuple[int, str, int]:
    """The order of pages."""
    return row.created_at, row.key.invocation_id, row.key.generation


def is_ready(row: InvocationRecord) -> bool:
    """Ready whatever the clock says; it may have been stepped back since."""
    return row.state is InvocationState.READY and row.wake_at is None


def is_unbegun(row: InvocationRecord) -> bool:
    """Whether it is as it was started: nobody has claimed it yet."""
    return row.state is InvocationState.READY and row.epoch == 0


def holds(row: InvocationRecord, now: int) -> bool:
    """Whether its lease is live."""
    return (
        row.state is InvocationState.RUNNING
        and row.lease_until is not None
        and row.lease_until > now
    )


def is_abandoned(row: InvocationRecord, request: ClaimRequest) -> bool:
    """Whether its owner is known to be gone."""
    return row.state is InvocationState.RUNNING and row.owner in request.dead_owners


def is_asked_for(query: InvocationQuery, row: InvocationRecord) -> bool:
    """Whether a row belongs to what a query asks for."""
    return (
        row.app == query.app
        and (query.kind is None or row.kind == query.kind)
        and (query.name is None or row.name == query.name)
        and (not query.states or row.state in query.states)
        and (query.id_prefix is None or row.key.invocation_id.startswith(query.id_prefix))
        and (query.parent is None or row.parent == query.parent)
    )


def seized_row(row: InvocationRecord, token: bytes) -> InvocationRecord:
    """A row that was taken from whoever had it, before it is settled."""
    return msgspec.structs.replace(
        row, state=InvocationState.RUNNING, epoch=row.epoch + 1, last_token=token, reason=""
    )
