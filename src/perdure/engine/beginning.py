"""When the body of a task may begin, and what comes before it. One rule for all attempts."""

from __future__ import annotations

from typing import Protocol

from perdure.core.entries import Entry
from perdure.core.journal import Journal
from perdure.engine.runtime import Runtime


class Beginner(Protocol):
    """An attempt, as far as it has to do with the beginning of bodies."""

    runtime: Runtime
    journal: Journal

    @property
    def pausing(self) -> bool: ...
    def look(self) -> None: ...
    def interrupts(self, entry: Entry) -> bool: ...
    def pause(self) -> None: ...
    def before_body(self, *, announced: bool = False) -> None: ...


def held_back(attempt: Beginner, running: int) -> bool:
    """Whether a body may not begin yet: a cancellation comes first, or the `running` ones end.

    A body that runs may end, and its outcome is recorded, whatever asks the workflow to let go.

    Raises:
        Suspended: the worker stops, or the workflow is paused, and none of its bodies runs.
        LeaseLost: it is not ours any more.
    """
    attempt.look()
    if any(attempt.interrupts(entry) for entry in attempt.journal.deliveries):
        return True
    if running and (attempt.pausing or attempt.runtime.stopping.is_set()):
        return True
    if attempt.pausing:
        attempt.pause()
    attempt.before_body()
    return False
