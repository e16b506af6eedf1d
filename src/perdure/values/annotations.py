"""What an annotation says about the form of its values. It must not look at any value.

Everything here runs once, when a function is decorated. An annotation that cannot be understood
is no error: its values are written in the tagged form, which needs none.
"""

from __future__ import annotations

import typing
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import suppress
from enum import Enum
from typing import Any, Literal, cast

from msgspec import inspect as shapes

from perdure.values.registry import TypeRegistry
from perdure.values.shapes import derives, is_pydantic_model, shape_of

_UNFIT = (shapes.AnyType, shapes.CustomType, shapes.RawType, shapes.ExtType)
"""Nodes whose values msgspec would not bring back as they were."""


class Survey:
    """A walk through one annotation: its classes, and whether it holds sets or pydantic models."""

    def __init__(self, annotation: object) -> None:
        self.classes: list[type] = []
        self.has_set = False
        self.has_model = False
        # By identity: classes, aliases and type variables live as long as their modules.
        self._seen: set[int] = set()
        self._walk(annotation)

    def _walk(self, annotation: Any) -> None:
        origin = typing.get_origin(annotation)
        if origin is Literal:
            self.classes += [type(a) for a in typing.get_args(annotation) if isinstance(a, Enum)]
            return
        for argument in typing.get_args(annotation):
            self._walk(argument)
        if isinstance(cls := origin or annotation, type):
            self._walk_class(cast("type[Any]", cls))
        elif id(annotation) not in self._seen:
            self._seen.add(id(annotation))
            for inner in _inner(annotation):
                self._walk(inner)

    def _walk_class(self, cls: type[Any]) -> None:
        if id(cls) in self._seen:
            return
        self._seen.add(id(cls))
        model = is_pydantic_model(cls)
        self.has_model |= model
        self.has_set |= derives(cls, AbstractSet)
        if derives(cls, Enum) or shape_of(cls):
            if cls.__module__.partition(".")[0] not in {"enum", "msgspec", "pydantic"}:
                self.classes.append(cls)
        elif not typing.is_typeddict(cls):
            return
        fields = cls.model_fields.values() if model else ()
        for hint in [field.annotation for field in fields] or _hints(cls):
            self._walk(hint)


def _inner(annotation: Any) -> Iterator[Any]:
    """What a NewType, a type alias or a type variable stands for."""
    for attribute in ("__supertype__", "__value__", "__bound__"):
        with suppress(NameError):  # a lazy alias of something that does not exist (yet)
            yield getattr(annotation, attribute, None)
    yield from getattr(annotation, "__constraints__", ())


def _hints(cls: type) -> list[Any]:
    try:
        return list(typing.get_type_hints(cls).values())
    except Exception:  # noqa: BLE001 - an annotation is any expression, and may raise anything
        return []


def fits_msgspec(annotation: Any) -> bool:
    """Whether msgspec understands every part of the annotation, with no part left open."""
    try:
        return _fits(shapes.type_info(annotation), set())
    except Exception:  # noqa: BLE001 - as above
        return False


def _fits(node: object, seen: set[int]) -> bool:
    if isinstance(node, _UNFIT):
        return False
    if isinstance(node, tuple):
        return all(_fits(item, seen) for item in cast("tuple[object, ...]", node))
    if not isinstance(node, (shapes.Type, shapes.Field)) or id(node) in seen:
        return True
    seen.add(id(node))
    return all(_fits(getattr(node, name), seen) for name in cast("Any", node).__struct_fields__)


def register_classes(survey: Survey, registry: TypeRegistry) -> None:
    """Make the classes of an annotation known, so that the tagged form can hold them."""
    for cls in survey.classes:
        if registry.name_of(cls) is None or registry.find(str(registry.name_of(cls))) is not cls:
            registry.register(cls)
