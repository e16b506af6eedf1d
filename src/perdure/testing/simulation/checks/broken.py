"""What a check raises."""

from __future__ import annotations

import msgspec


class Broken(Exception):
    """An invariant does not hold.

    Attributes:
        invariant: its number, such as "I5".
    """

    def __init__(self, invariant: str, what: str) -> None:
        """Say which, and what was seen."""
        super().__init__(f"{invariant}: {what}")
        self.invariant = invariant


class Moment(msgspec.Struct, frozen=True):
    """When a call was made.

    Attributes:
        clock: the time of the store.
        who: name of the process.
        gone: names under which processes claimed that are dead.
    """

    clock: int
    who: str
    gone: frozenset[str]
