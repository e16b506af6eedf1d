"""Whether a decoded value equals the one that was given, strictly. It must not change either.

Python's `==` is too kind for a journal: it holds `1`, `1.0` and `True` for one value, and no NaN
for itself. Here types must be identical, with one kindness: an int may come back as the equal
float, because that is what an annotation `float` asks for.
"""

from __future__ import annotations

from enum import Enum
from itertools import chain
from math import copysign
from typing import Any, Final, cast

from perdure.values.limits import Refusal
from perdure.values.registry import TypeRegistry
from perdure.values.shapes import PLAIN, class_of, shape_of, type_name

EXACT: Final = frozenset({str, int, bool, type(None), bytes, bytearray})
"""Types whose `==` is strict enough when the types are identical."""

_MISSING: Final = object()


def compare(given: Any, back: Any, registry: TypeRegistry) -> None:
    """Raise `Refusal` with the path of the first difference between two values."""
    kind, kind_back = class_of(given), class_of(back)
    if kind is not kind_back:
        if not (kind is int and kind_back is float and given == back):
            raise Refusal(
                f"a value of type {type_name(kind)!r} would come back as {type_name(kind_back)!r}"
            )
    elif kind in EXACT:
        _require(given == back, kind)
    elif kind is float:
        both_nan = given != given and back != back  # noqa: PLR0124 - only NaN differs from itself
        _require(both_nan or (given == back and copysign(1, given) == copysign(1, back)), kind)
    elif kind is dict:
        _compare_dicts(given, back, registry)
    elif kind is list or kind is tuple:
        _require(len(given) == len(back), kind)
        for index, (one, other) in enumerate(zip(given, back, strict=True)):
            _compare_inside(f"[{index}]", one, other, registry)
    elif kind is set or kind is frozenset:
        _compare_sets(given, back, registry)
    else:
        _compare_objects(given, back, registry)


def step_to(key: object) -> str:
    """How a path names the item under `key`."""
    if type(key) is str:
        return f".{key}" if key.isidentifier() else f"[{key[:40]!r}]"
    return f"[{key!r}]" if type(key) is int and abs(key) < 1 << 64 else f"[<{type(key).__name__}>]"


def _require(holds: object, kind: type[Any]) -> None:
    if not holds:
        raise Refusal(f"a value of type {type_name(kind)!r} would come back different")


def _compare_inside(step: str, given: object, back: object, registry: TypeRegistry) -> None:
    try:
        compare(given, back, registry)
    except Refusal as refusal:
        refusal.inside(step)
        raise


def _compare_dicts(
    given: dict[object, object], back: dict[object, object], registry: TypeRegistry
) -> None:
    _require(len(given) == len(back), dict)
    for (key, value), (key_back, value_back) in zip(given.items(), back.items(), strict=True):
        step = step_to(key)
        _compare_inside(step, key, key_back, registry)
        _compare_inside(step, value, value_back, registry)


def _compare_sets(given: Any, back: Any, registry: TypeRegistry) -> None:
    """Pair the elements by `==`, the rest (NaN inside) by trial, and compare each pair."""
    _require(len(given) == len(back), class_of(given))
    by_value = {element: element for element in back}
    alone: list[object] = []
    for element in given:
        partner = by_value.pop(element, _MISSING)
        if partner is _MISSING:
            alone.append(element)
        else:
            _compare_inside("{}", element, partner, registry)
    rest = list(by_value)
    for element in alone:
        partners = (index for index, other in enumerate(rest) if _equal(element, other, registry))
        index = next(partners, None)
        _require(index is not None, class_of(given))
        del rest[cast("int", index)]


def _equal(given: object, back: object, registry: TypeRegistry) -> bool:
    try:
        compare(given, back, registry)
    except Refusal:
        return False
    return True


def _compare_objects(given: object, back: object, registry: TypeRegistry) -> None:
    kind = type(given)
    if isinstance(given, Enum):
        _require(given is back, kind)
    elif row := registry.extension_for(kind):
        compare(row.to_plain(given), row.to_plain(back), registry)
    elif shape := shape_of(kind) or (PLAIN if registry.name_of(kind) else None):
        fields, fields_back = shape.take_apart(given), shape.take_apart(back)
        for name in chain(fields, fields_back.keys() - fields):
            one, other = fields.get(name, _MISSING), fields_back.get(name, _MISSING)
            _compare_inside(step_to(name), one, other, registry)
    else:
        _require(given == back, kind)
