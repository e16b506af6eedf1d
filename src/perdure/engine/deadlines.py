"""The deadlines of the blocks that a sync workflow is in. A table; each timer is a wait of its own.

When such a timer is delivered, its `wake` raises out of whatever operation waits at that moment.
"""

from __future__ import annotations

from perdure.core.entries import Entry, EntryKind
from perdure.engine.effects import Wait
from perdure.engine.mailbox import Mailbox


class Deadlines:
    """Open deadlines of one attempt, outermost first."""

    def __init__(self, mailbox: Mailbox) -> None:
        """Start with none."""
        self._mailbox = mailbox
        self._open: list[Wait] = []

    def open(self, wait: Wait) -> None:
        """A block begins: from now on the delivery of its timer calls `wait.wake`."""
        self._open.append(wait)
        self._mailbox.add(wait)

    def close(self, wait: Wait) -> None:
        """A block is left; a delivery that comes still is ignored."""
        self._open.remove(wait)
        self._mailbox.abandon(wait)

    @property
    def pending(self) -> bool:
        """Whether one may fire still."""
        return any(wait.due is not None for wait in self._open)

    def interrupts(self, entry: Entry) -> bool:
        """Whether the delivery of this makes raise whatever waits then."""
        if entry.kind == EntryKind.FIRED:
            place = (entry.scope, entry.ordinal)
            return any(wait.place == place for wait in self._open)
        return entry.kind == EntryKind.CANCEL
