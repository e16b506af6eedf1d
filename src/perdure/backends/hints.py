"""Hints: what a process tells others so that they look at once, and whom it concerns.

A hint decides nothing. Whoever hears one looks at the state backend; whoever hears none looks there
by itself in time, so a lost hint costs time and never work. A hint must not wake everybody who
waits for anything, and must stay small however much happened, so it names no invocations: ids are
spread over some slots, and a hint names slots.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Protocol
from zlib import crc32

from perdure.core.identity import InvocationKey

SLOTS = 256
"""Of those who wait for something else, a hint about one invocation wakes one in so many."""
_SLOTS_KEPT = 16_384
"""Ids whose slot is remembered: more than are waited for at a time."""

Hint = int
"""A set of bits. Bit n: something about an id of slot n may have changed: it ended, stopped,
published something or has something in its inbox. Bit `SLOTS`: something may be claimable."""
NOTHING: Hint = 0
CLAIMABLE: Hint = 1 << SLOTS
ANYTHING: Hint = 2 * CLAIMABLE - 1
"""Hints may have been missed."""

Heard = Callable[[Hint], None]
"""Called for each hint, on any thread; it returns soon."""


@functools.lru_cache(_SLOTS_KEPT)
def slot_of(invocation_id: str) -> Hint:
    """The bit of the slot of an id, the same in every process."""
    return 1 << crc32(invocation_id.encode()) % SLOTS


def claimable(keys: Iterable[InvocationKey]) -> Hint:
    """The hint that these may be claimable."""
    hint = CLAIMABLE
    for key in keys:
        hint |= slot_of(key.invocation_id)
    return hint


class Ear(Protocol):
    """What listens for hints until it is closed."""

    def expect(self) -> None:
        """Somebody waits for something now: listen closely for a while."""
        ...

    def close(self) -> None:
        """Listen no more. Calling it twice is harmless."""
        ...
