"""What counts as equal, and what is said of the first difference."""

import collections
import dataclasses
import datetime as dt
import ipaddress
import math
import pathlib
from typing import Any

import pytest

from perdure.values import TypeRegistry
from perdure.values.equality import compare, step_to
from perdure.values.limits import Refusal
from tests.values.samples import Basket, Box, Colour, Pair, Plain, Point, Rights, User, Word, name
from tests.values.support import full_registry, same

NAN = float("nan")


def plain(**fields):
    value = Plain(1)
    vars(value).update(fields)
    return value


@pytest.mark.parametrize(
    ("given", "back"),
    [
        (1, 1.0),
        (0, 0.0),
        ([1], [1.0]),
        (NAN, math.nan),
        (-0.0, -0.0),
        ({1, NAN, (2, NAN)}, {(2, math.nan), math.nan, 1}),
        ({(NAN, pathlib.Path("a"))}, {(math.nan, pathlib.Path("a"))}),
        (frozenset({1.5}), frozenset({1.5})),
        ({1: "a", (1,): "b"}, {1: "a", (1,): "b"}),
        (Colour.RED, Colour.RED),
        (Rights.READ | Rights.WRITE, Rights(3)),
        (pathlib.Path("a"), pathlib.Path("a")),
        (Box([Point(1), {1}]), Box([Point(1), {1}])),
        (plain(a=NAN), plain(a=NAN)),
        (ipaddress.IPv4Address(1), ipaddress.IPv4Address(1)),
    ],
    ids=name,
)
def test_equal_values(given, back):
    assert same(given, back)


@pytest.mark.parametrize(
    ("given", "back", "told"),
    [
        (1, "1", "$: a value of type 'int' would come back as 'str'"),
        (1, True, "$: a value of type 'int' would come back as 'bool'"),
        (1.0, 1, "$: a value of type 'float' would come back as 'int'"),
        (1, 2.0, "$: a value of type 'int' would come back as 'float'"),
        (True, 1.0, "$: a value of type 'bool' would come back as 'float'"),
        ("a", "b", "$: a value of type 'str' would come back different"),
        (b"a", b"b", "$: a value of type 'bytes' would come back different"),
        (1.0, 2.0, "$: a value of type 'float' would come back different"),
        (0.0, -0.0, "$: a value of type 'float' would come back different"),
        (NAN, 1.0, "$: a value of type 'float' would come back different"),
        (1.0, NAN, "$: a value of type 'float' would come back different"),
        ([1], (1,), "$: a value of type 'list' would come back as 'tuple'"),
        ([1, 2], [1], "$: a value of type 'list' would come back different"),
        ((1,), (1, 2), "$: a value of type 'tuple' would come back different"),
        ([0, [1]], [0, [2]], "$[1][0]: a value of type 'int' would come back different"),
        (("a",), ("b",), "$[0]: a value of type 'str' would come back different"),
        ({"a": 1}, {}, "$: a value of type 'dict' would come back different"),
        ({}, {"a": 1}, "$: a value of type 'dict' would come back different"),
        ({"a": 1}, {"a": 2}, "$.a: a value of type 'int' would come back different"),
        ({"a b": 1}, {"a b": 2}, "$['a b']: a value of type 'int' would come back different"),
        ({"a": 1}, {"b": 1}, "$.a: a value of type 'str' would come back different"),
        ({"a": 1}, {1: 1}, "$.a: a value of type 'str' would come back as 'int'"),
        (
            {"yes": 1},
            {Word.YES: 1},
            "$.yes: a value of type 'str' would come back as 'tests.values",
        ),
        ({1: 1}, {True: 1}, "$[1]: a value of type 'int' would come back as 'bool'"),
        ({1: 1}, {2: 1}, "$[1]: a value of type 'int' would come back different"),
        ({2.5: 1}, {2.5: 2}, "$[<float>]: a value of type 'int' would come back different"),
        ({1}, {True}, "${}: a value of type 'int' would come back as 'bool'"),
        ({1}, {2}, "$: a value of type 'set' would come back different"),
        ({1}, {1, 2}, "$: a value of type 'set' would come back different"),
        ({NAN}, {2.0}, "$: a value of type 'set' would come back different"),
        (
            frozenset({(NAN, NAN), (NAN, 1)}),
            frozenset({(NAN, NAN), (math.inf, NAN)}),
            "$: a value of type 'frozenset' would come back different",
        ),
        (frozenset(), frozenset({1}), "$: a value of type 'frozenset' would come back different"),
        (
            Colour.RED,
            Colour.BLUE,
            "$: a value of type 'tests.values.samples.Colour' would come back different",
        ),
        (
            pathlib.PurePosixPath("a"),
            pathlib.PurePosixPath("b"),
            "$: a value of type 'str' would come back different",
        ),
        (
            dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
            dt.datetime(2026, 1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1))),
            "$: a value of type 'str' would come back different",
        ),
        (Point(1), Pair(1), "$: a value of type 'tests.values.samples.Point' would come back as"),
        (Point(1, 2), Point(1, 3), "$.y: a value of type 'int' would come back different"),
        (Pair(1), Pair(1, "s"), "$.right: a value of type 'str' would come back different"),
        (Basket(1), Basket(2), "$.owner: a value of type 'int' would come back different"),
        (
            User(name="u"),
            User(name="v"),
            "$.name: a value of type 'str' would come back different",
        ),
        (
            plain(more=None),
            plain(),
            "$.more: a value of type 'NoneType' would come back as 'object'",
        ),
        (
            plain(),
            plain(more=None),
            "$.more: a value of type 'object' would come back as 'NoneType'",
        ),
        (
            ipaddress.IPv4Address(1),
            ipaddress.IPv4Address(2),
            "$: a value of type 'ipaddress.IPv4Address' would come back different",
        ),
    ],
    ids=name,
)
def test_the_first_difference_is_told_with_its_path(given, back, told):
    with pytest.raises(Refusal) as caught:
        compare(given, back, full_registry())
    assert str(caught.value).startswith(f"at {told}")
    assert not caught.value.too_large


def test_each_element_without_equals_finds_one_partner_of_its_own():
    one, two = {(NAN, 1), (NAN, 2)}, {(NAN, 2), (NAN, 1)}
    assert same(one, two)
    assert not same({(NAN, 1), (math.nan, 1)}, {(NAN, 1), (NAN, 2)})


def test_values_of_a_row_are_equal_when_their_plain_forms_are():
    @dataclasses.dataclass
    class Amount:
        cents: int
        shown_as: str

    registry = TypeRegistry()
    registry.register_extension(Amount, "amount", lambda a: a.cents, lambda p: Amount(p, ""))
    registry.register_extension(collections.deque, "deque", list, collections.deque)
    amounts = collections.deque([Amount(5, "5 ct")])
    assert same(amounts, collections.deque([Amount(5, "")]), registry)
    assert not same(amounts, collections.deque([Amount(6, "5 ct")]), registry)
    assert same(Amount(5, "5 ct"), Amount(5, ""), registry)
    assert not same(Amount(5, ""), Amount(6, ""), registry)
    assert not same(Amount(5, "5 ct"), Amount(5, ""), full_registry())


def test_a_registered_class_is_compared_by_its_fields_and_another_by_its_own_equality():
    class Vague:
        def __init__(self, n: int) -> None:
            self.n = n

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Vague)

        __hash__ = None  # type: ignore[assignment]

    registry = TypeRegistry()
    assert same(Vague(1), Vague(2), registry)
    registry.register(Vague)
    assert not same(Vague(1), Vague(2), registry)


@pytest.mark.parametrize(
    ("key", "step"),
    [
        ("owner", ".owner"),
        ("class", ".class"),
        ("a b", "['a b']"),
        ("", "['']"),
        ("ä-" * 30, f"['{'ä-' * 20}']"),
        (0, "[0]"),
        (-1, "[-1]"),
        (2**64 - 1, f"[{2**64 - 1}]"),
        (1 - 2**64, f"[{1 - 2**64}]"),
        (2**64, "[<int>]"),
        (-(2**64), "[<int>]"),
        (True, "[<bool>]"),
        (0.5, "[<float>]"),
        (None, "[<NoneType>]"),
        ((1,), "[<tuple>]"),
    ],
)
def test_how_a_path_names_a_key(key: Any, step: str) -> None:
    assert step_to(key) == step
