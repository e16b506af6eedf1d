"""Objects with fields: which class has which shape, and what is made of an older record."""

import ast
import dataclasses
import datetime as dt
import sys
from typing import Any, NamedTuple

import attrs
import msgspec
import pydantic
import pytest

from perdure.values.limits import Refusal
from perdure.values.shapes import PLAIN, derives, is_pydantic_model, shape_of, type_name
from tests.values.samples import (
    Admin,
    Colour,
    Event,
    Free,
    Frozen,
    Pair,
    Parcel,
    Plain,
    Point,
    Point3,
    Renamed,
    Slotted,
    User,
    name,
)


@dataclasses.dataclass
class Order:
    tags: list[str] = dataclasses.field(default_factory=list)
    cents: int = 5
    owner: Any = None
    total: int = dataclasses.field(default=0, init=False)

    def __post_init__(self):
        self.total = self.cents + 1


@attrs.define
class Crate:
    weight: float
    heavy: bool = attrs.field(init=False)

    def __attrs_post_init__(self):
        self.heavy = self.weight > 1


class Counted(msgspec.Struct):
    n: int
    seen: int = 0

    def __post_init__(self):
        self.seen += 1


class Half(Slotted):
    """Its own attributes are in its `__dict__`, and those of its base are not."""


class Empty:
    __slots__ = ()


class OpenEmpty(Empty):
    pass


@pytest.mark.parametrize(
    ("value", "fields"),
    [
        (Point3(1, 2, 3), {"x": 1, "y": 2, "z": 3}),
        (Frozen("a", dt.datetime.min), {"name": "a", "when": dt.datetime.min}),
        (Pair(1), {"left": 1, "right": "r"}),
        (Event("e"), {"name": "e", "at": None}),
        (Renamed("k"), {"kind": "k"}),
        (Parcel(1.5), {"weight": 1.5, "label": ""}),
        (User(name="u"), {"name": "u", "born": None}),
        (Admin(name="a"), {"name": "a", "born": None, "rights": [], "_seen": 0}),
        (Free.model_validate({"more": 1}), {"anything": None, "more": 1}),
        (Order(["t"], 7), {"tags": ["t"], "cents": 7, "owner": None, "total": 8}),
        (Crate(2.0), {"weight": 2.0, "heavy": True}),
    ],
    ids=name,
)
def test_objects_are_taken_apart_and_put_together(value, fields):
    shape = shape_of(type(value))
    assert shape is not None
    assert shape.take_apart(value) == fields
    back = shape.rebuild(type(value), dict(fields))
    assert type(back) is type(value)
    assert back == value


@dataclasses.dataclass
class Failure(Exception):
    code: int = 0


@pytest.mark.parametrize(
    "cls",
    [int, tuple, Plain, Colour, Failure, ast.Name, type("Sub", (tuple,), {}), type(None)],
    ids=lambda cls: cls.__name__,
)
def test_other_classes_have_no_shape(cls):
    assert shape_of(cls) is None


def test_what_a_pydantic_model_is():
    assert is_pydantic_model(User)
    assert not is_pydantic_model(Point)
    assert derives(bool, int)
    assert not derives(int, bool)


def test_without_pydantic_no_class_is_a_model_of_it(monkeypatch):
    monkeypatch.delitem(sys.modules, "pydantic")
    assert not is_pydantic_model(User)


class Row(NamedTuple):
    cells: int
    width: int = 3


@pytest.mark.parametrize(
    ("cls", "fields", "expected"),
    [
        (Point, {"x": 1, "gone": 2}, Point(1, 0)),
        (Order, {}, Order()),
        (Order, {"cents": 9, "total": 1}, Order([], 9)),
        (Order, {"tags": ["a"]}, Order(["a"])),
        (Row, {"cells": 1, "gone": 2}, Row(1)),
        (Event, {"name": "e", "gone": 1}, Event("e")),
        (Parcel, {"weight": 1.0, "label": "l", "gone": 1}, Parcel(1.0, "l")),
        (User, {"name": "u"}, User(name="u")),
        (Admin, {"name": "a"}, Admin(name="a")),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_fields_that_came_have_their_defaults_and_those_that_went_are_dropped(
    cls, fields, expected
):
    shape = shape_of(cls)
    assert shape is not None
    assert shape.rebuild(cls, fields) == expected


def test_a_default_that_is_made_is_made_anew():
    shape = shape_of(Order)
    assert shape is not None
    one, other = (shape.rebuild(Order, {}) for _ in range(2))
    assert isinstance(one, Order)
    assert isinstance(other, Order)
    assert one.tags is not other.tags


@pytest.mark.parametrize(
    ("cls", "fields", "missing"),
    [
        (Point, {"y": 1}, "x"),
        (Row, {}, "cells"),
        (Parcel, {"weight": 1.0}, "label"),
        (Frozen, {"name": "a"}, "when"),
    ],
    ids=["dataclass", "NamedTuple", "attrs", "slots"],
)
def test_a_field_that_is_not_there_and_has_no_default_is_told(cls, fields, missing):
    shape = shape_of(cls)
    assert shape is not None
    with pytest.raises(Refusal) as caught:
        shape.rebuild(cls, fields)
    assert str(caught.value) == (
        f"at $: the field {missing!r} is not in the record and has no default. Give it a default"
    )


def test_what_a_class_derives_after_its_init_is_derived_again():
    for value in (Order([], 7), Crate(2.0)):
        shape = shape_of(type(value))
        assert shape is not None
        fields = shape.take_apart(value) | {"total": -1, "heavy": None}
        assert shape.rebuild(type(value), fields) == value
    struct = shape_of(Counted)
    assert struct is not None
    assert struct.rebuild(Counted, {"n": 1, "seen": 1}) == Counted(1, 1)


def test_private_attributes_of_models_come_back_and_public_ones_are_not_taken_for_them():
    class Secret(pydantic.BaseModel):
        shown: int = 1
        _hidden: int = pydantic.PrivateAttr(default=2)
        _other: int = pydantic.PrivateAttr(default=3)

    shape = shape_of(Secret)
    assert shape is not None
    back = shape.rebuild(Secret, {"shown": 5, "_hidden": 6})
    assert isinstance(back, Secret)
    assert (back.shown, back._hidden, back._other) == (5, 6, 3)
    bare = shape.rebuild(Secret, {})
    assert isinstance(bare, Secret)
    assert (bare.shown, bare._hidden, bare._other) == (1, 2, 3)


@pytest.mark.parametrize("cls", [Plain, OpenEmpty])
def test_the_dict_of_a_plain_object_is_its_value(cls):
    value = object.__new__(cls)
    vars(value).update({"a": 1})
    fields = PLAIN.take_apart(value)
    assert fields == {"a": 1}
    assert fields is not vars(value)
    back = PLAIN.rebuild(cls, fields)
    assert type(back) is cls
    assert vars(back) == {"a": 1}


@pytest.mark.parametrize("cls", [Slotted, Half, Empty])
def test_state_in_slots_is_refused(cls):
    with pytest.raises(Refusal) as caught:
        PLAIN.take_apart(cls())
    assert str(caught.value) == (
        f"at $: a value of type {type_name(cls)!r} keeps its state in __slots__. Make it a "
        "dataclass, or give it a form of its own with register_extension"
    )


class Silent(type):
    def __getattribute__(cls, name):
        raise RuntimeError(name)


def test_the_name_of_a_class_for_messages():
    assert type_name(int) == "int"
    assert type_name(type(None)) == "NoneType"
    assert type_name(Point) == "tests.values.samples.Point"
    assert type_name(type("builtins.x", (), {"__module__": "shop"})) == "shop.builtins.x"
    silent = Silent("Quiet", (), {"__module__": "shop"})
    assert type_name(silent) == "shop.Quiet"
