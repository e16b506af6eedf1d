"""How values are written: in which form, what is refused, and what is said of it."""

import collections
import datetime as dt
import math
import re
import socket
from typing import Any

import pytest

from perdure.errors import DeserializationError, SerializationError
from perdure.values import TypeRegistry, codec_for
from tests.values.samples import (
    Colour,
    Counting,
    Plain,
    Point,
    Point3,
    Slotted,
    User,
    Word,
    name,
)
from tests.values.support import round_trip, same, tagged


def test_only_a_value_that_needs_tags_is_tagged():
    assert round_trip(Any, {"a": [1, "x", None]}) == b'{"a":[1,"x",null]}'
    assert round_trip(Any, (1, 2)) == tagged(b'{"$":"tuple","v":[1,2]}')
    assert round_trip(int, "x") == b'{"$":"v","v":"x"}'
    assert round_trip(float, 3) == b"3"  # may come back as 3.0
    assert round_trip(dt.datetime | str, "x") == b'"x"'  # no typed engine for this union


def test_the_form_does_not_hang_on_the_order_of_keys():
    codec = codec_for(dict[str, dt.date], TypeRegistry())
    day = dt.date(2026, 1, 1)
    assert codec.encode({"$a": day, "b": day}, "x").startswith(b'{"$')
    assert codec.encode({"b": day, "$a": day}, "x").startswith(b'{"$')


def test_an_int_for_a_float_is_the_only_kindness():
    assert codec_for(float, TypeRegistry()).encode_and_decode(3, "x")[1] == 3.0
    assert not same(3.0, 3)
    assert not same(True, 1)
    assert not same(1, True)
    assert not same({1}, {True})
    assert not same({(1,)}, {(True,)})
    assert not same([1], (1,))
    assert not same(0.0, -0.0)
    assert same([math.nan, {math.nan}], [math.nan, {float("nan")}])
    assert not same({"a": 1, "b": 2}, {"b": 2, "a": 1})
    assert not same(Point(1), Point3(1))
    assert not same({1: 1}, {True: 1})
    assert not same({math.nan}, {1.0})


def test_decoded_values_are_fresh_objects():
    given_value: Any = {"a": [1, {"b": []}]}
    for annotation in (Any, dict[str, list[int | dict[str, list[int]]]]):
        back: Any = codec_for(annotation, TypeRegistry()).encode_and_decode(given_value, "x")[1]
        assert back == given_value
        assert back is not given_value
        assert back["a"][1]["b"] is not given_value["a"][1]["b"]


class _Unprintable:
    __slots__ = ()

    def __repr__(self):
        raise AssertionError("repr must not be called")


@pytest.mark.parametrize(
    ("value", "path", "type_name"),
    [
        ({"items": [1, 2, 3, {"owner": socket.socket}]}, "$.items[3].owner", "'type'"),
        ([lambda: 1], "$[0]", "'function'"),
        ({"a b": object()}, "$['a b']", "'object'"),
        ({3: [object()]}, "$[3][0]", "'object'"),
        ((1, {2: object()}), "$[1][2]", "'object'"),
        (collections.OrderedDict(a=1), "$", "'collections.OrderedDict'"),
        ([collections.deque()], "$[0]", "'collections.deque'"),
        (Point(1), "$", "'tests.values.samples.Point'"),
        ([Colour.RED], "$[0]", "Colour"),
        (Plain(1), "$", "Plain"),
        ({"x": _Unprintable()}, "$.x", "_Unprintable"),
        (ValueError("x"), "$", "'ValueError'"),
        (range(3), "$", "'range'"),
        ({"s": "a\ud800"}, "$.s", "surrogate"),
        ({"a\ud800": 1}, "$[", "surrogate"),
        ({object(): 1}, "$[<object>]", "'object'"),
    ],
    ids=name,
)
@pytest.mark.parametrize("annotation", [Any, list[int], User])
def test_refusals_name_place_type_and_path(value, path, type_name, annotation):
    codec = codec_for(annotation, TypeRegistry())
    with pytest.raises(SerializationError) as caught:
        codec.encode(value, "result of task 'shop.charge'")
    message = str(caught.value)
    assert message.startswith(f"result of task 'shop.charge': at {path}")
    assert type_name in message


def test_a_refusal_says_what_to_do():
    codec = codec_for(Any, TypeRegistry())
    for value, advice in [
        (Point(1), "app.register(Point)"),
        (Colour.RED, "app.register(Colour)"),
        (collections.OrderedDict(), "dict(value)"),
        (type("S", (str,), {})("x"), "str(value)"),
        (object(), "Return plain data"),
        (KeyError(), "str(error)"),
    ]:
        with pytest.raises(SerializationError, match=re.escape(advice)):
            codec.encode(value, "x")


def test_what_would_come_back_different_is_refused():
    class Odd(dt.tzinfo):
        def utcoffset(self, when):
            return None if when is None else dt.timedelta(hours=1)

        dst = tzname = lambda self, when: None

    registry = TypeRegistry()
    for cls in (Counting, Slotted):
        registry.register(cls)
    for value, part in [
        (Counting(1), r"at \$\.n: "),
        (Slotted(), "__slots__"),
        (dt.datetime(2026, 1, 1, tzinfo=Odd()), "time zone"),
        (type("D", (dt.datetime,), {})(2026, 1, 1), "cannot be recorded"),
    ]:
        for annotation in (Any, type(value)):
            with pytest.raises(SerializationError, match=part):
                codec_for(annotation, registry).encode(value, "x")


def test_hostile_values_give_our_error_only():
    class Hostile(Plain):
        def __getattribute__(self, name):
            raise RuntimeError("no")

    registry = TypeRegistry()
    registry.register(Hostile)
    with pytest.raises(SerializationError, match=r"at \$: .*Hostile.*RuntimeError: no"):
        codec_for(Any, registry).encode(object.__new__(Hostile), "x")


def test_of_a_foreign_message_three_hundred_characters_are_quoted():
    class Talking(Plain):
        def __getattribute__(self, name):
            raise RuntimeError("n" * 301)

    registry = TypeRegistry()
    registry.register(Talking)
    with pytest.raises(SerializationError, match=r"RuntimeError: n{300}\. Return plain data"):
        codec_for(Any, registry).encode(object.__new__(Talking), "x")


def test_only_what_is_over_a_limit_is_called_too_large():
    with pytest.raises(SerializationError) as caught:
        codec_for(Any, TypeRegistry()).encode(object(), "x")
    assert type(caught.value) is SerializationError


def test_all_that_json_holds_of_a_type_stands():
    codec = codec_for(int, TypeRegistry())
    assert [codec.stands(n) for n in (-(2**63) - 1, -(2**63), 2**63 - 1, 2**63)] == [
        False,
        True,
        True,
        False,
    ]
    assert not codec.stands(True)
    assert not codec_for(float, TypeRegistry()).stands(1.0)


def test_a_type_of_bytes_is_kept_as_it_was():
    for annotation in (bytes, bytearray):
        for value in (b"ab", bytearray(b"ab")):
            _, back = codec_for(annotation, TypeRegistry()).encode_and_decode(value, "x")
            assert type(back) is type(value)


def test_a_text_for_a_key_of_an_enum_of_texts_comes_back_as_a_text():
    codec = codec_for(dict[Word, int], TypeRegistry())
    for key in ("yes", Word.YES):
        _, back = codec.encode_and_decode({key: 1}, "x")
        assert [type(each) for each in back] == [type(key)]


def test_the_annotation_is_named_when_a_record_is_not_of_it():
    with pytest.raises(
        DeserializationError, match=r"^x: the record cannot be read as int \| None: "
    ):
        codec_for(int | None, TypeRegistry()).decode(b'"x"', "x")


@pytest.mark.parametrize("annotation", [Any, str])
def test_a_text_is_not_read_again_to_have_it_twice(annotation):
    text = "é" * 3
    assert codec_for(annotation, TypeRegistry()).encode_and_decode(text, "x")[1] is text
