"""`WorkflowRandom` has the right distributions.

They are judged on a fixed source, so these tests have no luck: they pass or fail for good. Their
bounds are some six standard errors, wide enough for any honest source and far too narrow for a
wrong formula.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from itertools import permutations
from typing import Any

import pytest

from perdure.api.randomness import WorkflowRandom
from tests.api.sources import seeded

SAMPLES = 4000


def assert_even(values: list[Any], outcomes: list[Any]) -> None:
    """Chi-squared statistic within six of its own standard deviations: all equally likely."""
    expected = len(values) / len(outcomes)
    counts = Counter(values)
    assert set(counts) <= set(outcomes)
    statistic = sum((counts[each] - expected) ** 2 / expected for each in outcomes)
    freedom = len(outcomes) - 1
    assert statistic < freedom + 6 * math.sqrt(2 * freedom)


def test_integers_and_choices_are_even() -> None:
    generator = seeded(11)
    assert_even([generator.randrange(6) for _ in range(6000)], [0, 1, 2, 3, 4, 5])
    assert_even([generator.randrange(9, 0, -3) for _ in range(6000)], [9, 6, 3])
    assert_even([generator.choice("abcde") for _ in range(6000)], list("abcde"))
    assert_even(generator.choices("abc", k=6000), list("abc"))


def test_every_order_of_a_shuffle_is_as_likely() -> None:
    generator = seeded(12)

    def one() -> tuple[int, ...]:
        items = [0, 1, 2, 3]
        generator.shuffle(items)
        return tuple(items)

    assert_even([one() for _ in range(12000)], list(permutations(range(4))))


def test_every_ordered_sample_is_as_likely() -> None:
    generator = seeded(13)
    samples = [tuple(generator.sample(range(5), 3)) for _ in range(12000)]
    assert_even(samples, list(permutations(range(5), 3)))


def test_a_sample_with_counts_is_a_sample_of_the_repeated_elements() -> None:
    generator = seeded(14)
    assert sorted(generator.sample("abc", 6, counts=[2, 0, 4])) == list("aacccc")
    firsts = Counter(generator.sample("ab", 2, counts=[1, 3])[0] for _ in range(8000))
    assert firsts["a"] / 8000 == pytest.approx(0.25, abs=6 * math.sqrt(0.25 * 0.75 / 8000))
    (one,) = generator.sample(["x"], 1, counts=[10**30])
    assert one == "x"


@pytest.mark.parametrize(
    "weights",
    [
        {"weights": [1, 2, 5]},
        {"weights": [Fraction(1, 3), Fraction(2, 3), Fraction(5, 3)]},
        {"cum_weights": [0.1, 0.3, 0.8]},
    ],
)
def test_weights_are_kept(weights: dict[str, Any]) -> None:
    counts = Counter(seeded(15).choices("abc", k=8000, **weights))
    for letter, share in zip("abc", [1 / 8, 2 / 8, 5 / 8], strict=True):
        assert counts[letter] / 8000 == pytest.approx(share, abs=6 * math.sqrt(share / 8000))


def bessel_ratio(kappa: float) -> float:
    """I1(kappa) / I0(kappa), the mean cosine of a von Mises angle, by its power series."""
    half = kappa / 2
    i0 = sum(half ** (2 * k) / math.factorial(k) ** 2 for k in range(60))
    i1 = sum(half ** (2 * k + 1) / (math.factorial(k) * math.factorial(k + 1)) for k in range(60))
    return i1 / i0


def beta_moments(a: float, b: float) -> tuple[float, float]:
    return a / (a + b), a * b / ((a + b) ** 2 * (a + b + 1))


GAMMA = math.gamma

# name -> (one value, expected mean, expected variance)
MOMENTS: dict[str, tuple[Callable[[WorkflowRandom], float], float, float]] = {
    "random": (lambda r: r.random(), 1 / 2, 1 / 12),
    "uniform": (lambda r: r.uniform(5, -1), 2, 3),
    "triangular": (lambda r: r.triangular(0, 10, 2), 4, (100 + 4 - 20) / 18),
    "triangular middle": (lambda r: r.triangular(), 1 / 2, 1 / 24),
    "triangular at its end": (lambda r: r.triangular(0, 1, 1), 2 / 3, 1 / 18),
    "exponential": (lambda r: r.expovariate(4), 1 / 4, 1 / 16),
    "normal": (lambda r: r.normalvariate(3, 2), 3, 4),
    "normal, fourth moment": (lambda r: r.gauss() ** 4, 3, 96),
    "lognormal": (
        lambda r: r.lognormvariate(0, 0.5),
        math.exp(0.125),
        math.exp(0.25) * (math.exp(0.25) - 1),
    ),
    "gamma": (lambda r: r.gammavariate(3, 2), 6, 12),
    "gamma at 1": (lambda r: r.gammavariate(1, 1), 1, 1),
    "gamma below 1": (lambda r: r.gammavariate(0.3, 1), 0.3, 0.3),
    "gamma large": (lambda r: r.gammavariate(10000, 1), 10000, 10000),
    "beta": (lambda r: r.betavariate(2, 3), *beta_moments(2, 3)),
    "beta below 1": (lambda r: r.betavariate(0.5, 0.25), *beta_moments(0.5, 0.25)),
    "beta near 0": (lambda r: r.betavariate(1e-4, 1e-4), *beta_moments(1e-4, 1e-4)),
    "pareto": (lambda r: r.paretovariate(5), 5 / 4, 5 / 48),
    "weibull": (
        lambda r: r.weibullvariate(2, 1.5),
        2 * GAMMA(1 + 1 / 1.5),
        4 * (GAMMA(1 + 2 / 1.5) - GAMMA(1 + 1 / 1.5) ** 2),
    ),
    "von Mises, cosine": (
        lambda r: math.cos(r.vonmisesvariate(1, 2) - 1),
        bessel_ratio(2),
        1 - bessel_ratio(2) / 2 - bessel_ratio(2) ** 2,
    ),
    "von Mises, sine": (
        lambda r: math.sin(r.vonmisesvariate(1, 2) - 1),
        0,
        bessel_ratio(2) / 2,
    ),
    "von Mises wide, cosine": (
        lambda r: math.cos(r.vonmisesvariate(0, 0.1)),
        bessel_ratio(0.1),
        1 - bessel_ratio(0.1) / 0.1 - bessel_ratio(0.1) ** 2,
    ),
    # Nearly normal with variance 1/kappa.
    "von Mises narrow": (lambda r: r.vonmisesvariate(3, 1e12) - 3, 0, 1e-12),
    "von Mises flat": (lambda r: r.vonmisesvariate(1, 0), math.pi, math.pi**2 / 3),
    "binomial direct": (lambda r: r.binomialvariate(12, 0.3), 3.6, 2.52),
    "binomial split": (lambda r: r.binomialvariate(1000, 0.3), 300, 210),
    "binomial rare": (lambda r: r.binomialvariate(10**6, 5e-6), 5, 5),
    "binomial common": (lambda r: r.binomialvariate(101, 0.99), 99.99, 0.9999),
}


@pytest.mark.parametrize("name", MOMENTS)
def test_mean_and_variance(name: str) -> None:
    draw, mean, variance = MOMENTS[name]
    generator = seeded(21)
    values = [draw(generator) for _ in range(SAMPLES)]
    deviations = [(value - mean) ** 2 for value in values]
    found_variance = sum(deviations) / SAMPLES
    assert sum(values) / SAMPLES == pytest.approx(mean, abs=6 * math.sqrt(variance / SAMPLES))
    # The error of a variance depends on the fourth moment, here taken from the sample.
    spread = math.sqrt(sum((each - found_variance) ** 2 for each in deviations)) / SAMPLES
    assert found_variance == pytest.approx(variance, abs=6 * spread + 1e-12 * variance)


def test_the_binomial_has_the_right_probabilities() -> None:
    generator = seeded(22)
    n, p, samples = 17, 0.4, 6000
    counts = Counter(generator.binomialvariate(n, p) for _ in range(samples))
    for k in range(n + 1):
        share = math.comb(n, k) * p**k * (1 - p) ** (n - k)
        bound = 6 * math.sqrt(share / samples) + 1 / samples
        assert counts[k] / samples == pytest.approx(share, abs=bound)


def test_the_von_mises_covers_both_sides_and_stays_on_the_circle() -> None:
    generator = seeded(23)
    values = [generator.vonmisesvariate(0, 3) for _ in range(1000)]
    assert all(0 <= value <= math.tau for value in values)
    left = sum(value > math.pi for value in values)
    assert left == pytest.approx(500, abs=6 * math.sqrt(250))
