"""When a worker claims again while some of its slots are busy. It knows no store and no thread."""

from __future__ import annotations

SLOTS_SHARE = 4
"""One in so many slots is to be free, then a claim is made for all that are."""
PAUSE_SHARE = 2.0
"""How long that is waited for at most, in durations of the last claim."""
PAUSE_MAX_SECONDS = 0.1
"""And at most so long: a claim that was held up says nothing about the next one."""


class Gathering:
    """Free slots that are filled together. A claim costs about as much for one as for several.

    It waits only after a claim that got all it asked for: then more is there, and nobody waits for
    an answer whom a batch would serve later. So claims take at most a third of the dispatcher's
    time, and a slot is empty no longer than twice the duration of a claim.

    Args:
        slots: attempts at a time.
    """

    def __init__(self, slots: int) -> None:
        self._enough = slots // SLOTS_SHARE
        self._until = float("-inf")

    def pause(self, free: int, now: float) -> float:
        """Seconds until a claim for so many free slots is to be made; 0.0 for now."""
        return max(0.0, self._until - now) if free < self._enough else 0.0

    def claimed(self, free: int, taken: int, began: float, ended: float) -> None:
        """A claim for `free` slots took so many, between these monotonic times."""
        pause = min(PAUSE_SHARE * (ended - began), PAUSE_MAX_SECONDS) if taken >= free else 0.0
        self._until = ended + pause
