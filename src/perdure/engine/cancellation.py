"""What a cancellation says, as it travels in letters and stands in journals. Pure."""

from __future__ import annotations

from typing import Literal

import msgspec

from perdure.backends.endings import told
from perdure.core.reading import UNREADABLE
from perdure.errors import Cancelled, DeadlinePassed, JournalCorrupted

ControlName = Literal["cancel", "terminate"]
"""What one invocation may do to another."""

UNEXPLAINED = "The workflow was cancelled."
"""What a cancellation says whose sender gave no reason."""


class Cancellation(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who cancels says why, and whether what was started and has not ended is cancelled with it.

    Attributes:
        deadline: nobody cancels, but this moment has come (microseconds since 1970 UTC).
    """

    reason: str = ""
    children: bool = True
    deadline: int = 0

    def signal(self) -> Cancelled:
        """What a sync workflow raises, and the outcome of one that lets it pass."""
        if self.deadline:
            return DeadlinePassed(self.reason, self.deadline)
        return Cancelled(self.reason or UNEXPLAINED)

    def for_children(self) -> Cancellation:
        """What those are told whom it is passed on to; the deadline was not theirs."""
        if not self.deadline:
            return self
        return Cancellation(f"The deadline of its parent, {told(self.deadline)}, has passed.")


def at_deadline(deadline: int) -> Cancellation:
    """What comes of a deadline that has passed. What it has started ends with it."""
    return Cancellation(
        f"The deadline of the workflow, {told(deadline)}, has passed.", deadline=deadline
    )


_decode = msgspec.json.Decoder(Cancellation).decode


def read_cancellation(body: bytes) -> Cancellation:
    """From the body of an entry.

    Raises:
        JournalCorrupted: it is none.
    """
    try:
        return _decode(body)
    except UNREADABLE as error:
        raise JournalCorrupted(
            f"A cancellation in the journal cannot be read ({error}): {body[:200]!r}. Restore a "
            "backup."
        ) from error
