"""`WorkflowRandom`: all ours, stateless, and the same values for ever."""

from __future__ import annotations

import copy
import inspect
import math
import pickle
import random
from collections.abc import Callable
from operator import methodcaller
from typing import Any

import pytest

from perdure.api.randomness import ALGORITHM_VERSION, WorkflowRandom
from perdure.errors import InternalError, OperationRefused
from tests.api.sources import Source, repeating, scripted, seeded

# --- all ours, and without state -----------------------------------------------------------------


def public_methods(cls: type) -> set[str]:
    return {
        name
        for name, member in inspect.getmembers(cls)
        if not name.startswith("_") and callable(member)
    }


def test_no_public_method_of_the_standard_library_is_inherited() -> None:
    inherited = public_methods(random.Random) - set(vars(WorkflowRandom))
    assert inherited == set()


def test_what_newer_pythons_have_is_there_on_every_python() -> None:
    assert "binomialvariate" in vars(WorkflowRandom)
    # What other code calls on a generator that it is given.
    assert "_randbelow" in vars(WorkflowRandom)


@pytest.mark.parametrize("name", sorted(public_methods(random.Random)))
def test_every_argument_of_the_standard_library_is_accepted(name: str) -> None:
    def accepted(cls: type) -> list[tuple[str, Any]]:
        _self, *parameters = inspect.signature(getattr(cls, name)).parameters.values()
        return [(each.name, each.kind) for each in parameters]

    assert accepted(WorkflowRandom) == accepted(random.Random)


def test_it_is_a_random_and_its_call_is_random() -> None:
    assert isinstance(seeded(), random.Random)
    assert scripted([0.25])() == 0.25
    assert scripted([0.25]).random() == 0.25


def test_it_keeps_nothing_but_its_source() -> None:
    generator = seeded()
    before = dict(vars(generator))
    generator.gauss()
    generator.shuffle([1, 2, 3])
    assert vars(generator) == before


def test_two_views_of_one_source_continue_each_other() -> None:
    whole = seeded(5)
    expected = [whole.gauss() for _ in range(6)]
    source = Source(5)
    parts = [WorkflowRandom(source.next_float, source.next_bits).gauss() for _ in range(6)]
    assert parts == expected


@pytest.mark.parametrize(
    "use",
    [
        lambda generator: generator.seed(),
        lambda generator: generator.seed(1, version=2),
        lambda generator: generator.getstate(),
        lambda generator: generator.setstate((3, (), None)),
        pickle.dumps,
        copy.copy,
        copy.deepcopy,
    ],
)
def test_state_is_refused_with_the_remedy(use: Callable[[WorkflowRandom], object]) -> None:
    with pytest.raises(OperationRefused, match=r"wf\.random cannot .* random\.Random\("):
        use(seeded())


def test_unpickling_into_it_is_refused() -> None:
    with pytest.raises(OperationRefused):
        methodcaller("__setstate__", None)(seeded())


def test_the_standard_generator_is_not_touched() -> None:
    before = random.getstate()
    generator = seeded()
    for name in GOLDEN:
        CALLS[name](generator)
    assert random.getstate() == before


# --- the same values for ever --------------------------------------------------------------------


def shuffled(generator: WorkflowRandom) -> list[int]:
    items = list(range(8))
    generator.shuffle(items)
    return items


CALLS: dict[str, Callable[[WorkflowRandom], object]] = {
    "random": lambda r: r.random(),
    "getrandbits": lambda r: r.getrandbits(70),
    "randbytes": lambda r: r.randbytes(5),
    "randrange": lambda r: [r.randrange(-10, 11, 5) for _ in range(5)],
    "randint": lambda r: [r.randint(1, 6) for _ in range(8)],
    "choice": lambda r: [r.choice("abc") for _ in range(6)],
    "choices": lambda r: r.choices("abc", k=6),
    "choices weighted": lambda r: r.choices("abc", [1, 2, 5], k=6),
    "shuffle": shuffled,
    "sample": lambda r: r.sample(range(100), 5),
    "sample counts": lambda r: r.sample("ab", 5, counts=[3, 4]),
    "uniform": lambda r: r.uniform(-1, 3),
    "triangular": lambda r: r.triangular(0, 10, 2),
    "expovariate": lambda r: r.expovariate(2),
    "normalvariate": lambda r: r.normalvariate(1, 2),
    "gauss": lambda r: [r.gauss(), r.gauss()],
    "lognormvariate": lambda r: r.lognormvariate(0, 0.5),
    "gammavariate": lambda r: [r.gammavariate(3, 2), r.gammavariate(0.5, 1)],
    "betavariate": lambda r: r.betavariate(2, 3),
    "paretovariate": lambda r: r.paretovariate(3),
    "weibullvariate": lambda r: r.weibullvariate(1, 1.5),
    "vonmisesvariate": lambda r: [r.vonmisesvariate(1, 2), r.vonmisesvariate(1, 0)],
    "binomialvariate": lambda r: [r.binomialvariate(10, 0.3), r.binomialvariate(1000, 0.3)],
}

# Never edit a line of this table: a workflow that is on its way replays with these values. A change
# of an algorithm needs a new ALGORITHM_VERSION beside the old one.
GOLDEN: dict[str, object] = {
    "random": 0.8578542230112182,
    "getrandbits": 1012775507484089731294,
    "randbytes": b"\x91\x98U\x9c\xdb",
    "randrange": [5, 5, 0, -5, 0],
    "randint": [4, 6, 4, 6, 3, 2, 3, 3],
    "choice": ["b", "c", "b", "c", "b", "a"],
    "choices": ["b", "c", "b", "c", "b", "a"],
    "choices weighted": ["c", "c", "c", "c", "c", "c"],
    "shuffle": [0, 1, 2, 4, 7, 5, 3, 6],
    "sample": [60, 86, 51, 95, 46],
    "sample counts": ["b", "b", "b", "a", "b"],
    "uniform": 2.4314168920448727,
    "triangular": 6.627810479954819,
    "expovariate": 0.9754510747301065,
    "normalvariate": 3.2953143108735143,
    "gauss": [1.1476571554367572, 1.5631988959655787],
    "lognormvariate": 1.775049975457545,
    "gammavariate": [10.028211380503214, 0.0015545637841248615],
    "betavariate": 0.653165567898362,
    "paretovariate": 1.916116950342449,
    "weibullvariate": 1.5613142547249557,
    "vonmisesvariate": [1.381112173907825, 5.973799424148078],
    "binomialvariate": [1, 303],
}


def test_the_goldens_are_of_this_version() -> None:
    assert ALGORITHM_VERSION == 1
    assert set(GOLDEN) == set(CALLS)
    assert {name.partition(" ")[0] for name in GOLDEN} == public_methods(WorkflowRandom) - {
        "seed",
        "getstate",
        "setstate",
    }


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_values(name: str) -> None:
    # Exact, floats too: the arithmetic is the same on every machine.
    assert CALLS[name](seeded(2026)) == GOLDEN[name]


# --- how many draws ------------------------------------------------------------------------------


def test_draws_per_method() -> None:
    source = Source(3)
    generator = WorkflowRandom(source.next_float, source.next_bits)
    generator.random()
    generator.uniform(1, 2)
    generator.triangular()
    generator.expovariate()
    generator.choices("abc", [1, 1, 1], k=4)
    assert (source.floats, source.bit_draws) == (8, [])
    generator.getrandbits(0)
    generator.randbytes(0)
    generator.choice("x")
    assert source.bit_draws == []
    generator.getrandbits(1000)
    generator.randbytes(3)
    generator.randrange(256)
    assert source.bit_draws == [1000, 24, 8]


def test_integers_reject_what_is_too_large() -> None:
    assert scripted(bits=[7, 6, 5]).randrange(6) == 5
    assert scripted(bits=[7, 6, 0]).randint(1, 6) == 1
    assert scripted(bits=[3, 2]).choice("abc") == "c"


def test_a_source_that_is_not_random_does_not_hang() -> None:
    stuck = WorkflowRandom(lambda: 0.5, lambda width: 2**width - 1)
    for use in (
        lambda: stuck.randrange(5),
        stuck.gauss,
        lambda: WorkflowRandom(lambda: 0.0, lambda _: 0).vonmisesvariate(0, 1),
        # Each kind of rejection by itself: a good point in the disc, a bad one to accept it with.
        lambda: repeating(0.999, 0.01, 0.0).vonmisesvariate(0, 1000),
        lambda: repeating(0.1, 0.5, 0.0).gammavariate(1, 1),
    ):
        with pytest.raises(InternalError, match="not random"):
            use()


# --- arguments -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "use"),
    [
        (ValueError, lambda r: r.getrandbits(-1)),
        (TypeError, lambda r: r.getrandbits(1.5)),
        (ValueError, lambda r: r.randbytes(-1)),
        (ValueError, lambda r: r.randrange(0)),
        (ValueError, lambda r: r.randrange(5, 5)),
        (ValueError, lambda r: r.randrange(0, 5, -1)),
        (ValueError, lambda r: r.randrange(0, 5, 0)),
        (TypeError, lambda r: r.randrange(5, None, 2)),
        (TypeError, lambda r: r.randrange(1.5)),
        (TypeError, lambda r: r.randint(1, 2.5)),
        (ValueError, lambda r: r.randint(2, 1)),
        (IndexError, lambda r: r.choice([])),
        (IndexError, lambda r: r.choices([], k=1)),
        (IndexError, lambda r: r.choices([], [], k=1)),
        (TypeError, lambda r: r.choices([1, 2], 2)),
        (TypeError, lambda r: r.choices([1], [1], cum_weights=[1])),
        (TypeError, lambda r: r.choices([1, 2], k=1.5)),
        (ValueError, lambda r: r.choices([1, 2], [1])),
        (ValueError, lambda r: r.choices([1, 2], [0, 0])),
        (ValueError, lambda r: r.choices([1, 2, 3], [2, -1, 2])),
        (ValueError, lambda r: r.choices([1, 2], [-1, 2])),
        (ValueError, lambda r: r.choices([1, 2], cum_weights=[2, 1])),
        (ValueError, lambda r: r.choices([1, 2], [1, math.inf])),
        (ValueError, lambda r: r.choices([1, 2], [1, math.nan])),
        (ValueError, lambda r: r.sample([1, 2], 3)),
        (ValueError, lambda r: r.sample([1, 2], -1)),
        (TypeError, lambda r: r.sample([1, 2], 1.0)),
        (TypeError, lambda r: r.sample({1, 2}, 1)),
        (ValueError, lambda r: r.sample([1, 2], 1, counts=[1])),
        (ValueError, lambda r: r.sample([1, 2], 1, counts=[2, -1])),
        (TypeError, lambda r: r.sample([1, 2], 1, counts=[1.5, 1])),
        (ValueError, lambda r: r.sample([1, 2], 4, counts=[1, 2])),
        (ValueError, lambda r: r.triangular(0, 1, 2)),
        (ZeroDivisionError, lambda r: r.expovariate(0)),
        (ValueError, lambda r: r.gammavariate(0, 1)),
        (ValueError, lambda r: r.gammavariate(1, -1)),
        (ValueError, lambda r: r.gammavariate(math.inf, 1)),
        (ValueError, lambda r: r.betavariate(0, 1)),
        (ValueError, lambda r: r.betavariate(1, math.nan)),
        (OverflowError, lambda r: r.lognormvariate(1000, 1)),
        (ZeroDivisionError, lambda r: r.paretovariate(0)),
        (ZeroDivisionError, lambda r: r.weibullvariate(1, 0)),
        (ValueError, lambda r: r.vonmisesvariate(0, -1)),
        (ValueError, lambda r: r.binomialvariate(-1, 0.5)),
        (ValueError, lambda r: r.binomialvariate(1, 1.5)),
        (ValueError, lambda r: r.binomialvariate(1, -0.5)),
        (TypeError, lambda r: r.binomialvariate(1.5, 0.5)),
    ],
)
def test_wrong_arguments(error: type[Exception], use: Callable[[Any], object]) -> None:
    with pytest.raises(error):
        use(seeded())


def test_corners() -> None:
    generator = seeded()
    assert generator.getrandbits(0) == 0
    assert generator.randbytes(0) == b""
    assert generator.randint(7, 7) == 7
    assert generator.sample([], 0) == []
    assert generator.choices([], k=0) == []
    assert generator.choices("ab", [0, 1], k=50) == ["b"] * 50
    assert generator.choices("ab", [1, 0], k=50) == ["a"] * 50
    assert generator.triangular(3, 3) == 3
    assert generator.binomialvariate(0) == 0
    assert generator.binomialvariate(100, 0) == 0
    assert generator.binomialvariate(100, 1) == 100
    assert 0 <= generator.binomialvariate() <= 1
    assert scripted([0.0]).weibullvariate(1, 2) == 0.0
    assert scripted([0.0]).expovariate() == 0.0
    assert generator.vonmisesvariate(1, math.inf) == 1
    generator.shuffle([])


def test_little_endian_bytes() -> None:
    assert scripted(bits=[0x0201]).randbytes(2) == b"\x01\x02"


def test_huge_ranges_are_exact() -> None:
    generator = seeded()
    values = [generator.randrange(10**40, 10**40 + 10**30) for _ in range(200)]
    assert all(10**40 <= value < 10**40 + 10**30 for value in values)
    assert max(values) - min(values) > 9 * 10**29
