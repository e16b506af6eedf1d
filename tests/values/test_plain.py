"""Values that are written as they stand: the short way gives the bytes of the long one."""

import collections
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.errors import PerdureError
from perdure.values import TypeRegistry, codec_for, decode_arguments, encode_arguments
from perdure.values.limits import Refusal
from perdure.values.plain import INT_MAX, INT_MIN, is_plain
from perdure.values.tagged import Writer, to_json
from tests.values.samples import CLASSES, Level, Word, anything, deterministic
from tests.values.support import full_registry, same


class Text(str):
    """A class of its own."""


ROWS = {"n": [1, -2.5, True, None], "t": {"": "ü", "deep": [[], {}]}}
PLAIN: list[Any] = [
    None,
    True,
    0,
    INT_MIN,
    INT_MAX,
    -0.0,
    1e308,
    "",
    "ü\n\x00",
    '{"$',
    [],
    {},
    ROWS,
]
NOT_PLAIN = [
    INT_MAX + 1,
    INT_MIN - 1,
    math.nan,
    -math.inf,
    (1,),
    {1},
    b"x",
    Level.LOW,
    Word.YES,
    Text("a"),
    collections.OrderedDict(a=1),
    collections.Counter("a"),
    {1: 1},
    {None: 1},
    {"$": 1},
    {"$a": 1},
    {Text("a"): 1},
    {Word.YES: 1},
]


def nested(value, levels):
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("value", PLAIN, ids=repr)
@pytest.mark.parametrize("wrap", [lambda v: v, lambda v: [v], lambda v: {"k": [v]}])
def test_plain_values_are_written_as_the_writer_does(value, wrap):
    value = wrap(value)
    writer = Writer(TypeRegistry())
    assert is_plain(value)
    expected = to_json(writer.node(value))
    assert not writer.tagged
    body, back = codec_for(Any, TypeRegistry()).encode_and_decode(value, "x")
    assert body == expected
    assert same(value, back)


@pytest.mark.parametrize("value", NOT_PLAIN, ids=repr)
@pytest.mark.parametrize("wrap", [lambda v: v, lambda v: [v], lambda v: {"k": [v]}])
def test_what_needs_a_tag_or_is_refused_is_not_plain(value, wrap):
    assert not is_plain(wrap(value))


def test_deep_values_are_left_to_who_knows_the_limit():
    assert is_plain(nested(1, 16))
    assert not is_plain(nested(1, 17))
    endless: list[Any] = []
    endless.append(endless)
    assert not is_plain(endless)
    codec = codec_for(Any, TypeRegistry())
    assert codec.encode(nested(1, 60), "x") == b"[" * 60 + b"1" + b"]" * 60


def test_a_text_that_utf8_cannot_hold_is_refused_at_its_place():
    codec = codec_for(Any, TypeRegistry())
    with pytest.raises(PerdureError, match=r"at \$\.a\[1\]: .*lone surrogate"):
        codec.encode({"a": ["", "\ud800"]}, "x")
    with pytest.raises(PerdureError, match=r"at \$: .*lone surrogate"):
        codec_for(str, TypeRegistry()).encode("\ud800", "x")


@deterministic
@given(value=anything)
def test_generated_values_have_one_form(value):
    registry = full_registry()
    writer = Writer(registry)
    try:
        tree = writer.node(value)
    except Refusal:
        return
    if is_plain(value):
        assert not writer.tagged
        assert codec_for(Any, registry).encode(value, "x") == to_json(tree)


@deterministic
@given(
    values=st.dictionaries(st.sampled_from(["a", "b", "c", "*rest", "0"]), anything),
    annotation=st.sampled_from([Any, int, str, bool, type(None), float, list[int], *CLASSES[:3]]),
)
def test_arguments_at_once_are_those_one_by_one(values, annotation):
    registry = full_registry()
    untyped = codec_for(Any, registry)
    codecs = {"a": codec_for(annotation, registry), "b": codec_for(int, registry)}
    try:
        parts = [
            to_json(name) + b":" + codecs.get(name, untyped).encode(value, "x")
            for name, value in values.items()
        ]
    except PerdureError:
        with pytest.raises(PerdureError):
            encode_arguments(codecs, values, "x", untyped=untyped)
        return
    body = encode_arguments(codecs, values, "x", untyped=untyped)
    assert body == b"{" + b",".join(parts) + b"}"
    back = decode_arguments(codecs, body, "x", untyped=untyped)
    assert list(back) == list(values)
    for name, value in values.items():
        given_back = codecs.get(name, untyped).encode_and_decode(value, "x")[1]
        assert same(given_back, back[name], registry)


def test_a_member_of_another_type_is_refused_and_not_taken_as_it_stands():
    codecs = {"n": codec_for(int, TypeRegistry())}
    assert decode_arguments(codecs, b'{"n":1}', "x") == {"n": 1}
    for body in (b'{"n":"1"}', b'{"n":1.5}', b'{"n":true}', b'{"n":null}', b"[1]", b"1", b"{"):
        with pytest.raises(PerdureError):
            decode_arguments(codecs, body, "x")


@pytest.mark.parametrize("annotation", [Any, str])
def test_each_argument_is_held_to_its_own_limit(annotation):
    registry = TypeRegistry(bytes_max=40)
    codecs = {"a": codec_for(annotation, registry), "b": codec_for(annotation, registry)}
    body = encode_arguments(codecs, {"a": "x" * 30, "b": "y" * 30}, "x")
    assert decode_arguments(codecs, body, "x") == {"a": "x" * 30, "b": "y" * 30}
    with pytest.raises(PerdureError, match="limit is 40"):
        encode_arguments(codecs, {"a": "x" * 39}, "x")
    with pytest.raises(PerdureError, match="limit is 40"):
        decode_arguments(codecs, b'{"a":"' + b"x" * 39 + b'"}', "x")
    with pytest.raises(PerdureError, match="limit is 50"):
        encode_arguments(codecs, {"a": "x" * 30, "b": "y" * 30}, "x", bytes_max=50)
