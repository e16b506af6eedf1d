"""Values to bytes and back, by annotation. It must not know what the values are for.

The rule of every body: one that starts with `{"$` is in tagged form and needs no annotation; any
other is plain JSON, read by the annotation or, without a usable one, as it stands.

The law: what comes back is equal to what was given, or it was refused when it was recorded.
"""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass
from typing import Any, Final, Protocol, cast

import msgspec

from perdure.errors import DeserializationError, SerializationError, ValueTooLarge
from perdure.values.annotations import Survey, fits_msgspec, register_classes
from perdure.values.equality import compare
from perdure.values.limits import SMALL, Refusal, check
from perdure.values.plain import INT_MAX, INT_MIN, is_plain
from perdure.values.registry import TypeRegistry
from perdure.values.shapes import class_of, type_name
from perdure.values.tagged import OPENING, Writer, from_json, read, to_json, wrap

_UNANNOTATED: Final = (Any, object, inspect.Signature.empty)
_IDENTICAL: Final = frozenset({str, int, bool, type(None)})
"""Annotations whose values of that very type come back as they are, whenever they can be written.

Not float: what is written of one is compared with it.
"""
_REASON_MAX: Final = 300
"""Characters of a foreign error message that are quoted in ours."""


class Engine(Protocol):
    """Writes and reads plain JSON for one annotation. May raise anything for a value unlike it."""

    def encode(self, value: Any, /) -> bytes: ...

    def decode(self, body: bytes, /) -> Any: ...


class _Msgspec:
    __slots__ = ("decode", "encode")

    def __init__(self, annotation: Any) -> None:
        self.encode = to_json
        self.decode = msgspec.json.Decoder(annotation).decode


class _Pydantic:
    __slots__ = ("_adapter", "decode")

    def __init__(self, annotation: Any) -> None:
        # Loaded already: the annotation holds a class that derives from one of its own.
        self._adapter: Any = sys.modules["pydantic"].TypeAdapter(annotation)
        self.decode = self._adapter.validate_json

    def encode(self, value: Any, /) -> bytes:
        body: bytes = self._adapter.dump_json(
            value, by_alias=True, round_trip=True, warnings="error"
        )
        return body


@dataclass(frozen=True, slots=True)
class Codec:
    """Encodes and decodes the values of one annotation. Made by `codec_for`; any thread may use it.

    In all methods `where` says in error messages whose value it is: "result of task 'shop.pay'".

    Attributes:
        engine: None where values are written by what they are, not by the annotation.
        identical: values of this very type are written and read as they stand; None if none are.
    """

    annotation: Any
    registry: TypeRegistry
    engine: Engine | None
    bytes_max: int
    identical: type | None

    def encode(self, value: object, where: str) -> bytes:
        """The bytes of `value`. Raises as `encode_and_decode` does."""
        return self.encode_and_decode(value, where)[0]

    def encode_and_decode(self, value: object, where: str) -> tuple[bytes, Any]:
        """The bytes of `value`, and the fresh equal value that they will be read as.

        The same value under the same annotation gives the same bytes in every process.

        Raises:
            ValueTooLarge: it is over a limit of size, depth or count.
            SerializationError: it would not come back equal. Both name the type and the path.
        """
        try:
            return self._plain(value) or self._typed(value) or self._tagged(value)
        except Refusal as refusal:
            error = ValueTooLarge if refusal.too_large else SerializationError
            raise error(f"{where}: {refusal}.") from None
        except Exception as foreign:
            raise SerializationError(
                f"{where}: at $: a value of type {type_name(type(value))!r} cannot be recorded, "
                f"because reading it raised {_quote(foreign)}. Return plain data instead."
            ) from foreign

    def decode(self, body: bytes, where: str) -> Any:
        """The value of recorded bytes, made of fresh objects.

        Raises:
            DeserializationError: the bytes are damaged, over a limit, of another type than the
                annotation, or hold a class that is not registered; the message says which.
        """
        try:
            if not len(body) <= SMALL <= self.bytes_max:
                check(body, self.bytes_max)
            if body.startswith(OPENING):
                return read(body, self.registry)
            return from_json(body) if self.engine is None else self.engine.decode(body)
        except Refusal as refusal:
            raise DeserializationError(f"{where}: {refusal}.") from None
        except Exception as foreign:
            raise DeserializationError(
                f"{where}: the record cannot be read as {self.annotation!r}: {_quote(foreign)}. "
                "Was the annotation changed since it was recorded, or are the bytes damaged?"
            ) from foreign

    def stands(self, value: Any) -> bool:
        """Whether it is written and read as it stands, by its type alone. False decides nothing."""
        if self.engine is None:
            return is_plain(value)
        kind = class_of(value)
        return kind is self.identical and (kind is not int or INT_MIN <= value <= INT_MAX)

    def _plain(self, value: Any) -> tuple[bytes, Any] | None:
        """The form of a value that needs neither annotation nor tag; None if it may need one."""
        if not self.stands(value):
            return None
        try:
            body = to_json(value)
        except Exception:  # noqa: BLE001 - the other forms name what is wrong with it
            return None
        if not len(body) <= SMALL <= self.bytes_max:
            check(body, self.bytes_max)
        return body, value if type(value) in _IDENTICAL else from_json(body)

    def _typed(self, value: Any) -> tuple[bytes, Any] | None:
        """The typed form, or None when the value only survives in tagged form."""
        if self.engine is None or _has_marked_key(value):
            return None
        try:
            body = self.engine.encode(value)
        except Exception:  # noqa: BLE001 - whatever it is, the tagged form decides
            return None
        if body.startswith(OPENING):
            return None
        check(body, self.bytes_max)
        try:
            back = self.engine.decode(body)
            compare(value, back, self.registry)
        except Exception:  # noqa: BLE001 - as above
            return None
        return body, back

    def _tagged(self, value: object) -> tuple[bytes, Any]:
        writer = Writer(self.registry)
        tree = writer.node(value)
        if writer.tagged or self.engine is not None:
            tree = wrap(tree)
        body = to_json(tree)
        check(body, self.bytes_max)
        back = read(body, self.registry)
        if writer.tagged:  # a tree without a tag is text, numbers and fresh containers of them
            compare(value, back, self.registry)
        return body, back


def codec_for(annotation: Any, registry: TypeRegistry, *, bytes_max: int | None = None) -> Codec:
    """The codec of an annotation. Costly, so call it once, at decoration.

    An annotation that means nothing to us is no error: its values are written in tagged form.

    The classes in the annotation are registered, which is what lets a union of two dataclasses,
    or a subclass, or the same class under `Any`, be recorded.

    Args:
        annotation: as `typing.get_type_hints(..., include_extras=True)` gives it; `Any`,
            `inspect.Parameter.empty` and unresolved text mean "none".
        registry: the app's.
        bytes_max: largest encoded value, in bytes; default that of the registry.

    Raises:
        RegistrationError: the app gave the name of a class in the annotation to another class.
    """
    engine: Engine | None = None
    if not any(annotation is none for none in _UNANNOTATED):
        survey = Survey(annotation)
        register_classes(survey, registry)
        engine = _engine_for(annotation, survey)
    identical = annotation if isinstance(engine, _Msgspec) and _is_identical(annotation) else None
    return Codec(annotation, registry, engine, bytes_max or registry.bytes_max, identical)


def _is_identical(annotation: object) -> bool:
    return any(annotation is kind for kind in _IDENTICAL)


def _engine_for(annotation: Any, survey: Survey) -> Engine | None:
    if survey.has_set:
        return None  # a set's order is chance, and a typed array does not tell that it was a set
    try:
        if survey.has_model:
            return _Pydantic(annotation)
        return _Msgspec(annotation) if fits_msgspec(annotation) else None
    except Exception:  # noqa: BLE001 - such as a union that JSON alone cannot tell apart
        return None


def _has_marked_key(value: Any) -> bool:
    """Whether a dict has a key starting with `$`, so that its form cannot hang on their order."""
    if type(value) is not dict:
        return False
    keys = cast("dict[object, object]", value)
    return any(type(key) is str and key[:1] == "$" for key in keys)


def _quote(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - user code
        text = "(its message cannot be read)"
    return f"{type(error).__name__}: {text[:_REASON_MAX]}"
