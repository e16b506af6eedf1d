"""The faults of one schedule: which kinds, how often, and when; all of it follows from the seed."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection
from enum import StrEnum


class Fault(StrEnum):
    """What may go wrong."""

    DIES_BEFORE = "dies before"
    """The process dies instead of making a call."""
    DIES_AFTER = "dies after"
    """The call is made, and the process dies before it learns the answer."""
    DIES_IN_FLIGHT = "dies in flight"
    """The process dies, and its call is made some time later."""
    UNKNOWN = "unknown"
    """The call is made, and the process is told that nobody knows."""
    LOST = "lost"
    """The call is not made, and the process is told that nobody knows."""
    IN_FLIGHT = "in flight"
    """The process is told that nobody knows, and the call is made some time later."""
    UNAVAILABLE = "unavailable"
    """The call is refused: the store is away."""
    FULL = "full"
    """The call is refused: the store has no room."""
    TWICE = "twice"
    """The call is made, and some time later once more."""
    SLOW = "slow"
    """The call takes seconds."""
    STOPS = "stops"
    """The process stands still for longer than its leases, before the call."""
    STOPS_AFTER = "stops after"
    """The same, before it learns the answer."""
    DIES = "dies"
    """A process dies at any moment."""
    RESTS = "rests"
    """A process stands still, at any moment."""
    CLOCK_JUMPS = "clock jumps"
    """The clock of the store goes forwards or back."""
    HINT_LOST = "hint lost"
    """Nobody is told of what became claimable."""
    LATE_WAKE_UP = "late wake-up"
    """A thread that was woken goes on some time later."""
    OUTAGE = "outage"
    """The store answers nobody for a while."""
    DAMAGE = "damage"
    """A letter of the store becomes another one, until it is restored."""
    SHUTS_DOWN = "shuts down"
    """A process is asked to end, lets go, and another one comes."""


AT_CALLS = (
    Fault.DIES_BEFORE,
    Fault.DIES_AFTER,
    Fault.DIES_IN_FLIGHT,
    Fault.UNKNOWN,
    Fault.LOST,
    Fault.IN_FLIGHT,
    Fault.UNAVAILABLE,
    Fault.FULL,
    Fault.TWICE,
    Fault.SLOW,
    Fault.STOPS,
    Fault.STOPS_AFTER,
)
AT_ANY_TIME = (
    Fault.DIES,
    Fault.RESTS,
    Fault.CLOCK_JUMPS,
    Fault.SHUTS_DOWN,
    Fault.OUTAGE,
    Fault.DAMAGE,
)
OF_WAKE_UPS = (Fault.HINT_LOST, Fault.LATE_WAKE_UP)


class Luck:
    """Decides what goes wrong. Each schedule has its own mixture: a few kinds, seldom or often.

    Args:
        spared: faults, by number, that do not happen after all; for making a failure smaller.

    Attributes:
        struck: the faults that happened, in order, with their numbers.
        over: no fault happens any more.
    """

    def __init__(self, chance: random.Random, spared: Collection[int] = ()) -> None:
        """Choose the mixture."""
        self._chance = chance
        self._spared = frozenset(spared)
        self._number = 0
        self.over = False
        self.struck: list[tuple[int, Fault]] = []
        self.calls = self._some_of(AT_CALLS)
        self.moments = self._some_of(AT_ANY_TIME)
        wake_ups = self._some_of(OF_WAKE_UPS)
        self.call_rate = chance.choice((0.0, 0.005, 0.02, 0.05)) if self.calls else 0.0
        self.moment_rate = chance.choice((0.0, 0.3, 1.0, 2.0)) if self.moments else 0.0
        """Faults per second."""
        self.hint_rate = chance.choice((0.1, 1.0)) if Fault.HINT_LOST in wake_ups else 0.0
        self.late_rate = chance.choice((0.02, 0.2)) if Fault.LATE_WAKE_UP in wake_ups else 0.0

    def _some_of(self, kinds: tuple[Fault, ...]) -> tuple[Fault, ...]:
        share = self._chance.choice((0.0, 0.3, 0.6, 1.0))
        return tuple(kind for kind in kinds if self._chance.random() < share)

    def _strikes(self, kind: Fault) -> bool:
        self._number += 1
        if self.over or self._number in self._spared:
            return False
        self.struck.append((self._number, kind))
        return True

    def at_call(self) -> Fault | None:
        """What happens to this call that changes something."""
        if self.over or self._chance.random() >= self.call_rate:
            return None
        kind = self._chance.choice(self.calls)
        return kind if self._strikes(kind) else None

    def next_moment(self) -> int | None:
        """Microseconds until something goes wrong by itself; None for never."""
        if not self.moment_rate:
            return None
        return int(self._chance.expovariate(self.moment_rate) * 1e6) + 1

    def at_moment(self) -> Fault | None:
        """What goes wrong now."""
        kind = self._chance.choice(self.moments)
        return kind if self._strikes(kind) else None

    def hint_is_lost(self) -> bool:
        """Whether this hint does not arrive."""
        if self.over or not self.hint_rate or self._chance.random() >= self.hint_rate:
            return False
        return self._strikes(Fault.HINT_LOST)

    def wakes_late(self) -> int:
        """Microseconds by which this wake-up is late."""
        if self.over or not self.late_rate or self._chance.random() >= self.late_rate:
            return 0
        if not self._strikes(Fault.LATE_WAKE_UP):
            return 0
        return self._chance.randrange(1, 300_000)

    def counts(self) -> Counter[Fault]:
        """How often each kind happened."""
        return Counter(kind for _, kind in self.struck)
