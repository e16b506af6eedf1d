"""The states of an invocation and the moves between them, as one table. Pure data and functions."""

from __future__ import annotations

from enum import StrEnum


class InvocationState(StrEnum):
    """Where an invocation stands. Live states may change; terminal ones never do."""

    READY = "ready"
    """Claimable by any worker that knows the name."""
    RUNNING = "running"
    """Leased to one worker under one epoch."""
    WAITING = "waiting"
    """Waiting for something durable; holds no thread, slot or lease."""
    PAUSED = "paused"
    """Held back on request."""
    PARKED = "parked"
    """Stopped at something only a person can decide (divergence, damaged entry)."""
    DEAD = "dead"
    """Crashed its process too often; not claimed until it is resumed."""
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TERMINATED = "terminated"


_S = InvocationState

TRANSITIONS: dict[InvocationState, frozenset[InvocationState]] = {
    _S.READY: frozenset({_S.RUNNING, _S.PAUSED, _S.CANCELLED, _S.TERMINATED}),
    _S.RUNNING: frozenset(
        {
            _S.RUNNING,
            _S.READY,
            _S.WAITING,
            _S.PAUSED,
            _S.PARKED,
            _S.DEAD,
            _S.COMPLETED,
            _S.FAILED,
            _S.CANCELLED,
            _S.TERMINATED,
        }
    ),
    _S.WAITING: frozenset({_S.READY, _S.RUNNING, _S.PAUSED, _S.CANCELLED, _S.TERMINATED}),
    _S.PAUSED: frozenset({_S.READY, _S.RUNNING, _S.CANCELLED, _S.TERMINATED}),
    _S.PARKED: frozenset({_S.READY, _S.RUNNING, _S.CANCELLED, _S.TERMINATED}),
    _S.DEAD: frozenset({_S.READY, _S.RUNNING, _S.CANCELLED, _S.TERMINATED}),
    _S.COMPLETED: frozenset(),
    _S.FAILED: frozenset(),
    _S.CANCELLED: frozenset(),
    _S.TERMINATED: frozenset(),
}
"""Every allowed move. RUNNING to RUNNING is a new claim of an expired lease (a higher epoch)."""

TERMINAL = frozenset(state for state, targets in TRANSITIONS.items() if not targets)
"""States that never change again. DEAD and PARKED are not among them: nothing is given up."""

STOPPED = frozenset({_S.PARKED, _S.DEAD})
"""States that wait for a person to mend something."""

RESUMABLE = STOPPED | {_S.PAUSED}
"""States that `resume` turns back into READY."""


def may_move(source: InvocationState, target: InvocationState) -> bool:
    """Whether the table allows this move."""
    return target in TRANSITIONS[source]
