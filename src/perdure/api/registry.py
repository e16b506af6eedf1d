"""The registered functions of an app, by name and alias. It runs nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from perdure.api.definition import Definition
from perdure.errors import RegistrationError, UnknownName


class Registry(Mapping[str, Definition]):
    """Definitions by every name they answer to. Filled while modules are imported."""

    def __init__(self) -> None:
        """Start empty."""
        self._by_name: dict[str, Definition] = {}

    def add(self, definition: Definition, aliases: Iterable[str] = ()) -> None:
        """Register under its name and aliases.

        Raises:
            RegistrationError: another function has one of these names. The same function defined
                again (a notebook cell, a reloaded module) replaces its older self.
        """
        names = [definition.name, *aliases]
        for name in names:
            older = self._by_name.get(name)
            if older is not None and not is_redefinition(older.function, definition.function):
                raise RegistrationError(
                    f"Two functions have the name {name!r}: {_place(older)} and "
                    f"{_place(definition)}. Recorded work could not tell them apart; give one of "
                    "them another name with name=."
                )
        definition.names = frozenset(names)
        for name in names:
            self._by_name[name] = definition

    def require(self, name: str) -> Definition:
        """The definition of this name.

        Raises:
            UnknownName: there is none; the message lists what is registered.
        """
        found = self._by_name.get(name)
        if found is None:
            known = ", ".join(sorted(self._by_name)) or "nothing"
            raise UnknownName(
                f"No task or workflow is registered as {name!r}. Registered here: {known}. Import "
                "the module that defines it, or give the old name as aliases=[...]."
            )
        return found

    def __getitem__(self, name: str) -> Definition:
        """The definition of this name; KeyError if there is none."""
        return self._by_name[name]

    def __iter__(self) -> Iterator[str]:
        """All names and aliases."""
        return iter(self._by_name)

    def __len__(self) -> int:
        """How many names and aliases there are."""
        return len(self._by_name)


def _code(function: Callable[..., Any]) -> tuple[str, int]:
    code = getattr(function, "__code__", None)
    return (code.co_filename, code.co_firstlineno) if code is not None else ("", 0)


def _place(definition: Definition) -> str:
    file, line = _code(definition.function)
    return f"{file}:{line}" if file else repr(definition.function)


def is_redefinition(older: Callable[..., Any], newer: Callable[..., Any]) -> bool:
    """Whether `newer` is the same piece of source as `older`, defined once more.

    A function inside another one is not: each call of the outer one makes a different closure.
    """
    (old_file, old_line), (new_file, new_line) = _code(older), _code(newer)
    if old_file.startswith("<") and new_file.startswith("<"):
        return True  # an interactive session: <stdin>, <ipython-input-...>, <python-input-...>
    if "/ipykernel_" in new_file:
        return True  # notebook cells are temporary files named by their content
    qualname = getattr(newer, "__qualname__", "")
    return (
        bool(old_file)
        and (old_file, old_line) == (new_file, new_line)
        and ("<locals>" not in qualname)
    )
