"""Which values JSON holds as they stand, without any tag. It must not encode or copy anything."""

from __future__ import annotations

from math import isfinite
from typing import Any, Final

from perdure.values.shapes import class_of

INT_MIN: Final = -(1 << 63)
INT_MAX: Final = (1 << 63) - 1
"""Integers outside of these are written with a tag."""

_CONSTANT: Final = frozenset({str, bool, type(None)})

_LEVELS: Final = 16
"""Deeper values are left to `Writer`, which knows the limit and can name the place."""


def is_plain(value: Any, levels: int = _LEVELS) -> bool:
    """Whether `Writer` would make this very tree of it. False decides nothing.

    By exact types, for a subclass would come back as its base. A text that UTF-8 cannot hold passes
    here; the encoder refuses it.
    """
    kind = class_of(value)
    if kind is int:
        return bool(INT_MIN <= value <= INT_MAX)
    if kind is float:
        return isfinite(value)
    if kind is not dict and kind is not list:
        return kind in _CONSTANT
    if levels == 0 or (kind is dict and not _has_plain_keys(value)):
        return False
    for item in value.values() if kind is dict else value:
        # The look at its type spares most items a call, which would cost as much as writing them.
        if type(item) not in _CONSTANT and not is_plain(item, levels - 1):
            return False
    return True


def _has_plain_keys(value: dict[Any, Any]) -> bool:
    for key in value:  # noqa: SIM110 - all() would make a generator, for two keys mostly
        if type(key) is not str or key[:1] == "$":
            return False
    return True
