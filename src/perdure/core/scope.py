"""A scope: one branch of a workflow, with its own counters, draws and workflow clock. Pure.

A scope is used by one thread (and one asyncio task) at a time; who may use it is checked above.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from perdure.core.draws import DrawSource
from perdure.core.entries import Entry
from perdure.errors import ValueTooLarge

RANDOM: Final = "random"
UUID: Final = "uuid"
TIME: Final = "time"
BITS: Final = "bits"
IDEMPOTENCY_KEY: Final = "key"

DRAW_KINDS: Final = (RANDOM, UUID, TIME, BITS, IDEMPOTENCY_KEY)
"""Sequences of pure draws. Their entries are blocks; everything else is one entry each."""

TICK: Final = 1_000_000
"""Microseconds that one reading of the workflow clock adds."""

NUMBER_BYTES: Final = 20
"""A float or a time in JSON, about."""

BITS_MAX: Final = 8 * 1024 * 1024
"""Bits of one draw: a mebibyte, far above any key or nonce, far below what a journal can hold."""

DrawValue: TypeAlias = float | str | int


class DrawSequence:
    """One kind of draw in one scope: what the journal has, how many were handed out, what is new.

    Attributes:
        recorded: values of the journal, ordinal 1 first.
        count: how many were handed out by this attempt.
        fresh: values not yet in the journal; the first has ordinal `count - len(fresh) + 1`.
    """

    __slots__ = ("count", "fresh", "recorded")

    def __init__(self) -> None:
        """Start with nothing recorded."""
        self.recorded: list[DrawValue] = []
        self.count = 0
        self.fresh: list[DrawValue] = []


class Scope:
    """Counters of one branch. The root's path is "", a child's is its parent's plus "/n".

    Attributes:
        path: where the branch stands.
        commands: how many commands were asked for; numbers: how many of each sequence of keys.
        recorded: the commands that the journal has for it, in order.
        clock: the workflow clock of this branch, microseconds since 1970 UTC.
        branches: how many child scopes were made.
        on_fresh: called once for each draw that the journal does not hold yet, with the scope and
            about how many bytes the draw will take there.
    """

    __slots__ = (
        "branches",
        "clock",
        "commands",
        "numbers",
        "on_fresh",
        "path",
        "recorded",
        "sequences",
        "source",
    )

    def __init__(
        self, path: str, seed: bytes, clock: int, on_fresh: Callable[[Scope, int], None]
    ) -> None:
        """Make a scope that has counted nothing yet."""
        self.path = path
        self.source = DrawSource(seed, path)
        self.clock = clock
        self.commands = 0
        self.numbers: dict[str, int] = {}
        self.recorded: Sequence[Entry] = ()
        self.branches = 0
        self.sequences: dict[str, DrawSequence] = {}
        self.on_fresh = on_fresh

    def sequence(self, kind: str) -> DrawSequence:
        """The sequence of this draw kind, made at first use."""
        found = self.sequences.get(kind)
        if found is None:
            found = self.sequences[kind] = DrawSequence()
        return found

    def _draw(self, kind: str, make: Callable[[int], DrawValue]) -> DrawValue:
        sequence = self.sequences.get(kind) or self.sequence(kind)
        ordinal = sequence.count + 1
        sequence.count = ordinal
        if ordinal <= len(sequence.recorded):
            return sequence.recorded[ordinal - 1]
        value = make(ordinal)
        sequence.fresh.append(value)
        self.on_fresh(self, len(value) if isinstance(value, str) else NUMBER_BYTES)
        return value

    def random(self) -> float:
        """The next float in [0, 1)."""
        return float(self._draw(RANDOM, self.source.random))

    def uuid(self) -> str:
        """The next UUID, version-4 layout."""
        return str(self._draw(UUID, self.source.uuid))

    def idempotency_key(self) -> str:
        """The next key that names one intended effect, 32 hexadecimal characters."""
        return str(self._draw(IDEMPOTENCY_KEY, self.source.idempotency_key))

    def bits(self, width: int) -> int:
        """The next `width` random bits as a non-negative integer. Recorded in hexadecimal.

        Raises:
            ValueTooLarge: `width` is over `BITS_MAX`.
        """
        if width > BITS_MAX:
            raise ValueTooLarge(
                f"A draw of {width:,} random bits was asked for; at most {BITS_MAX:,} can be "
                "recorded at a time. Draw a seed and make the rest of it in a task."
            )
        text = self._draw(BITS, lambda ordinal: f"{self.source.bits(ordinal, width):x}")
        return int(str(text), 16)

    def utc_now(self) -> int:
        """Read the workflow clock: one second later than at the last reading or event."""
        self.clock = int(self._draw(TIME, lambda _: self.clock + TICK))
        return self.clock

    def event(self, at: int) -> None:
        """A durable event of this branch happened at `at`; the clock never falls behind it."""
        if at > self.clock:  # noqa: PLR1730 - max() takes three times as long, at every command
            self.clock = at

    def counts(self) -> dict[str, int]:
        """How many draws of each kind were handed out, without the zeros."""
        if not self.sequences:  # the common case, asked at every command
            return {}
        return {kind: seq.count for kind, seq in self.sequences.items() if seq.count}

    def next_branch(self) -> str:
        """The path of the next child scope, by creation order."""
        self.branches += 1
        return f"{self.path}/{self.branches}"
