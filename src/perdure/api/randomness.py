"""`WorkflowRandom`: all of `random.Random`, computed from a workflow's deterministic draws.

It keeps no state and must not use the standard library's generator, nor its distributions: a
Python upgrade may change those, and then a replay would see other values. Every method here is our
own, written from the cited sources, on arithmetic that is the same on every machine.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, MutableSequence, Sequence
from fractions import Fraction
from itertools import accumulate, pairwise
from math import inf, isfinite, sqrt, tau
from operator import index
from random import Random
from typing import Any, NoReturn, Protocol, Self, TypeVar, final

from perdure.api.portable_math import atan, exp, log
from perdure.errors import InternalError, OperationRefused

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

ALGORITHM_VERSION = 1
"""Version of this file and of portable_math: a change of any value is a new number."""

_TRIES_MAX = 1000
"""Rejections in a row. Each try succeeds with probability 1/2 or more: 2**-1000 is not bad luck."""

_BINOMIAL_DIRECT_MAX = 16
"""Trials that are drawn one by one; splitting costs about as many draws as this."""

_KAPPA_UNIFORM_MAX = 1e-12
"""A von Mises density this flat differs from the uniform one by less than a float can show."""


class _Indexable(Protocol[T_co]):
    def __len__(self) -> int: ...
    def __getitem__(self, position: int, /) -> T_co: ...


@final
class WorkflowRandom(Random):
    """Deterministic random numbers with the interface of `random.Random`.

    It is a view on two kinds of draws and holds nothing else: each method asks for as many draws as
    it needs, in an order that is part of `ALGORITHM_VERSION`. Calling the object is `random()`.

    Not for secrets: the values follow from what is stored.
    """

    def __new__(cls, next_float: Callable[[], float], next_bits: Callable[[int], int]) -> Self:
        """Keep the arguments from the base class, which would take the first for a seed."""
        del next_float, next_bits
        return super().__new__(cls)

    def __init__(self, next_float: Callable[[], float], next_bits: Callable[[int], int]) -> None:
        """Take the source of draws.

        Args:
            next_float: one draw of kind "random": a multiple of 2**-53 in [0, 1).
            next_bits: one draw of kind "bits": an integer of that many random bits.
        """
        # Not super().__init__(): it seeds a generator, and there must be no state to disagree with
        # the journal. (The base type allocates one all the same; nothing ever reads it.)
        self._next_float = next_float
        self._next_bits = next_bits

    def __call__(self) -> float:
        """A float in [0, 1): `wf.random()` is `wf.random.random()`."""
        return self._next_float()

    # --- state that does not exist ---------------------------------------------------------------

    def seed(self, a: object = None, version: int = 2) -> None:  # noqa: ARG002
        """Refused: the values follow from the workflow's identity."""
        raise _refused("be seeded")

    def getstate(self) -> tuple[Any, ...]:
        """Refused: there is no state."""
        raise _refused("give its state")

    def setstate(self, state: object) -> None:  # noqa: ARG002
        """Refused: there is no state."""
        raise _refused("be set to a state")

    def __reduce__(self) -> NoReturn:
        raise _refused("be pickled or copied")

    # --- bits and integers -----------------------------------------------------------------------

    def random(self) -> float:
        """A float in [0, 1) with 53 random bits; one draw."""
        return self._next_float()

    def getrandbits(self, k: int, /) -> int:
        """An integer of k random bits; one draw, none for k = 0."""
        k = index(k)
        if k < 0:
            raise ValueError(f"the number of bits must not be negative, got {k}")
        return self._next_bits(k) if k else 0

    def randbytes(self, n: int) -> bytes:
        """`n` random bytes; one draw. Little-endian, as the standard library lays them out."""
        n = index(n)
        if n < 0:
            raise ValueError(f"the number of bytes must not be negative, got {n}")
        return self.getrandbits(8 * n).to_bytes(n, "little")

    def _randbelow(self, n: int) -> int:
        """An integer in [0, n), each equally likely: draw enough bits, reject what is too large.

        Source: von Neumann, "Various techniques used in connection with random digits" (1951). The
        base class has a method of this name that other code calls, so it is ours as well.
        """
        width = (n - 1).bit_length()
        for _ in range(_TRIES_MAX):
            value = self.getrandbits(width)
            if value < n:
                return value
        raise _source_is_stuck()

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        """An element of range(start, stop, step), each equally likely."""
        start, step = index(start), index(step)
        if stop is None:
            if step != 1:
                raise TypeError("randrange() with a step needs a stop as well")
            start, stop = 0, start
        stop = index(stop)
        if step == 0:
            raise ValueError("randrange() needs a step other than 0")
        count = -((start - stop) // step)
        if count <= 0:
            raise ValueError(f"randrange({start}, {stop}, {step}) is an empty range")
        return start + step * self._randbelow(count)

    def randint(self, a: int, b: int) -> int:
        """An integer in [a, b], both ends included."""
        return self.randrange(a, index(b) + 1)

    # --- sequences -------------------------------------------------------------------------------

    def choice(self, seq: _Indexable[T]) -> T:
        """An element of `seq`, each equally likely."""
        if len(seq) == 0:
            raise IndexError("cannot choose from an empty sequence")
        return seq[self._randbelow(len(seq))]

    def choices(
        self,
        population: _Indexable[T],
        weights: Sequence[float | Fraction] | None = None,
        *,
        cum_weights: Sequence[float | Fraction] | None = None,
        k: int = 1,
    ) -> list[T]:
        """`k` elements, each drawn anew from the whole population.

        With weights by inverting the cumulative distribution (Devroye, "Non-Uniform Random Variate
        Generation" (1986), III.2): one draw of a float each.
        """
        if isinstance(weights, int):
            raise TypeError("choices() takes the number of choices as a keyword: k=...")
        if weights is not None:
            if cum_weights is not None:
                raise TypeError("choices() takes weights or cum_weights, not both")
            cumulative = list(accumulate(weights))
        elif cum_weights is not None:
            cumulative = list(cum_weights)
        else:
            return [self.choice(population) for _ in range(k)]
        _check_cumulative(cumulative, len(population))
        total = float(cumulative[-1])
        # The bound keeps a product that was rounded up to the total inside the population.
        last = len(cumulative) - 1
        return [
            population[bisect_right(cumulative, self.random() * total, 0, last)] for _ in range(k)
        ]

    def shuffle(self, x: MutableSequence[Any]) -> None:
        """Put `x` into random order, in place.

        Source: Knuth, "The Art of Computer Programming" volume 2, algorithm 3.4.2 P (Durstenfeld
        1964).
        """
        for upper in range(len(x) - 1, 0, -1):
            other = self._randbelow(upper + 1)
            x[upper], x[other] = x[other], x[upper]

    def sample(
        self, population: Sequence[T], k: int, *, counts: Iterable[int] | None = None
    ) -> list[T]:
        """`k` elements at different positions, in random order. `counts` repeats each element.

        The first k steps of a shuffle from the front (Knuth 3.4.2 P), on a list of positions of
        which only the moved ones are stored: memory goes with k, not with the population.
        """
        if not isinstance(population, Sequence):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError("sample() needs a sequence; for a set or a dict pass sorted(...)")
        ends = _ends_of_runs(population, counts)
        total = ends[-1] if ends else 0
        k = index(k)
        if not 0 <= k <= total:
            raise ValueError(f"sample() of {k} out of {total}: too many, or negative")
        moved: dict[int, int] = {}
        positions: list[int] = []
        for step in range(k):
            at = step + self._randbelow(total - step)
            positions.append(moved.get(at, at))
            moved[at] = moved.get(step, step)
        if counts is None:
            return [population[position] for position in positions]
        return [population[bisect_right(ends, position)] for position in positions]

    # --- continuous distributions ----------------------------------------------------------------

    def uniform(self, a: float, b: float) -> float:
        """A float between a and b, whichever is larger; `b` itself only by rounding."""
        return a + (b - a) * self.random()

    def triangular(self, low: float = 0.0, high: float = 1.0, mode: float | None = None) -> float:
        """A triangle over [low, high] with its peak at `mode` (default: the middle).

        The inverse of the distribution function, which is two pieces of a parabola.
        """
        u = self.random()
        if low == high:
            return low
        peak = 0.5 if mode is None else (mode - low) / (high - low)
        if not 0 <= peak <= 1:
            raise ValueError(f"triangular() needs its mode in [{low}, {high}], got {mode}")
        if u < peak:
            return low + (high - low) * sqrt(u * peak)
        return high - (high - low) * sqrt((1 - u) * (1 - peak))

    def _exponential(self) -> float:
        """An exponential variate of mean 1: -log(1 - U), so that U = 0 is no special case."""
        return -log(1 - self.random())

    def expovariate(self, lambd: float = 1.0) -> float:
        """The time to the next event at `lambd` events per unit of time (von Neumann 1951)."""
        return self._exponential() / lambd

    def _standard_normal(self) -> float:
        """A normal variate of mean 0 and deviation 1 by the polar method.

        Source: Marsaglia & Bray, "A convenient method for generating normal variables" (1964);
        Knuth 3.4.1 P. The method gives a pair; the second is not kept, because it would be state.
        """
        for _ in range(_TRIES_MAX):
            x = 2 * self.random() - 1
            y = 2 * self.random() - 1
            square = x * x + y * y
            if 0 < square < 1:
                return x * sqrt(-2 * log(square) / square)
        raise _source_is_stuck()

    def normalvariate(self, mu: float = 0.0, sigma: float = 1.0) -> float:
        """The normal distribution of mean `mu` and standard deviation `sigma`."""
        return mu + sigma * self._standard_normal()

    def gauss(self, mu: float = 0.0, sigma: float = 1.0) -> float:
        """The same as `normalvariate`: nothing is kept for the next call."""
        return mu + sigma * self._standard_normal()

    def lognormvariate(self, mu: float, sigma: float) -> float:
        """A variate whose logarithm is normal with mean `mu` and standard deviation `sigma`."""
        return exp(self.normalvariate(mu, sigma))

    def _log_gamma_variate(self, alpha: float) -> float:
        """The logarithm of a gamma variate of shape `alpha` and scale 1.

        Source: Marsaglia & Tsang, "A simple method for generating gamma variables" (2000); below
        shape 1 by their section 6, G(a) = G(a + 1) U**(1/a). It is the logarithm because for small
        shapes the variate itself is too small for a float.
        """
        if alpha < 1:
            return self._log_gamma_variate(alpha + 1) - self._exponential() / alpha
        d = alpha - 1 / 3
        c = 1 / sqrt(9 * d)
        for _ in range(_TRIES_MAX):
            x = self._standard_normal()
            root = 1 + c * x
            if root <= 0:
                continue
            v = root * root * root
            if -self._exponential() < 0.5 * x * x + d - d * v + d * log(v):
                return log(d * v)
        raise _source_is_stuck()

    def gammavariate(self, alpha: float, beta: float) -> float:
        """The gamma distribution of shape `alpha` and scale `beta`, both above 0."""
        _check_positive("gammavariate", alpha=alpha, beta=beta)
        return beta * exp(self._log_gamma_variate(alpha))

    def betavariate(self, alpha: float, beta: float) -> float:
        """The beta distribution on [0, 1]; both shapes above 0.

        G(alpha) / (G(alpha) + G(beta)) of two gamma variates (Devroye 1986, IX.4), from their
        logarithms, so that shapes near 0 give both ends and not 0 / 0.
        """
        _check_positive("betavariate", alpha=alpha, beta=beta)
        difference = self._log_gamma_variate(alpha) - self._log_gamma_variate(beta)
        # The argument of exp() is never above 0, so it cannot overflow.
        if difference < 0:
            ratio = exp(difference)
            return ratio / (1 + ratio)
        return 1 / (1 + exp(-difference))

    def paretovariate(self, alpha: float) -> float:
        """The Pareto distribution of shape `alpha` on [1, infinity), by inversion."""
        return exp(self._exponential() / alpha)

    def weibullvariate(self, alpha: float, beta: float) -> float:
        """The Weibull distribution of scale `alpha` and shape `beta`, by inversion."""
        e = self._exponential()
        # An exponential variate of exactly 0 has no logarithm; its powers are 0.
        return alpha * exp(log(e) / beta) if e > 0 else 0.0

    def vonmisesvariate(self, mu: float, kappa: float) -> float:
        """An angle in [0, 2 pi) around `mu`, the more concentrated the larger `kappa` (>= 0).

        Source: Best & Fisher, "Efficient simulation of the von Mises distribution" (1979). In the
        paper's words z = cos(pi U1), f = (1 + r z)/(r + z), c = kappa (r - f), and the angle is
        arccos(f). Here h = tan(pi U1 / 2) comes from a point in a quarter disc, and then
        z = (1 - h^2)/(1 + h^2), c = r/(r + z), arccos(f) = 2 arctan(h sqrt((r - 1)/(r + 1))). These
        are equal, need no cosine, and keep their digits when kappa is large.
        """
        if not kappa >= 0:
            raise ValueError(f"vonmisesvariate() needs kappa >= 0, got {kappa}")
        if kappa <= _KAPPA_UNIFORM_MAX:
            return (mu + tau * self.random()) % tau
        s = 0.5 / kappa
        root = sqrt(1 + s * s)
        r = s + root
        excess = s + s * s / (1 + root)  # r - 1, without the cancellation.
        scale = sqrt(excess / (r + 1))
        for _ in range(_TRIES_MAX):
            h = self._half_angle_tangent()
            # r + z, with 1 + z = 2 / (1 + h^2): a sum of positive parts.
            c = r / (excess + 2 / (1 + h * h))
            if log(c) + self._exponential() + 1 - c >= 0:
                angle = 2 * atan(h * scale)
                return (mu - angle if self.getrandbits(1) else mu + angle) % tau
        raise _source_is_stuck()

    def _half_angle_tangent(self) -> float:
        """tan(a) of an angle uniform in (0, pi/2): y/x of a point in the quarter disc."""
        for _ in range(_TRIES_MAX):
            x, y = self.random(), self.random()
            if x > 0 and x * x + y * y <= 1:
                return y / x
        raise _source_is_stuck()

    # --- discrete distributions ------------------------------------------------------------------

    def binomialvariate(self, n: int = 1, p: float = 0.5) -> int:
        """The number of successes in `n` independent trials of probability `p`.

        Source: Knuth 3.4.1 F, after Relles (1972) and Ahrens & Dieter (1974). The median of n
        uniform numbers is a beta variate; whether it is above p decides half of the trials at once.
        """
        n = index(n)
        if n < 0:
            raise ValueError(f"binomialvariate() needs n >= 0, got {n}")
        if not 0 <= p <= 1:
            raise ValueError(f"binomialvariate() needs p in [0, 1], got {p}")
        successes = 0
        while n > _BINOMIAL_DIRECT_MAX and 0 < p < 1:
            below = n // 2
            above = n - 1 - below
            median = self.betavariate(below + 1, above + 1)
            if median < p:
                successes += below + 1
                n, p = above, (p - median) / (1 - median)
            else:
                n, p = below, p / median
        if p in {0, 1}:
            return successes + (n if p else 0)
        return successes + sum(self.random() < p for _ in range(n))


def _refused(what: str) -> OperationRefused:
    return OperationRefused(
        f"wf.random cannot {what}: its values follow from the workflow's identity and position, so "
        "that a replay draws the same ones. For a generator with a seed and a state of its own, "
        "make one: random.Random(wf.random.getrandbits(64))."
    )


def _source_is_stuck() -> InternalError:
    return InternalError(
        f"{_TRIES_MAX} draws in a row gave no usable value: the source of draws is not random"
    )


def _check_positive(function: str, **parameters: float) -> None:
    for name, value in parameters.items():
        if not 0 < value < inf:
            raise ValueError(f"{function}() needs a finite {name} > 0, got {value}")


def _check_cumulative(cumulative: list[float | Fraction], length: int) -> None:
    """Refuse what `choices` cannot invert; weights below 0 would shadow their neighbours."""
    if len(cumulative) != length:
        raise ValueError(f"choices() got {len(cumulative)} weights for {length} elements")
    if not cumulative:
        raise IndexError("cannot choose from an empty sequence")
    if not isfinite(cumulative[-1]):
        raise ValueError("choices() needs finite weights")
    if cumulative[-1] <= 0:
        raise ValueError("choices() needs weights with a total above 0")
    if cumulative[0] < 0 or any(later < earlier for earlier, later in pairwise(cumulative)):
        raise ValueError("choices() needs weights that are not negative")


def _ends_of_runs(population: Sequence[object], counts: Iterable[int] | None) -> Sequence[int]:
    """For each element, the position after its last repetition; without counts each has one."""
    if counts is None:
        return range(1, len(population) + 1)
    each = [index(count) for count in counts]
    if len(each) != len(population):
        raise ValueError(f"sample() got {len(each)} counts for {len(population)} elements")
    if any(count < 0 for count in each):
        raise ValueError("sample() needs counts that are not negative")
    return list(accumulate(each))
