"""Limits, damaged bytes and classes that changed: one clear error, and nothing else."""

import collections
import dataclasses
import datetime as dt
import ipaddress
import sys
import typing
import zoneinfo
from typing import Any

import pydantic
import pytest

from perdure.errors import DeserializationError, SerializationError, ValueTooLarge
from perdure.values import TypeRegistry, codec_for
from tests.values.samples import (
    Admin,
    Basket,
    Event,
    Frozen,
    Node,
    Pair,
    Point,
    User,
)
from tests.values.support import full_registry, round_trip, tagged


def test_cycles_and_depth_are_refused():
    loop: list[Any] = []
    loop.append(loop)
    ring: dict[str, Any] = {}
    ring["self"] = [ring]
    node = Node([])
    node.children.append(node)
    deep: Any = 1
    for _ in range(65):
        deep = [deep]
    for value in (loop, ring, node, deep):
        for annotation in (Any, Node, list[Any], int):
            registry = full_registry()
            with pytest.raises(
                ValueTooLarge, match=r"at \$.*deeper than 64 levels, or it contains itself"
            ):
                codec_for(annotation, registry).encode(value, "x")
    round_trip(Any, deep[0])
    keys: Any = 1
    for _ in range(64):
        keys = {1: keys}
    round_trip(Any, keys)


def test_sizes_are_limited():
    codec = codec_for(Any, TypeRegistry(bytes_max=100))
    for value in ("x" * 99, b"x" * 99, list(range(99))):
        with pytest.raises(
            ValueTooLarge, match=r"here: at \$: the encoded value has \d+ bytes, the limit is 100\."
        ):
            codec.encode(value, "here")
        with pytest.raises(ValueTooLarge):
            codec_for(type(value), TypeRegistry(), bytes_max=100).encode(value, "here")
    with pytest.raises(ValueTooLarge, match="332,193 bits"):
        codec_for(int, TypeRegistry()).encode(1 << 332_192, "x")
    with pytest.raises(ValueTooLarge, match="items"):
        codec_for(list[int], TypeRegistry()).encode([0] * 1_000_001, "x")


def test_the_int_digit_limit_of_the_process_does_not_matter():
    body = round_trip(Any, 10**600)
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)
    try:
        assert codec_for(Any, TypeRegistry()).decode(body, "x") == 10**600
        round_trip(int, 10**5000)
    finally:
        sys.set_int_max_str_digits(before)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nul",
        b"NaN",
        b"[1,]",
        b'"\xff"',
        b'"\\ud800"',
        b"1 2",
        b'{"$',
        b'{"$":1}',
        b'{"$":"v"}',
        b'{"$":"w","v":1}',
        b'{"$":"v","v":1,"w":2}',
        tagged(b'{"$":"nope","v":1}'),
        tagged(b'{"$":"set"}'),
        tagged(b'{"$":[],"v":1}'),
        tagged(b'{"$":"set","v":[[]]}'),
        tagged(b'{"$":"dict","v":[[1,2],[1,3]]}'),
        tagged(b'{"$":"dict","v":[[1]]}'),
        tagged(b'{"$":"dict","v":[[[],1]]}'),
        tagged(b'{"$":"uuid","v":"x"}'),
        tagged(b'{"$":"uuid","v":5}'),
        tagged(b'{"$":"decimal","v":"x"}'),
        tagged(b'{"$":"float","v":"1"}'),
        tagged(b'{"$":"int","v":"zz"}'),
        tagged(b'{"$":"int","v":7}'),
        tagged(b'{"$":"bytes","v":"*"}'),
        tagged(b'{"$":"datetime","v":["2026-01-01","../../etc/passwd",0]}'),
        tagged(b'{"$":"datetime","v":["2026-01-01","No/Where",0]}'),
        tagged(b'{"$":"datetime","v":["2026-01-01","",7]}'),
        tagged(b'{"$":"timedelta","v":[1e300,0,0]}'),
        tagged(b'{"$":"enum","t":"tests.values.samples.Colour","v":"PINK"}'),
        tagged(b'{"$":"enum","t":"tests.values.samples.Colour","v":1}'),
        tagged(b'{"$":"enum","t":"tests.values.samples.Point","v":"x"}'),
        tagged(b'{"$":"enum","t":5,"v":"x"}'),
        tagged(b'{"$":"object","t":"tests.values.samples.Point","v":{}}'),
        tagged(b'{"$":"object","t":"tests.values.samples.Colour","v":{}}'),
        tagged(b'{"$":"object","t":"perdure.errors.TaskError","v":{}}'),
        tagged(b'{"$":"object","t":"builtins.dict","v":{}}'),
        tagged(b'{"$":"object","t":"tests.values.samples.Point","v":[1]}'),
        tagged(b'{"$":"v","v":1}'),
        b"[" * 300,
        b'{"a":' * 300,
        b"[" * 5_000_000,
        b'{"$":"v","v":' + b"[" * 400 + b"]" * 400 + b"}",
        b"1" * 5000,
        b"[" + b"0," * 1_000_001 + b"0]",
        b'"' + b"x" * 9_000_000 + b'"',
    ],
    ids=lambda b: ascii(b[:50]),
)
def test_damaged_bytes_give_one_error(body):
    for annotation in (Any, int, Point, User):
        with pytest.raises(DeserializationError, match=r"^step 3: "):
            codec_for(annotation, full_registry()).decode(body, "step 3")


def test_brackets_and_commas_inside_text_are_no_depth():
    round_trip(Any, ["[" * 100_000, '\\"[{' * 100_000, "," * 1_500_000])


def test_duplicate_keys_last_one_wins_everywhere():
    body = b'{"x":1,"x":2}'
    assert codec_for(Any, TypeRegistry()).decode(body, "x") == {"x": 2}
    assert codec_for(Point, TypeRegistry()).decode(body, "x") == Point(2)


def test_an_unknown_class_says_how_to_register_it():
    body = codec_for(Point | Frozen, TypeRegistry()).encode(Point(1), "x")
    with pytest.raises(DeserializationError) as caught:
        codec_for(Any, TypeRegistry()).decode(body, "result of 'pay'")
    message = str(caught.value)
    assert message.startswith("result of 'pay': at $: ")
    assert "'tests.values.samples.Point'" in message
    assert "app.register(Point)" in message


def test_records_outlive_small_changes_of_their_class():
    registry = full_registry()
    codec = codec_for(Any, registry)
    assert codec.decode(
        tagged(b'{"$":"object","t":"tests.values.samples.Point","v":{"x":1,"gone":2}}'), "x"
    ) == Point(1)
    assert codec.decode(
        tagged(b'{"$":"object","t":"tests.values.samples.Pair","v":{"left":1}}'), "x"
    ) == Pair(1)
    assert codec.decode(
        tagged(b'{"$":"object","t":"tests.values.samples.Basket","v":{"owner":1}}'), "x"
    ) == Basket(1)
    assert codec.decode(
        tagged(b'{"$":"object","t":"tests.values.samples.Event","v":{"name":"a","gone":1}}'),
        "x",
    ) == Event("a")
    with pytest.raises(DeserializationError, match="the field 'x' is not in the record"):
        codec.decode(tagged(b'{"$":"object","t":"tests.values.samples.Point","v":{}}'), "x")


def test_a_changed_annotation_is_said():
    with pytest.raises(
        DeserializationError,
        match=r"^x: the record cannot be read as <class 'int'>: ValidationError: .+\. "
        r"Was the annotation changed since it was recorded",
    ):
        codec_for(int, TypeRegistry()).decode(b'"x"', "x")


def test_private_attributes_of_models_survive():
    admin = Admin(name="a")
    admin._seen = 3
    _, back = codec_for(User, TypeRegistry()).encode_and_decode(admin, "x")
    assert back == admin
    assert back._seen == 3


def test_extensions_make_other_types_values():
    registry = TypeRegistry()
    registry.register_extension(ipaddress.IPv4Address, "ip4", str, ipaddress.IPv4Address)
    registry.register_extension(collections.deque, "deque", list, collections.deque)
    value = {"a": ipaddress.IPv4Address("10.0.0.1"), "b": collections.deque([1, (2,)])}
    assert round_trip(Any, value, registry) == (
        tagged(b'{"a":{"$":"ip4","v":"10.0.0.1"},"b":{"$":"deque","v":[1,{"$":"tuple","v":[2]}]}}')
    )
    round_trip(ipaddress.IPv4Address, ipaddress.IPv4Address("10.0.0.1"), registry)
    with pytest.raises(
        DeserializationError, match=r"the tag 'ip4' is unknown here\. Register the extension"
    ):
        codec_for(Any, TypeRegistry()).decode(tagged(b'{"$":"ip4","v":"10.0.0.1"}'), "x")


def test_other_types_inside_models_are_compared_by_their_own_equality():
    class Host(pydantic.BaseModel):
        address: ipaddress.IPv4Address
        secret: pydantic.SecretStr | None = None

    registry = TypeRegistry()
    host = Host(address=ipaddress.IPv4Address("10.0.0.1"))
    assert codec_for(Host, registry).encode(host, "x") == b'{"address":"10.0.0.1","secret":null}'
    host.secret = pydantic.SecretStr("hidden")
    with pytest.raises(SerializationError, match="IPv4Address") as caught:
        codec_for(Host, registry).encode(host, "x")
    assert "hidden" not in str(caught.value)


class Lazy:
    """Like an alias `type Lazy = Missing` of Python 3.12, which is resolved when it is asked."""

    @property
    def __value__(self):
        raise NameError("Missing")


def test_annotations_that_mean_nothing_give_the_tagged_form():
    broken = dataclasses.make_dataclass("Broken", [("x", "Missing")])
    registry = TypeRegistry()
    for annotation in (
        "Missing",
        Lazy(),
        5,
        ...,
        broken,
        list[typing.ForwardRef("Missing")],  # type: ignore[misc]
        typing.Callable[[int], str],
    ):
        assert codec_for(annotation, registry).engine is None
        round_trip(annotation, (1, {2}), registry)
    round_trip(Any, broken(1), registry)


def test_odd_numbers_and_zones():
    class Nameless(zoneinfo.ZoneInfo):
        key = None  # type: ignore[assignment]

    nameless = Nameless.no_cache("Europe/Berlin")
    with pytest.raises(SerializationError, match="ZoneInfo without a key"):
        codec_for(Any, TypeRegistry()).encode(dt.datetime(2026, 1, 1, tzinfo=nameless), "x")
    for key in ("Europe.os/Berlin", "../zone", "a/b/c/d/e", "x" * 40):
        body = tagged(b'{"$":"datetime","v":["2026-01-01","%s",0]}' % key.encode())
        with pytest.raises(DeserializationError, match="not the name of a time zone"):
            codec_for(Any, TypeRegistry()).decode(body, "x")
    huge = tagged(b'{"$":"int","v":"0x' + b"f" * 100_000 + b'"}')
    with pytest.raises(DeserializationError, match="too many digits"):
        codec_for(Any, TypeRegistry()).decode(huge, "x")


def test_an_error_that_cannot_be_shown_is_still_reported():
    class Mute(Exception):
        def __str__(self):
            raise ValueError

    class Bad:
        def __getattribute__(self, name):
            raise Mute

    registry = TypeRegistry()
    registry.register(Bad)
    with pytest.raises(SerializationError, match=r"Mute: \(its message cannot be read"):
        codec_for(Any, registry).encode(object.__new__(Bad), "x")
