"""What is found in an annotation, and whether msgspec can be trusted with its values."""

import dataclasses
import enum
import types
import typing
from collections.abc import Set as AbstractSet
from typing import Annotated, Any, Generic, Literal, NewType, TypedDict, TypeVar

import msgspec
import pydantic
import pytest

from perdure.values import TypeRegistry, stable_name
from perdure.values.annotations import Survey, fits_msgspec, register_classes
from tests.values.samples import (
    Basket,
    Box,
    Colour,
    Event,
    Frozen,
    Level,
    Movie,
    Node,
    Pair,
    Parcel,
    Plain,
    Point,
    Point3,
    Rights,
    User,
)

Id = NewType("Id", Pair)
Place = NewType("Place", Point)
Bound = TypeVar("Bound", bound=Point)
Either = TypeVar("Either", Pair, Frozen)
Item = TypeVar("Item")


class Line(TypedDict):
    point: Point
    more: typing.NotRequired[list[Colour]]


class Team(pydantic.BaseModel):
    lead: User
    kind: Annotated[Level, "how high"]


class Page(pydantic.BaseModel, Generic[Item]):
    items: list[Item]
    count: typing.ClassVar[type[Colour]] = Colour


class Bare(pydantic.BaseModel):
    pass


class Lazy:
    """Like an alias `type Lazy = ...` of Python 3.12."""

    def __init__(self, stands_for):
        self.stands_for = stands_for

    def __repr__(self):
        return f"Lazy({self.stands_for})"

    @property
    def __value__(self):
        if self.stands_for is None:
            raise NameError("Missing")
        return self.stands_for


@pytest.mark.parametrize(
    ("annotation", "classes"),
    [
        (int, []),
        (list[int], []),
        (Plain, []),
        ("Missing", []),
        (..., []),
        (Point, [Point]),
        (Point3, [Point3]),
        (Pair, [Pair]),
        (Event, [Event]),
        (Parcel, [Parcel]),
        (Colour, [Colour]),
        (Rights, [Rights]),
        (Point | None, [Point]),
        (dict[str, list[Point | Pair]], [Point, Pair]),
        (Box[Point], [Point, Box]),
        (Node, [Node]),
        (Annotated[Point, "where"], [Point]),
        (Literal[Colour.RED, "x", Level.LOW, 1], [Colour, Level]),
        (tuple[Point, Literal[Colour.RED]], [Point, Colour]),
        (type[Colour], [Colour]),
        (tuple[Point, Point], [Point]),
        (Id, [Pair]),
        (tuple[Id, Id], [Pair]),
        (tuple[Id, Place], [Pair, Point]),
        (Bound, [Point]),
        (Either, [Pair, Frozen]),
        (Lazy(Point), [Point]),
        (Lazy(None), []),
        (Line, [Point, Colour]),
        (Movie, []),
        (User, [User]),
        (Team, [Team, User, Level]),
        (Bare, [Bare]),
        (enum.Enum, []),
        (enum.IntFlag, []),
        (msgspec.Struct, []),
        (pydantic.BaseModel, []),
    ],
    ids=str,
)
def test_the_classes_of_an_annotation(annotation, classes):
    assert Survey(annotation).classes == classes


def test_a_model_is_looked_into_as_pydantic_has_bound_it():
    page = Page[Point]
    assert Survey(page).classes == [page, Point]


def test_an_alias_that_holds_itself_is_looked_into_once():
    tree = Lazy(None)
    tree.stands_for = types.GenericAlias(tuple, (Point, tree, Pair))
    assert Survey(tree).classes == [Point, Pair]
    assert Survey(list[tree]).classes == [Point, Pair]  # type: ignore[valid-type]


def test_a_class_whose_annotations_mean_nothing_is_found_itself():
    broken = dataclasses.make_dataclass("Broken", [("x", "Missing"), ("y", Point)])
    assert Survey(broken).classes == [broken]


@pytest.mark.parametrize(
    ("annotation", "has_set", "has_model"),
    [
        (int, False, False),
        (Point, False, False),
        (set[int], True, False),
        (frozenset, True, False),
        (AbstractSet[str], True, False),
        (Basket, True, False),
        (tuple[set[int], int], True, False),
        (tuple[int, list[set[int]]], True, False),
        (User, False, True),
        (tuple[User, Point], False, True),
        (tuple[Point, User], False, True),
        (dict[str, Team], False, True),
        (tuple[User, set[int], Point], True, True),
        (pydantic.BaseModel, False, True),
    ],
    ids=str,
)
def test_sets_and_models_are_found(annotation, has_set, has_model):
    survey = Survey(annotation)
    assert survey.has_set is has_set
    assert survey.has_model is has_model


@pytest.mark.parametrize(
    ("annotation", "fits"),
    [
        (int, True),
        (list[int], True),
        (dict[str, int | None], True),
        (Point, True),
        (Node, True),
        (tuple[Node, Node], True),
        (Event, True),
        (Literal["a", 1], True),
        (Annotated[int, msgspec.Meta(ge=0)], True),
        (Any, False),
        (object, False),
        (list, False),
        (list[Any], False),
        (tuple[int, Any], False),
        (dict[str, list[Any]], False),
        (Box[Any], False),
        (Box[int], True),
        (complex, False),
        (Plain, False),
        (tuple[int, Plain], False),
        (msgspec.Raw, False),
        (msgspec.msgpack.Ext, False),
        ("Missing", False),
        (5, False),
    ],
    ids=str,
)
def test_whether_msgspec_fits(annotation, fits):
    assert fits_msgspec(annotation) is fits


def test_classes_become_known_and_keep_the_names_they_have():
    registry = TypeRegistry()
    registry.register(Point, "shop.Point")
    register_classes(Survey(tuple[Point, Point3, Pair]), registry)
    assert registry.name_of(Point) == "shop.Point"
    assert registry.find(stable_name(Point)) is None
    assert registry.name_of(Point3) == stable_name(Point3)
    assert registry.find(stable_name(Pair)) is Pair


def test_a_class_defined_again_replaces_what_was_registered_of_its_name():
    def define():
        @dataclasses.dataclass
        class Cell(Point):
            pass

        return Cell

    registry, old, new = TypeRegistry(), define(), define()
    registry.register(Point)
    registry.register(old)
    register_classes(Survey(new), registry)
    assert registry.find(stable_name(new)) is new
