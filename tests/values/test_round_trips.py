"""Every kind of value under every kind of annotation comes back equal."""

import datetime as dt
import decimal
import json
import math
import pathlib
import typing
import uuid
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given

from perdure.values import TypeRegistry
from tests.values import samples
from tests.values.samples import (
    CONTAINERS,
    RECORDS,
    SCALARS,
    Admin,
    Basket,
    Box,
    Colour,
    Event,
    Free,
    Frozen,
    Level,
    Movie,
    Node,
    Pair,
    Parcel,
    Point,
    Point3,
    Renamed,
    Rights,
    User,
    Word,
    anything,
    deterministic,
    name,
)
from tests.values.support import full_registry, round_trip


@pytest.mark.parametrize("value", SCALARS + CONTAINERS + RECORDS, ids=name)
@pytest.mark.parametrize(
    "annotation", [Any, object, str, int, float, list[int], Point | Frozen, "Missing", set[int]]
)
def test_any_value_survives_under_any_annotation(value, annotation):
    round_trip(annotation, value, full_registry())


@deterministic
@given(anything)
def test_generated_values_come_back_equal_by_type(value):
    round_trip(Any, value, full_registry())
    round_trip(dict[str, int] | list[str] | None, value, full_registry())


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Point, Point(1, 2)),
        (Box[int], Box(3)),
        (Pair, Pair(1)),
        (Movie, Movie(title="x", year=1)),
        (dt.datetime, dt.datetime(2026, 1, 1, tzinfo=dt.UTC)),
        (dt.date, dt.date(2026, 1, 1)),
        (bytes, b"\xff"),
        (tuple[int, str], (1, "a")),
        (dict[int, str], {1: "a"}),
        (Literal["a", 1], 1),
        (int | None, None),
        (int | str | None, "1"),
        (dt.time, dt.time(1)),
        (dt.timedelta, dt.timedelta(1)),
        (decimal.Decimal, decimal.Decimal("1.10")),
        (uuid.UUID, uuid.UUID(int=1)),
        (Event, Event("e")),
        (list[Point], [Point(1)]),
        (int, 2**70),
        (Annotated[int, msgspec.Meta(ge=0)], 3),
        (Level, Level.LOW),
        (Parcel, Parcel(1.0)),
        (Node, Node([Node([])])),
        (User, User(name="u")),
        (list[User], [User(name="u")]),
        (User | None, User(name="u", born=dt.date(2000, 1, 1))),
        (type(None), None),
        (None, None),
    ],
    ids=name,
)
def test_the_annotation_gives_plain_json(annotation, value):
    body = round_trip(annotation, value)
    assert not body.startswith(b'{"$')
    json.loads(body)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Point | Frozen, Point(1)),
        (Point | Frozen, Frozen("a", dt.datetime(2026, 1, 1))),
        (dt.datetime | str, "2026-01-01"),
        (dt.datetime | str, dt.datetime(2026, 1, 1)),
        (Colour, Colour.BLUE),
        (pathlib.Path, pathlib.Path("a")),
        (complex, 1j),
        (float, math.inf),
        (float, math.nan),
        (float, 2**53 + 1),
        (dict[tuple[int, int], str], {(1, 2): "x"}),
        (list[Any], [(1, 2)]),
        (list, [(1,)]),
        (Point, Point3(1, 2, 3)),
        (User, Admin(name="a", rights=["r"])),
        (list[User], [Admin(name="a")]),
        (set[int], {3, 1}),
        (frozenset[str], frozenset("ab")),
        (Basket, Basket(None, {"a"})),
        (int, True),
        (float, True),
        (int, "x"),
        (str, Word.YES),
        (int, Level.HIGH),
        (list[int], (1,)),
        (Sequence[int], (1,)),
        (Mapping[str, int], {"a": 1}),
        (dict[str, int], {"$a": 1}),
        (Renamed, Renamed("x")),
        (Free, Free(anything=(1,))),
        (User | Point, Point(1)),
        (User | Event, Event("e")),
        (dt.datetime, dt.datetime(2026, 1, 1, tzinfo=samples.BERLIN)),
        (dt.datetime, dt.datetime(2026, 1, 1, fold=1)),
        (Rights, Rights.READ | Rights.WRITE),
        (Box[Any], Box((1,))),
        (Movie, {"title": "x", "other": 1}),
        (typing.TypeVar("V", bound=Point), Point(1)),
        (typing.NewType("Id", int), 3),
        (dict[str, Point | Event], {"a": Point(1), "b": Event("e")}),
    ],
    ids=name,
)
def test_what_typed_json_would_lose_is_kept(annotation, value):
    registry = TypeRegistry()
    for cls in (Word, Level, Point3, Admin):
        registry.register(cls)
    round_trip(annotation, value, registry)
