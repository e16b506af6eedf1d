"""Starting a function by its registered name, without its code at hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from perdure.api.definition import Definition, Policy
from perdure.backends.base import InvocationKind
from perdure.engine.effects import Call
from perdure.values import TypeRegistry


def _unknown(*args: object, **kwargs: object) -> object:
    """Stand in for a function whose code is elsewhere; never called."""
    raise AssertionError((args, kwargs))


class NamedDefinition(Definition):
    """A definition that knows its name only.

    Positional arguments are recorded under their numbers and bound by the worker that has the code;
    annotations and defaults are unknown here, so prefer keyword arguments and give them all.
    """

    def __init__(self, name: str, kind: InvocationKind, types: TypeRegistry) -> None:
        """Name a function of another process."""
        super().__init__(_unknown, kind=kind, name=name, types=types, policy=Policy())

    def call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Call:
        """Encode a call without a signature."""
        return self.call_with({**{str(n): value for n, value in enumerate(args)}, **kwargs})

    def decode_result(self, body: bytes) -> object:
        """A result as plain data."""
        return self.untyped.decode(body, f"result of {self.name!r}")

    def same_arguments(self, recorded: bytes, asked: bytes) -> bool:
        """Only what is the same to the letter; defaults are unknown here."""
        return recorded == asked
