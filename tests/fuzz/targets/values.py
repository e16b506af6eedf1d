"""Recorded values: what is read can be recorded again, and is the same then."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any

from perdure import Perdure
from perdure.api.loose import decoder, encode_message
from perdure.errors import DeserializationError, SerializationError, ValueTooLarge
from perdure.values import (
    FINGERPRINT_BYTES,
    Codec,
    codec_for,
    decode_arguments,
    encode_arguments,
)
from perdure.values import fingerprint as digest_of
from perdure.values.scalars import find_zone
from tests.fuzz.targets import Target
from tests.values.samples import (
    CLASSES,
    CONTAINERS,
    RECORDS,
    SCALARS,
    Admin,
    Basket,
    Box,
    Colour,
    Event,
    Free,
    Movie,
    Node,
    Pair,
    Parcel,
    Point,
    Rights,
    User,
    Words,
)
from tests.values.support import full_registry, same

with contextlib.suppress(ValueError):
    find_zone("No/Where")  # a list of all zones is made, once

REGISTRY = full_registry()
UNTYPED = codec_for(Any, REGISTRY)
NAMES = tuple(f"{cls.__module__}.{cls.__qualname__}" for cls in CLASSES)
BOMBS = (
    b"[" * 5_000_000,
    b'{"a":' * 2_000_000,
    b"[" + b"0," * 2_000_000 + b"0]",
    b"[" + b"[]," * 999_000 + b"[]]",
    b'{"$":"v","v":[' + b'{"$":"set","v":[]},' * 30_000 + b"0]}",
    b'{"$":"v","v":{"$":"int","v":"0x' + b"f" * 8_000_000 + b'"}}',
    b'{"$":"v","v":{"$":"decimal","v":"' + b"9" * 8_000_000 + b'"}}',
    b'{"$":"v","v":{"$":"decimal","v":"1E+999999999999999999"}}',
    b'{"$":"v","v":{"$":"set","v":[' + b'{"$":"decimal","v":"1E+999999"},' * 3_000 + b"0]}}",
    b'{"$":"v","v":{"$":"bytes","v":"' + b"A" * 8_000_000 + b'"}}',
    b'{"$":"v","v":{"$":"datetime","v":["2026-01-01","../../etc/passwd",0]}}',
    b'{"$":"v","v":{"$":"datetime","v":["2026-01-01","a/b/c/d",0]}}',
    b'{"' + b'a":1,"' * 900_000 + b'a":1}',
    b'"' + b"\\ud83d\\ude00" * 600_000 + b'"',
    b'"' + b"x" * 9_000_000 + b'"',
    b"1" * 4_000_000,
    b"1e" + b"9" * 4_000_000,
    b"-0." + b"0" * 4_000_000 + b"1",
)
"""Too large to be made by chance. Each reaches for one limit, or just below it."""


def _bodies(codec: Codec, values: Iterable[object]) -> list[bytes]:
    return [codec.encode(value, "example") for value in values]


def _again(codec: Codec, body: bytes) -> None:
    value = codec.decode(body, "fuzz")
    try:
        recorded, back = codec.encode_and_decode(value, "fuzz")
    except ValueTooLarge:
        return  # a little deeper than may be recorded; brackets are counted, before any parsing
    assert same(value, back, REGISTRY), (value, back)
    replayed = codec.decode(recorded, "fuzz")
    assert same(back, replayed, REGISTRY), (back, replayed)
    # Where a float is annotated, an int is read as the equal float, which is written otherwise.
    settled = codec.encode(replayed, "fuzz")
    assert codec.encode(codec.decode(settled, "fuzz"), "fuzz") == settled, "two texts of one value"


def payload() -> Target:
    """Values without an annotation."""
    examples = _bodies(UNTYPED, [*SCALARS, *CONTAINERS, *RECORDS])
    return Target(
        "payload",
        examples,
        lambda body: _again(UNTYPED, body),
        typed=(DeserializationError,),
        words=NAMES,
        bombs=BOMBS,
    )


_ANNOTATIONS: tuple[Any, ...] = (
    *(int, float, bool, str, bytes, datetime, Decimal, None, Any),
    *(list[int], dict[str, datetime], tuple[int, ...], set[str], dict[str, Any], Box[int]),
    *(Point, Basket, Node, Pair, Movie, Event, Parcel, Colour, Rights, User, Admin, Free, Words),
    *(Point | User, int | None, list[Point | None]),
)
_TYPED = [codec_for(annotation, REGISTRY) for annotation in _ANNOTATIONS]


def _codec_of(body: bytes) -> Codec:
    return _TYPED[zlib.crc32(body) % len(_TYPED)]


def typed() -> Target:
    """Values of an annotation, which the input itself chooses."""
    examples: list[bytes] = []
    for codec in _TYPED:
        for value in [*RECORDS, [1], {"a": datetime.min}, "x", 1, 1.5, [Point(1)]]:
            try:
                examples.append(codec.encode(value, "example"))
            except SerializationError:
                continue
    return Target(
        "typed",
        sorted(set(examples)),
        lambda body: _again(_codec_of(body), body),
        typed=(DeserializationError,),
        words=NAMES,
    )


_PARAMETERS = {"number": codec_for(int, REGISTRY), "point": codec_for(Point, REGISTRY)}


def _read_arguments(body: bytes) -> None:
    values = decode_arguments(_PARAMETERS, body, "fuzz", untyped=UNTYPED)
    try:
        recorded = encode_arguments(_PARAMETERS, values, "fuzz", untyped=UNTYPED)
    except ValueTooLarge:
        return
    back = decode_arguments(_PARAMETERS, recorded, "fuzz", untyped=UNTYPED)
    assert same(values, back, REGISTRY), (values, back)
    assert len(digest_of(recorded)) == FINGERPRINT_BYTES


def arguments() -> Target:
    """The arguments of a call."""
    values = [*SCALARS, *CONTAINERS, *RECORDS]
    given = [{"number": n, "point": Point(n), "rest": value} for n, value in enumerate(values)]
    return Target(
        "arguments",
        [
            *(encode_arguments(_PARAMETERS, each, "example", untyped=UNTYPED) for each in given),
        ],
        _read_arguments,
        # A name that begins with `$` is no parameter of anything.
        typed=(DeserializationError, SerializationError),
        words=NAMES,
    )


def fingerprint() -> Target:
    """The fingerprint of a record; it reads everything that a value can hold."""
    examples = _bodies(UNTYPED, [*SCALARS, *CONTAINERS, *RECORDS])
    return Target(
        "fingerprint",
        [*examples, *(b'{"x":' + each + b"}" for each in examples)],
        digest_of,
        typed=(DeserializationError,),
        words=NAMES,
        bombs=BOMBS,
    )


_APP = Perdure("memory://")
_DECODERS = [decoder(_APP.client, each, "message") for each in _ANNOTATIONS]


def _read_message(body: bytes) -> None:
    value = _DECODERS[zlib.crc32(body) % len(_DECODERS)](body)
    try:
        encode_message(_APP.client, value, "message")
    except SerializationError:
        return  # what its receiver may take, it need not be able to send: a subclass, say


def message() -> Target:
    """A message or an update as its receiver takes it: of the type that it asks for."""
    for cls in CLASSES:
        _APP.register(cls)
    values = [*SCALARS, *CONTAINERS, *RECORDS]
    examples = [encode_message(_APP.client, value, "example") for value in values]
    handle = b'{"$":"v","v":{"$":"invocation","v":["an-id",1]}}'
    return Target(
        "message",
        [*examples, handle],
        _read_message,
        typed=(DeserializationError,),
        words=(*NAMES, "an-id"),
    )
