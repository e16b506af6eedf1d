"""Arguments, and the fingerprint that says whether two calls are the same."""

import datetime as dt
import json
import os
import pathlib
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.errors import DeserializationError, SerializationError, ValueTooLarge
from perdure.values import TypeRegistry, codec_for, decode_arguments, encode_arguments, fingerprint
from perdure.values.arguments import UNTYPED, _argument, _plain_form, _plain_members
from tests.values.samples import (
    CLASSES,
    CONTAINERS,
    RECORDS,
    SCALARS,
    Point,
    User,
    anything,
    deterministic,
)


def codecs_for(registry, **annotations):
    return {name: codec_for(annotation, registry) for name, annotation in annotations.items()}


def print_of(values, **annotations):
    registry = TypeRegistry()
    for cls in CLASSES:
        registry.register(cls)
    untyped = codec_for(Any, registry)
    return fingerprint(
        encode_arguments(codecs_for(registry, **annotations), values, "x", untyped=untyped)
    )


def test_every_member_says_by_itself_what_it_is():
    registry = TypeRegistry()
    codecs = codecs_for(registry, order=Point, day=dt.date, any=Any, key=dict[str, int], user=User)
    values = {
        "order": Point(1, 2),
        "day": dt.date(2026, 1, 1),
        "any": (1,),
        "key": {"$a": 1},
        "rest": {"b": [None]},
        "user": User(name="u"),
    }
    body = encode_arguments(codecs, values, "x")
    assert json.loads(body) == {
        "order": {"x": 1, "y": 2},
        "day": "2026-01-01",
        "any": {"$": "v", "v": {"$": "tuple", "v": [1]}},
        "key": {"$": "v", "v": {"$": "dict", "v": [["$a", 1]]}},
        "rest": {"b": [None]},
        "user": {"name": "u", "born": None},
    }
    first, second = (decode_arguments(codecs, body, "x") for _ in range(2))
    assert first == second == values
    assert list(first) == list(values)
    assert first["rest"]["b"] is not second["rest"]["b"]
    assert first["order"] is not second["order"]
    assert encode_arguments({}, {}, "x") == b"{}"
    assert decode_arguments({}, b"{}", "x") == {}


def test_errors_name_the_argument_and_the_path():
    registry = TypeRegistry()
    codecs = codecs_for(registry, items=list[int])
    where = "arguments of task 'shop.charge'"
    with pytest.raises(
        SerializationError,
        match=r"^arguments of task 'shop.charge': argument 'items': at \$\[1\]\.x: .*'object'",
    ):
        encode_arguments(codecs, {"items": [1, {"x": object()}]}, where)
    with pytest.raises(SerializationError, match="must not start with"):
        encode_arguments(codecs, {"$": 1}, where)
    with pytest.raises(
        DeserializationError, match="argument 'items': the record cannot be read as"
    ):
        decode_arguments(codecs, b'{"items":"x"}', where)
    with pytest.raises(ValueTooLarge, match=r"together they have 28 bytes, the limit is 10\."):
        encode_arguments(codecs, {"a": "x" * 8, "b": 1, "c": 2}, where, bytes_max=10)
    for body in (b"", b"[]", b"{", b"5", b'{"a":}', b"{" * 1000, b'{"\xff":1}', b"[" * 100_000):
        with pytest.raises(DeserializationError, match=r"^arguments of task 'shop\.charge': "):
            decode_arguments(codecs, body, where)


def test_arguments_that_are_too_many_only_together_are_refused():
    half = [0] * 600_000
    encode_arguments({}, {"a": half}, "x")
    with pytest.raises(ValueTooLarge, match=r"x: at \$: the value has about 1,200,00\d items"):
        encode_arguments({}, {"a": half, "b": half}, "x")


@pytest.mark.parametrize("size", [2, 255, 256, 257, 300])
def test_arguments_of_just_the_limit_are_written_and_read(size):
    text = "x" * (size - len('{"a":""}')) if size > 2 else None
    values: dict[str, object] = {} if text is None else {"a": text}
    body = encode_arguments({}, values, "x", bytes_max=size)
    assert len(body) == size
    assert _plain_form({}, values, UNTYPED, size) == body
    assert decode_arguments({}, body, "x", bytes_max=size) == values
    assert _plain_members({}, body, UNTYPED) == values
    with pytest.raises(ValueTooLarge):
        encode_arguments({}, values, "x", bytes_max=size - 1)
    with pytest.raises(DeserializationError, match=rf"^x: at \$: .*the limit is {size - 1}\."):
        decode_arguments({}, body, "x", bytes_max=size - 1)


def test_arguments_with_tags_of_just_the_limit_are_written():
    values = {"a": (1,), "b": 2}
    body = encode_arguments({}, values, "x")
    assert encode_arguments({}, values, "x", bytes_max=len(body)) == body
    with pytest.raises(ValueTooLarge) as caught:
        encode_arguments({}, values, "x", bytes_max=len(body) - 1)
    assert str(caught.value) == (
        f"x: together they have {len(body)} bytes, the limit is {len(body) - 1}. "
        "Keep large data in a file or an object store and pass where it is."
    )


def test_what_each_would_be_written_as_stands_is_written_at_once_and_nothing_else():
    registry = TypeRegistry()
    narrow = codec_for(str, registry, bytes_max=300)
    codecs = {"n": codec_for(int, registry), "s": narrow}
    cases: list[tuple[dict[str, object], int, bytes | None]] = [
        ({}, 1000, b"{}"),
        ({"n": 1, "other": [None]}, 1000, b'{"n":1,"other":[null]}'),
        ({"s": "x" * 260}, 1000, b'{"s":"%s"}' % (b"x" * 260)),
        ({"s": "x" * 292}, 300, b'{"s":"%s"}' % (b"x" * 292)),
        ({"s": "x" * 293}, 1000, None),
        ({"s": "", "o": "x" * 293}, 1000, None),  # each is held to the smallest limit of all
        ({"n": "1"}, 1000, None),
        ({"n": 1, "$o": 1}, 1000, None),
        ({"$": 1}, 1000, None),
        ({"o": (1,)}, 1000, None),
        ({"o": "\ud800"}, 1000, None),
    ]
    for values, limit, body in cases:
        assert _plain_form(codecs, values, UNTYPED, limit) == body, values


def test_what_each_would_be_read_as_stands_is_read_at_once_and_nothing_else():
    registry = TypeRegistry()
    codecs = {"n": codec_for(int, registry), "s": codec_for(str, registry, bytes_max=20)}
    for body, values in [
        (b"{}", {}),
        (b'{"n":1,"o":[null]}', {"n": 1, "o": [None]}),
        (b'{"s":"xxxxxxxxxxxx"}', {"s": "x" * 12}),
        (b'{"s":"xxxxxxxxxxxxx"}', None),
        (b'{"n":"1"}', None),
        (b'{"n":true}', None),
        (b'{"o":{"$":"v","v":1}}', None),
        (b"[1]", None),
    ]:
        assert _plain_members(codecs, body, UNTYPED) == values, body


def test_the_short_way_is_taken_where_there_is_one():
    """It shows in that nothing is asked for whose value a message would be about."""
    before = _argument.cache_info()
    body = encode_arguments({}, {"a": 1}, "short way")
    assert decode_arguments({}, body, "short way") == {"a": 1}
    assert _argument.cache_info() == before
    encode_arguments({}, {"a": (1,)}, "long way")
    assert _argument.cache_info() != before


def test_what_is_said_of_bytes_that_are_no_arguments():
    for body in (b"[]", b"5", b'{"\xff":1}', b'{"a":{"$":"v","v":1}'):
        with pytest.raises(DeserializationError) as caught:
            decode_arguments({}, body, "x")
        assert str(caught.value) == (
            f"x: the record is no JSON object of arguments ({caught.value.__cause__}). "
            "Are the bytes damaged?"
        )
    with pytest.raises(DeserializationError, match=r"^x: at \$: .* nested deeper than 64 levels"):
        decode_arguments({}, b'{"a":' + b"[" * 300, "x")
    with pytest.raises(SerializationError) as told:
        encode_arguments({}, {"$a": 1}, "x")
    assert str(told.value) == "x: the argument name '$a' must not start with '$'."
    with pytest.raises(DeserializationError, match=r"^x: argument 'n': the record cannot be read"):
        decode_arguments({"n": codec_for(int, TypeRegistry())}, b'{"n":"1"}', "x")


def test_a_fingerprint_is_of_any_value_but_not_of_damaged_bytes():
    assert (
        len(
            {
                fingerprint(body)
                for body in (b"[]", b"5", b"{}", b"null", b'{"$":"v","v":{"$":"set","v":[]}}')
            }
        )
        == 5
    )
    for body in (b"", b"{", b'{"\xff":1}', b"[" * 100_000, b"[" * 300 + b"]" * 300):
        with pytest.raises(DeserializationError, match=r"^fingerprint of a record: "):
            fingerprint(body)


def test_the_order_of_what_has_no_order_does_not_matter():
    base = print_of({"a": {"x": 1, "y": {"p": 1, "q": 2}}, "b": {1: "a", 2: "b"}, "c": {1, 2}})
    assert base == print_of(
        {"c": {2, 1}, "b": {2: "b", 1: "a"}, "a": {"y": {"q": 2, "p": 1}, "x": 1}}
    )
    assert base != print_of(
        {"a": {"x": 1, "y": {"p": 1, "q": 3}}, "b": {1: "a", 2: "b"}, "c": {1, 2}}
    )
    assert print_of({"a": [1, 2]}) != print_of({"a": [2, 1]})
    assert print_of({"a": {frozenset({(1, 2), (3, 4)}): {1: {"b": 1, "a": 2}}}}) == print_of(
        {"a": {frozenset({(3, 4), (1, 2)}): {1: {"a": 2, "b": 1}}}}
    )
    assert print_of({"a": {"$x": 1, "b": dt.date.min}}, a=dict[str, Any]) == print_of(
        {"a": {"b": dt.date.min, "$x": 1}}, a=dict[str, Any]
    )
    day = dt.date(2026, 1, 1)
    assert print_of({"a": {"$x": day, "b": day}}, a=dict[str, dt.date]) == print_of(
        {"a": {"b": day, "$x": day}}, a=dict[str, dt.date]
    )
    assert len(base) == 16


def test_whitespace_and_the_order_of_members_do_not_matter():
    a = b'{"a":{"$":"v","v":{"$":"set","v":[1,2]}},"b":{"x":1,"y":[1,{"z":1.0}]}}'
    b = (
        b' { "b" : { "y" : [ 1 , { "z" : 1.0 } ] , "x" : 1 } ,\n'
        b' "a" : { "$" : "v" , "v" : { "$" : "set" , "v" : [ 2 , 1 ] } } } '
    )
    assert fingerprint(a) == fingerprint(b)
    assert fingerprint(b'{"a":[1,2]}') != fingerprint(b'{"a":[2,1]}')


@pytest.mark.parametrize("annotation", [Any, int, float, str])
def test_values_that_python_holds_for_equal_are_distinct(annotation):
    values = [
        1,
        1.5,
        True,
        "1",
        None,
        [1],
        (1,),
        {1},
        frozenset({1}),
        {"1": 1},
        {1: 1},
        {True: 1},
        b"1",
        2**64,
        -0.0,
        0,
    ]
    if annotation is not float:
        values += [1.0, 0.0, False]
    prints = {print_of({"a": value}, a=annotation) for value in values}
    assert len(prints) == len(values)


@deterministic
@given(anything, st.randoms(use_true_random=False))
def test_shuffled_copies_have_the_same_fingerprint(value, random):
    def shuffled(it):
        if type(it) is dict:
            pairs = [(shuffled(k), shuffled(v)) for k, v in it.items()]
            random.shuffle(pairs)
            return dict(pairs)
        if type(it) in {list, tuple}:
            return type(it)(map(shuffled, it))
        if type(it) in {set, frozenset}:
            items = [shuffled(x) for x in it]
            random.shuffle(items)
            return type(it)(items)
        return it

    assert print_of({"a": value, "b": 1}) == print_of({"b": 1, "a": shuffled(value)})


PROGRAM = """
import sys
sys.path[:0] = sys.argv[1:]
from typing import Any
from perdure.values import *
from tests.values.samples import *
registry = TypeRegistry()
for cls in CLASSES:
    registry.register(cls)
strings = {"alpha", "beta", "gamma", "delta", "epsilon"}
values = [*SCALARS, *CONTAINERS, *RECORDS, strings, {frozenset(strings): [strings]}]
values += [Basket(strings, strings), Words(strings)]
for annotation in (Any, set[str], Basket, str | Point, Words):
    codec = codec_for(annotation, registry)
    untyped = codec_for(Any, registry)
    for value in values:
        body = encode_arguments({"a": codec}, {"a": value, "b": value}, "x", untyped=untyped)
        print(body.hex()[:4000], fingerprint(body).hex())
"""


def test_no_hash_seed_changes_a_byte():
    outputs = set()
    for seed in ("0", "1", "4242"):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, *filter(None, sys.path), str(pathlib.Path.cwd())],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )
        assert done.returncode == 0, done.stderr
        outputs.add(done.stdout)
    assert len(outputs) == 1
    assert len(outputs.pop().splitlines()) == 5 * (
        len(SCALARS) + len(CONTAINERS) + len(RECORDS) + 4
    )
