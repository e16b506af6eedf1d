"""What the memory backend tells of itself: its health, and its queues. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from perdure.backends.base import InvocationRecord
from perdure.backends.health import Health
from perdure.backends.limits import QueueStatus
from perdure.backends.memory_rows import holds, is_ready
from perdure.core.lifecycle import STOPPED


def health_of(rows: Sequence[InvocationRecord]) -> Health:
    """Counts, and what waits for a person."""
    states = Counter(row.state.value for row in rows)
    facts = {f"invocations {state}": str(count) for state, count in sorted(states.items())}
    problems = tuple(
        f"Invocation {row.key.invocation_id!r} (generation {row.key.generation}) is "
        f"{row.state.value}: {row.reason}"
        for row in rows
        if row.state in STOPPED
    )
    return Health(backend="memory", facts=facts, problems=problems)


def queue_status(queue: str, due: Sequence[tuple[int, InvocationRecord]], now: int) -> QueueStatus:
    """How much of a queue is ready, scheduled and running, of rows and when they are due."""
    running = sum(holds(row, now) for _, row in due)
    ready = [at for at, row in due if at <= now or is_ready(row)]
    return QueueStatus(
        queue=queue,
        ready=len(ready),
        scheduled=len(due) - len(ready) - running,
        running=running,
        oldest=max(0, now - min(ready)) if ready else None,
    )
