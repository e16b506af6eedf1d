"""One branch of a workflow: what it calls, what it waits in, how it ended."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Sequence

from perdure.core.journal import Journal
from perdure.core.scope import Scope
from perdure.engine.env import Signal
from perdure.engine.lines import calling_line
from perdure.errors import Cancelled


def end_branch(journal: Journal, scope: Scope, ended: str) -> None:
    """Note the end of a scope that did anything, and join its clock with its parent's.

    Raises:
        Divergence: the journal holds another end of it.
    """
    if not (scope.commands or scope.counts()):
        return
    journal.end_scope(scope, ended, b"null", scope.clock)
    journal.scope(scope.path.rpartition("/")[0]).event(scope.clock)


class Pause:
    """What a branch waits in, once.

    Attributes:
        below: the branches it waits for; a cancellation is passed on to them.
        over: it may go on.
        cancelled: what it was cancelled with, if that was passed on.
    """

    __slots__ = ("below", "branch", "cancelled", "over")

    def __init__(self, branch: Branch, below: Sequence[Branch] = ()) -> None:
        """A pause of `branch` that has not ended."""
        self.branch = branch
        self.below = below
        self.over = False
        self.cancelled: Callable[[], Cancelled] | None = None


class Branch:
    """One branch: the root, or a function that has a scope and (once it runs) a thread of its own.

    Attributes:
        value, error: what the function returned, or raised.
        started, ended: whether the function was called, and whether it is over.
        watchers: called when its end was noted.
        made_at: the line that made it.
    """

    def __init__(self, scope: Scope, run: Callable[[], object], turn: Signal) -> None:
        """A branch that has not begun."""
        self.scope = scope
        self.run = run
        self.turn = turn
        self.made_at = calling_line()
        self.values = contextvars.copy_context()
        self.value: object = None
        self.error: BaseException | None = None
        self.started = self.ended = False
        self.watchers: list[Callable[[Branch], object]] = []
        self.pause: Pause | None = None
        self.interrupt: BaseException | None = None
        self.refusals = 0
