"""Classes and strategies for the tests of values. Annotations here are real, not text."""

import dataclasses
import enum
import math
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Generic, NamedTuple, TypedDict, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs
import msgspec
import pydantic
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

deterministic = settings(
    derandomize=True,
    deadline=None,
    max_examples=200,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)


def name(value):
    """The id of a parametrised test: the same in every process, so never the text of a set."""
    return type(value).__name__


class Colour(enum.Enum):
    RED = 1
    BLUE = "blue"  # mixed values: msgspec refuses such an Enum


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Word(enum.StrEnum):
    YES = "yes"


class Rights(enum.Flag):
    READ = enum.auto()
    WRITE = enum.auto()


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


@dataclasses.dataclass
class Point3(Point):
    z: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    name: str
    when: datetime


@dataclasses.dataclass
class Basket:
    owner: object
    items: set[str] = dataclasses.field(default_factory=set)


@dataclasses.dataclass
class Counting:
    """Its __post_init__ changes what it is given, so it can never come back equal."""

    n: int

    def __post_init__(self):
        self.n += 1


@dataclasses.dataclass
class Node:
    children: list["Node"]


T = TypeVar("T")


@dataclasses.dataclass
class Box(Generic[T]):
    content: T


class Pair(NamedTuple):
    left: int
    right: str = "r"


class Movie(TypedDict, total=False):
    title: str
    year: int


class Event(msgspec.Struct):
    name: str
    at: datetime | None = None


class Renamed(msgspec.Struct, rename={"kind": "$kind"}):
    kind: str


@attrs.define
class Parcel:
    weight: float
    label: str = ""


class User(pydantic.BaseModel):
    name: str
    born: date | None = None


class Admin(User):
    rights: list[str] = []
    _seen: int = pydantic.PrivateAttr(default=0)


class Free(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    anything: Any = None


class Words(pydantic.RootModel[set[str]]):
    pass


class Plain:
    def __init__(self, value):
        self.value = value

    def __eq__(self, other):
        return type(other) is type(self) and vars(other) == vars(self)

    def __hash__(self):
        return 7


class Slotted:
    __slots__ = ("value",)


BERLIN = ZoneInfo("Europe/Berlin")

SCALARS = [
    None,
    True,
    False,
    0,
    1,
    -1,
    2**63 - 1,
    -(2**63),
    2**63,
    2**70,
    -(2**200),
    10**5000,
    0.0,
    -0.0,
    1.0,
    1e22,
    5e-324,
    math.nan,
    math.inf,
    -math.inf,
    "",
    "x",
    "é",
    "\U0001f600",
    "\x00",
    '{"$":1}',
    "$",
    b"",
    b"\x00\xff",
    bytearray(b"ab"),
    datetime(2026, 1, 2, 3, 4, 5, 678),
    datetime(2026, 1, 2, tzinfo=UTC),
    datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN),
    datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1),
    datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=-3, seconds=7))),
    datetime(2026, 1, 2, fold=1),
    datetime.min,
    datetime.max,
    date(2026, 1, 2),
    time(1, 2, 3, 4),
    time(1, tzinfo=UTC),
    time(1, fold=1),
    time(1, tzinfo=BERLIN),
    timedelta(),
    timedelta(days=-1, microseconds=1),
    timedelta.max,
    timedelta.min,
    UUID(int=5),
    Decimal("1.10"),
    Decimal("-0"),
    Decimal("NaN"),
    Decimal("sNaN123"),
    Decimal("Infinity"),
    Decimal("1E+999999"),
    complex(1, -0.0),
    complex(math.nan, math.inf),
    Path("a/b"),
    PurePosixPath("/x"),
    PureWindowsPath("C:/x"),
]

CONTAINERS = [
    [],
    {},
    (),
    set(),
    frozenset(),
    [[]],
    [()],
    ((),),
    {"a": [1, (2, {3})]},
    {1: "a", "1": "b", None: 2, (1, 2): 3},
    {"$": "v", "v": 1},
    {"$ref": 1},
    {"a": 1, "$ref": 2},
    {"b": 1, "a": 2},
    {True: 1},
    {math.inf: 1},
    {frozenset({1}): {2}},
    {1, 2, 3},
    {"a", 1, None, 2.5},
    {(1, 2), (True, 2)},
    frozenset({b"x"}),
    {math.nan},
    {datetime(2026, 1, 1, tzinfo=UTC): UUID(int=1)},
]

RECORDS = [
    Colour.RED,
    Colour.BLUE,
    Level.HIGH,
    Word.YES,
    Rights.READ | Rights.WRITE,
    Rights(0),
    Rights.READ,
    Point(1, 2),
    Point3(1, 2, 3),
    Frozen("a", datetime(2026, 1, 1, tzinfo=BERLIN)),
    Basket(Point(1), {"b", "a"}),
    Node([Node([]), Node([])]),
    Box(Box((1, 2))),
    Pair(1),
    Pair(2, "x"),
    Event("e", datetime(2026, 1, 1)),
    Renamed("k"),
    Parcel(1.5, "l"),
    User(name="u", born=date(2000, 1, 1)),
    Admin(name="a", rights=["x"]),
    Free.model_validate({"anything": (1, {2}), "more": Point(1)}),
    Plain([1, (2,)]),
]

CLASSES = [
    Colour,
    Level,
    Word,
    Rights,
    Point,
    Point3,
    Frozen,
    Basket,
    Node,
    Box,
    Pair,
    Event,
    Renamed,
    Parcel,
    User,
    Admin,
    Free,
    Plain,
    Words,
]

_hashable = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.binary(max_size=8)
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.dates()
    | st.datetimes(timezones=st.none() | st.just(UTC) | st.just(BERLIN))
    | st.timedeltas()
    | st.sampled_from([*Colour, *Level, *Rights])
    | st.builds(Pair, st.integers(), st.text(max_size=3)),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=6,
)

anything = st.recursive(
    _hashable | st.floats() | st.complex_numbers() | st.binary(max_size=8).map(bytearray),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(max_size=4) | st.sampled_from(["$", "v", "$x"]), inner, max_size=4
        )
        | st.dictionaries(_hashable, inner, max_size=3)
        | st.sets(_hashable, max_size=4)
        | st.builds(lambda *a: tuple(a), inner, inner)
        | st.builds(Box, inner)
        | st.builds(Basket, inner, st.sets(st.text(max_size=3), max_size=3))
    ),
    max_leaves=12,
)
"""Values that the untyped codec must bring back, of every type that it knows."""
