"""What the bodies of a task may run in: something that begins before them and ends after them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from perdure.engine.context import TaskContext
from perdure.engine.outcome import Outcome, Unfinished


class Around(Protocol):
    """Runs the body of one attempt, also several times, or gives what is known of it already.

    A body never raises: what it raised is its outcome. Before it is run a second time, its context
    has to be rewound.
    """

    def run(self, context: TaskContext, body: Callable[[], Outcome]) -> Outcome | Unfinished:
        """Run a sync body on this thread."""
        ...

    async def run_async(
        self, context: TaskContext, body: Callable[[], Awaitable[Outcome]]
    ) -> Outcome | Unfinished:
        """Run an async body on this loop."""
        ...
