"""Fixed sources of draws for `WorkflowRandom`: no luck in any test that uses them."""

from __future__ import annotations

from itertools import cycle

from perdure.api.randomness import WorkflowRandom

MASK = 2**64 - 1


class Source:
    """SplitMix64 (Steele, Lea & Flood 2014): a fixed, documented stream, and a count of draws."""

    def __init__(self, seed: int) -> None:
        self.position = seed
        self.floats = 0
        self.bit_draws: list[int] = []

    def word(self) -> int:
        self.position = (self.position + 0x9E3779B97F4A7C15) & MASK
        z = self.position
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return z ^ (z >> 31)

    def next_float(self) -> float:
        self.floats += 1
        return (self.word() >> 11) / 2**53

    def next_bits(self, width: int) -> int:
        self.bit_draws.append(width)
        value = 0
        for _ in range(0, width, 64):
            value = (value << 64) | self.word()
        return value >> (-width % 64)


def seeded(seed: int = 1) -> WorkflowRandom:
    source = Source(seed)
    return WorkflowRandom(source.next_float, source.next_bits)


def scripted(floats: list[float] | None = None, bits: list[int] | None = None) -> WorkflowRandom:
    """Gives exactly these draws; asking for one more fails the test."""
    float_draws, bit_draws = iter(floats or []), iter(bits or [])
    return WorkflowRandom(lambda: next(float_draws), lambda _width: next(bit_draws))


def repeating(*floats: float) -> WorkflowRandom:
    """Gives these draws over and over."""
    endless = cycle(floats)
    return WorkflowRandom(lambda: next(endless), lambda _width: 0)
