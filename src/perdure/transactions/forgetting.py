"""The clean-up of outcomes that nobody will ask for again."""

from __future__ import annotations

from perdure.backends.base import Backend
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import TERMINAL
from perdure.transactions.around import Place
from perdure.transactions.sessions import change, fetch

PAGE = 500
"""Invocations that are looked at, and forgotten, at a time."""


def forget(place: Place, backend: Backend, age: float) -> int:
    """Remove outcomes that are older than `age` seconds and that no attempt can ask for.

    An outcome is needed until the invocation that it is recorded in has ended: the started task
    itself, or the workflow that called it.
    """
    door = place.sync_door()
    now = int(fetch(door, "now", {})[0][0])
    asked: dict[str, object] = {"store": place.store, "before": now - int(age), "count": PAGE}
    after, count = ("", 0), 0
    while True:
        page = {"after_id": after[0], "after_generation": after[1]}
        rows = fetch(door, "old_owners", asked | page)
        ended = [row for row in rows if _has_ended(backend, row[0], row[1], row[2], row[3])]
        statements = [
            (
                "forget",
                {
                    "store": place.store,
                    "before": asked["before"],
                    "invocation_id": row[0],
                    "generation": row[1],
                },
            )
            for row in ended
        ]
        count += change(door, statements)
        if len(rows) < PAGE:
            return count
        after = str(rows[-1][0]), int(rows[-1][1])


def _has_ended(
    backend: Backend,
    invocation_id: str,
    generation: int,
    workflow_id: str | None,
    workflow_generation: int | None,
) -> bool:
    """Whether nothing can ask for it. A direct call has no row; its workflow's decides then."""
    found = backend.read(*InvocationKey(invocation_id, generation))
    if found is None and workflow_id is not None:
        found = backend.read(workflow_id, workflow_generation)
    return found is None or found.state in TERMINAL
