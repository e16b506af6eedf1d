"""What an attempt of a task body tells while it runs: that it is alive, and how far it has come.

It knows no state backend; a `Keeper` does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

TELL_SECONDS = 1.0
"""At most so often a body's details are made durable, and it is looked whether it counts still."""


class Keeper(Protocol):
    """What is durable of the heartbeats of one body."""

    def tell(self, details: bytes | None) -> str:
        """Make these details durable; why the attempt counts no more, or "" if it does.

        Args:
            details: None leaves those that are there.

        Raises:
            BackendError: neither is known.
        """
        ...

    def load(self) -> bytes | None:
        """The newest details that are durable, of whichever attempt; None without any."""
        ...


class Pulse:
    """Heartbeats of one attempt. Its body tells them, whoever waits for the body looks at `last`.

    Attributes:
        last: when the newest heartbeat was, or the body began (monotonic seconds).
    """

    def __init__(
        self, monotonic: Callable[[], float], keeper: Keeper, every: float | None = None
    ) -> None:
        """The body begins now.

        Args:
            every: seconds between two times to `tell` at least; default: `TELL_SECONDS`.
        """
        self._every = TELL_SECONDS if every is None else every
        self._monotonic = monotonic
        self._keeper = keeper
        self._tell_at = float("-inf")
        self._newest: bytes | None = None
        self._untold: bytes | None = None
        self.last = monotonic()

    def begin(self) -> None:
        """The body begins now, and not when this was made."""
        self.last = self._monotonic()

    def beat(self, details: bytes | None) -> bool:
        """Note a heartbeat; whether it is time to `tell`, which takes a while."""
        self.last = self._monotonic()
        if details is not None:
            self._newest = self._untold = details
        return self.last >= self._tell_at

    @property
    def has_untold(self) -> bool:
        """Whether there are details that are not durable."""
        return self._untold is not None

    def tell(self) -> str:
        """Make the newest details durable; why the attempt counts no more, or "" if it does.

        Raises:
            BackendError: neither is known; the next one tries again.
        """
        self._tell_at = self._monotonic() + self._every
        untold = self._untold
        why = self._keeper.tell(untold)
        if self._untold is untold:
            self._untold = None
        return why

    def details(self) -> bytes | None:
        """The newest details, of this attempt or of the last one that told any."""
        if self._newest is None:
            self._newest = self._keeper.load()
        return self._newest
