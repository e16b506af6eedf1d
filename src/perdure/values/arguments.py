"""The arguments of a call as one JSON object. It must not bind parameters or apply defaults.

Every member obeys the rule of a body by itself: `{"order": {"$":"v",...}, "cents": 1999}`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from perdure.errors import DeserializationError, SerializationError, ValueTooLarge
from perdure.values.codec import Codec, codec_for
from perdure.values.limits import BYTES_MAX, SMALL, Refusal, check
from perdure.values.registry import TypeRegistry
from perdure.values.tagged import OPENING, from_json, to_json

UNTYPED: Final = codec_for(Any, TypeRegistry())
"""The codec of arguments without one of their own, when the caller has no registry at hand."""

_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def encode_arguments(
    parameters: Mapping[str, Codec],
    values: Mapping[str, object],
    where: str,
    *,
    untyped: Codec = UNTYPED,
    bytes_max: int = BYTES_MAX,
) -> bytes:
    """Encode bound arguments, in their order.

    Args:
        parameters: the codec of each parameter.
        values: the arguments by name; names without a codec are written by `untyped`.
        where: whose arguments these are, as in "arguments of task 'shop.charge'".
        untyped: give `codec_for(Any, registry)` so that registered classes are known.
        bytes_max: largest encoded object, in bytes.

    Raises:
        SerializationError: an argument cannot be recorded; names the argument, path and type.
    """
    plain = _plain_form(parameters, values, untyped, bytes_max)
    if plain is not None:
        return plain
    members: dict[str, msgspec.Raw] = {}
    for name, value in values.items():
        if name.startswith("$"):
            raise SerializationError(
                f"{where}: the argument name {name!r} must not start with '$'."
            )
        codec = parameters.get(name, untyped)
        members[name] = msgspec.Raw(codec.encode(value, _argument(where, name)))
    body = to_json(members)
    if len(body) > bytes_max:
        raise ValueTooLarge(
            f"{where}: together they have {len(body):,} bytes, the limit is {bytes_max:,}. "
            "Keep large data in a file or an object store and pass where it is."
        )
    try:
        check(body, bytes_max)  # of depth and count; each argument is within them by itself
    except Refusal as refusal:
        raise ValueTooLarge(f"{where}: {refusal}.") from None
    return body


def _plain_form(
    parameters: Mapping[str, Codec], values: Mapping[str, object], untyped: Codec, limit: int
) -> bytes | None:
    """All of them at once, where each would be written as it stands; None if one may not be."""
    for name, value in values.items():
        codec = parameters.get(name, untyped)
        if name[:1] == "$" or not codec.stands(value):
            return None
        if codec.bytes_max < limit:  # noqa: PLR1730 - min() is a call more, for each argument
            limit = codec.bytes_max
    try:
        body = to_json(values)
        if not len(body) <= SMALL <= limit:
            check(body, limit)
    except Exception:  # noqa: BLE001 - one by one they tell which it is
        return None
    return body


def decode_arguments(
    codecs: Mapping[str, Codec],
    body: bytes,
    where: str,
    *,
    untyped: Codec = UNTYPED,
    bytes_max: int = BYTES_MAX,
) -> dict[str, Any]:
    """Read what `encode_arguments` wrote; every call makes new objects.

    Raises:
        DeserializationError: damaged, or an argument is not what its codec can read.
    """
    try:
        if not len(body) <= SMALL <= bytes_max:
            check(body, bytes_max)
        plain = _plain_members(codecs, body, untyped)
        if plain is not None:
            return plain
        members = _members(body)
    except Refusal as refusal:
        raise DeserializationError(f"{where}: {refusal}.") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise DeserializationError(
            f"{where}: the record is no JSON object of arguments ({error}). Are the bytes damaged?"
        ) from error
    return {
        name: codecs.get(name, untyped).decode(bytes(raw), _argument(where, name))
        for name, raw in members.items()
    }


def _plain_members(
    codecs: Mapping[str, Codec], body: bytes, untyped: Codec
) -> dict[str, Any] | None:
    """All of them at once, where each is read as it stands; None if one may not be."""
    if OPENING in body:
        return None
    size = len(body)
    members: dict[str, Any] = from_json(body)
    if type(members) is not dict:
        return None
    for name, value in members.items():
        codec = codecs.get(name, untyped)
        if codec.bytes_max < size:
            return None
        if codec.engine is not None and type(value) is not codec.identical:
            return None
    return members


@functools.lru_cache(maxsize=1024)
def _argument(where: str, name: str) -> str:
    """Whose value an argument is, for messages; kept, for hardly any call needs a new one."""
    return f"{where}: argument {name!r}"
