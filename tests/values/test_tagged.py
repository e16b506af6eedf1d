"""The tagged form to the byte, as databases hold it, and what is said of damaged records."""

import collections
import enum
import math
from typing import Any

import pytest

from perdure.errors import DeserializationError, SerializationError, ValueTooLarge
from perdure.values import TypeRegistry, codec_for
from perdure.values.tagged import Writer, wrap
from tests.values.samples import (
    Basket,
    Box,
    Colour,
    Pair,
    Plain,
    Point,
    Rights,
    Slotted,
    User,
    Word,
    name,
)
from tests.values.support import full_registry, same, tagged

S = "tests.values.samples"

FORMS: list[tuple[Any, str]] = [
    ((1, [2]), '{"$":"tuple","v":[1,[2]]}'),
    ({"b", "a"}, '{"$":"set","v":["a","b"]}'),
    ({3, 20}, '{"$":"set","v":[20,3]}'),
    (frozenset({(1,)}), '{"$":"frozenset","v":[{"$":"tuple","v":[1]}]}'),
    ({1: (), "1": None}, '{"$":"dict","v":[[1,{"$":"tuple","v":[]}],["1",null]]}'),
    ({"$": 1}, '{"$":"dict","v":[["$",1]]}'),
    ({"a$": ()}, '{"a$":{"$":"tuple","v":[]}}'),
    (Colour.RED, f'{{"$":"enum","t":"{S}.Colour","v":"RED"}}'),
    (Word.YES, f'{{"$":"enum","t":"{S}.Word","v":"YES"}}'),
    (Rights.READ, f'{{"$":"enum","t":"{S}.Rights","v":"READ"}}'),
    (Rights.READ | Rights.WRITE, f'{{"$":"enum","t":"{S}.Rights","v":3}}'),
    (Rights(0), f'{{"$":"enum","t":"{S}.Rights","v":0}}'),
    (Point(1), f'{{"$":"object","t":"{S}.Point","v":{{"x":1,"y":0}}}}'),
    (Pair(1), f'{{"$":"object","t":"{S}.Pair","v":{{"left":1,"right":"r"}}}}'),
    (Plain((1,)), f'{{"$":"object","t":"{S}.Plain","v":{{"value":{{"$":"tuple","v":[1]}}}}}}'),
    (User(name="u"), f'{{"$":"object","t":"{S}.User","v":{{"name":"u","born":null}}}}'),
]


@pytest.mark.parametrize(("value", "form"), FORMS, ids=[name(value) for value, _ in FORMS])
def test_the_form_of_each_kind(value, form):
    codec = codec_for(Any, full_registry())
    body = tagged(form.encode())
    assert codec.encode(value, "x") == body
    back = codec.decode(body, "x")
    assert same(value, back)


def test_a_writer_tells_whether_there_was_a_tag():
    writer = Writer(TypeRegistry())
    assert writer.tagged is False
    assert writer.node({"a": [1, "x"]}) == {"a": [1, "x"]}
    assert writer.tagged is False
    assert writer.node([(1,)]) == [{"$": "tuple", "v": [1]}]
    assert writer.tagged is True
    assert wrap(1) == {"$": "v", "v": 1}


def tuples(levels):
    value: Any = ()
    for _ in range(levels - 1):
        value = (value,)
    return value


@pytest.mark.parametrize(
    ("make", "step", "levels"),
    [
        (lambda inner: [inner], "[0]", 1),
        (lambda inner: (inner,), "[0]", 1),
        (lambda inner: {inner}, "[0]", 1),
        (lambda inner: {"k": inner}, ".k", 1),
        (lambda inner: {1: inner}, "[1]", 1),
        (lambda inner: {inner: 1}, "[<tuple>]", 1),
        (lambda inner: Box(inner), ".content", 1),
        (lambda inner: Pair(inner), ".left", 1),
        (lambda inner: Plain(inner), ".value", 1),
        (lambda inner: collections.deque([inner]), "[0]", 2),  # a row, and what it makes
    ],
    ids=["list", "tuple", "set", "dict", "item", "key", "dataclass", "NamedTuple", "plain", "row"],
)
def test_sixty_four_levels_are_written_and_one_more_is_not(make, step, levels):
    registry = full_registry()
    registry.register_extension(collections.deque, "deque", list, collections.deque)
    codec = codec_for(Any, registry)
    whole = make(tuples(64 - levels))
    body, back = codec.encode_and_decode(whole, "x")
    assert same(whole, back, registry)
    assert same(whole, codec.decode(body, "x"), registry)
    with pytest.raises(ValueTooLarge) as caught:
        codec.encode(make(tuples(65 - levels)), "x")
    path = step + "[0]" * (64 - levels)
    assert str(caught.value).startswith(f"x: at ${path}: the value is nested deeper than 64 levels")


class Grade(enum.Enum):
    A = "a"


class Text(str):
    pass


class Number(int):
    pass


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        (Grade.A, "Register the class: app.register(Grade)"),
        (Point(1), "Register the class: app.register(Point)"),
        (Pair(1), "Register the class: app.register(Pair)"),
        (Text("x"), "Convert it: str(value)"),
        (Number(1), "Convert it: int(value)"),
        (type("Sub", (float,), {})(1), "Convert it: float(value)"),
        (type("Sub", (bytes,), {})(b""), "Convert it: bytes(value)"),
        (collections.OrderedDict(), "Convert it: dict(value)"),
        (type("Sub", (list,), {})(), "Convert it: list(value)"),
        (type("Sub", (tuple,), {})(), "Convert it: tuple(value)"),
        (type("Sub", (set,), {})(), "Convert it: set(value)"),
        (type("Sub", (frozenset,), {})(), "Convert it: frozenset(value)"),
        (KeyError("k"), "Raise it, or record str(error)"),
        (object(), "Return plain data that describes it, such as an id, a dict or a dataclass"),
    ],
    ids=name,
)
def test_a_refusal_tells_what_to_do_instead(value, advice):
    with pytest.raises(SerializationError) as caught:
        codec_for(Any, TypeRegistry()).encode(value, "x")
    assert str(caught.value).startswith("x: at $: a value of type ")
    assert str(caught.value).endswith(f"could not be made again on replay. {advice}.")


def test_an_exception_is_no_value_even_if_its_class_is_registered():
    registry = TypeRegistry()
    registry.register(type("Own", (KeyError,), {"__module__": "shop"}))
    own = registry.find("shop.Own")
    assert own is not None
    with pytest.raises(SerializationError, match=r"'shop\.Own'.*Raise it, or record str"):
        codec_for(Any, registry).encode(own(), "x")


def test_a_lone_surrogate_is_shown_with_its_place():
    for value, path in [
        ({"k": ("a\ud800",)}, r"\$\.k\[0\]"),
        ({"a\ud800": ()}, r"\$\['a\\ud800'\]"),
    ]:
        with pytest.raises(SerializationError, match=path + r": a str has .*'\\ud800' at index 1,"):
            codec_for(Any, TypeRegistry()).encode(value, "x")


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"$":"v"}', "the record starts like a tagged value but is none"),
        (b'{"$":"w","v":1}', "the record starts like a tagged value but is none"),
        (b'{"$":"v","w":1}', "the record starts like a tagged value but is none"),
        (b'{"$":"v","v":1,"w":2}', "the record starts like a tagged value but is none"),
        (b'{"$a":"v","v":1}', "the record starts like a tagged value but is none"),
        (
            tagged(b'{"$":"nope","v":1}'),
            (
                "the tag 'nope' is unknown here. Register the extension that wrote it: "
                "register_extension(cls, 'nope', ...)"
            ),
        ),
        (tagged(b'{"$":"dict","v":[[1,2],[1,3]]}'), "a recorded dict has one key twice"),
        (
            tagged(b'{"$":"object","t":"shop.v2.Gone","v":{}}'),
            (
                "the record holds a value of the class 'shop.v2.Gone', which this app does not "
                "know. Register it before it is read: app.register(Gone) "
                "(or app.register(Gone, name='shop.v2.Gone') if it was moved or renamed)"
            ),
        ),
        (
            tagged(b'{"$":"object","t":"%s.Colour","v":{}}' % S.encode()),
            f"the class '{S}.Colour' has no fields to be restored",
        ),
        (
            tagged(b'{"$":"object","t":"perdure.errors.TaskError","v":{}}'),
            "the class 'perdure.errors.TaskError' has no fields to be restored",
        ),
        (
            tagged(b'{"$":"enum","t":"%s.Point","v":"x"}' % S.encode()),
            f"the class '{S}.Point' is no longer an Enum",
        ),
        (
            tagged(b'{"$":"enum","t":"%s.Colour","v":"PINK"}' % S.encode()),
            f"the Enum '{S}.Colour' has no member 'PINK' any more",
        ),
        (
            tagged(b'{"$":"enum","t":"%s.Colour","v":1}' % S.encode()),
            f"a member of '{S}.Colour' is recorded by its name, not otherwise",
        ),
    ],
    ids=lambda each: ascii(each[:40]),
)
def test_what_is_said_of_a_damaged_record(body, told):
    with pytest.raises(DeserializationError) as caught:
        codec_for(Any, full_registry()).decode(body, "step 3")
    assert str(caught.value) == f"step 3: at $: {told}."


def test_state_in_slots_is_refused_by_name():
    registry = TypeRegistry()
    registry.register(Slotted)
    with pytest.raises(SerializationError, match=r"at \$\[0\]: .*Slotted' keeps its state in __s"):
        codec_for(Any, registry).encode([Slotted()], "x")


def test_tags_inside_of_lists_and_objects_are_read():
    value = [{"a": [(1,)], "b": Basket(math.inf, {"x"})}]
    body, back = codec_for(Any, full_registry()).encode_and_decode(value, "x")
    assert same(value, back)
    assert body.count(b'"$":') == 5
