"""What is fed with hostile bytes. Each target is made by the function of its name."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from perdure.errors import PerdureError

_MODULES = {
    "values": ("payload", "typed", "arguments", "fingerprint", "message"),
    "exceptions": ("exception",),
    "engine": ("bodies", "entries", "timeline", "token", "tick", "outcome", "reply"),
    "settings": ("url", "settings_file", "pyproject", "environment", "command_input"),
    "times": ("cron", "zone"),
    "stored": ("inbox", "outbox", "topic", "baseline"),
    "histories": ("history",),
}


def identity(body: bytes) -> Any:
    """The bytes as they are."""
    return body


def text(body: bytes) -> Any:
    """As text; what is no UTF-8 becomes lone surrogates."""
    return body.decode("utf-8", "surrogateescape")


@dataclass(frozen=True)
class Target:
    """A decoder.

    Attributes:
        examples: good inputs, and some that are nearly good; others are made of them.
        bombs: each is fed once, as it is: too large to be made by chance, and too slow to be many.
        read: what is watched. It must give an equal value again for what it accepts.
        typed: errors by which it may refuse.
        prepare: makes of bytes what `read` takes; not watched.
        words: what is put into inputs now and then.
    """

    name: str
    examples: Sequence[bytes]
    read: Callable[[Any], object]
    typed: tuple[type[Exception], ...] = (PerdureError,)
    prepare: Callable[[bytes], Any] = identity
    words: tuple[str, ...] = ()
    bombs: Sequence[bytes] = ()


def names() -> list[str]:
    """All of them."""
    return [name for found in _MODULES.values() for name in found]


def find_target(name: str) -> Target:
    """The target of this name. Imports what it needs, and not what the others need."""
    (module,) = (module for module, found in _MODULES.items() if name in found)
    make = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    return cast("Target", make())
