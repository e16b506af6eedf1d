"""Values that are written without knowing their type and read with one: messages, streams."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import msgspec

from perdure.api.client import Client
from perdure.errors import ConfigurationError, DeserializationError


def encode_message(client: Client, value: object, where: str) -> bytes:
    """A message as it is recorded: readable without knowing its type, where that is possible.

    Raises:
        SerializationError: it would not come back equal.
    """
    codec = client.untyped
    if dataclasses.is_dataclass(value) or isinstance(value, msgspec.Struct) or _is_model(value):
        codec = client.codec(type(value))
    return codec.encode(value, where)


def _is_model(value: object) -> bool:
    """Whether this is a model of pydantic, which need not be loaded."""
    return hasattr(type(value), "model_fields")


def decoder(client: Client, annotation: Any, where: str) -> Callable[[bytes], object]:
    """What reads such a value as one of this type; it raises `DeserializationError`.

    Raises:
        ConfigurationError: the annotation is no type.
    """
    if not _is_type(annotation):
        raise ConfigurationError(
            f"{where}: {annotation!r} is no type. Give the type itself, such as str or list[Item], "
            "or leave it out to take the value as it is. Options have names: timeout=5."
        )
    codec = client.codec(annotation)

    def decode(body: bytes) -> object:
        return fitting(codec.decode(body, where), annotation, where)

    return decode


_TYPES_OF_TYPES = ("types", "typing", "typing_extensions")
"""Modules whose classes stand for types that are no classes: `int | None`, `list[int]`, `Any`."""


def _is_type(given: object) -> bool:
    is_class = given is None or isinstance(given, type)
    return is_class or type(given).__module__ in _TYPES_OF_TYPES


def fitting(value: object, annotation: Any, where: str) -> object:
    """The value, if it is of this type: what describes itself is read without looking at one.

    Raises:
        DeserializationError: it is not.
    """
    if annotation is Any:
        return value
    try:
        return msgspec.convert(value, annotation)
    except (msgspec.ValidationError, ValueError) as error:  # of a number too large to be shown
        raise DeserializationError(f"{where}: {error}") from error
    except TypeError:  # a type that msgspec does not know
        if isinstance(annotation, type) and not isinstance(value, annotation):
            text = f"{where}: expected {annotation.__name__}, got {type(value).__name__}."
            raise DeserializationError(text) from None
        return value
