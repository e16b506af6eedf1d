"""The classes that recorded values may be made of. It must never find a class by importing one.

A name in a database selects among classes that the app has loaded and registered, or that derive
from such a class. That is the whole of its power.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from perdure.errors import PerdureError, RegistrationError
from perdure.values.limits import BYTES_MAX
from perdure.values.scalars import SCALARS, Extension

Value = TypeVar("Value")

STRUCTURE_TAGS: Final = frozenset({"v", "tuple", "set", "frozenset", "dict", "enum", "object"})
"""The tags of the tagged form that no extension may take, beside those of the scalars."""

MAIN_MODULES: Final = frozenset({"__main__", "__mp_main__"})
"""How a script's module is called while it runs, and in processes that it spawns."""

_TAG: Final = re.compile(r"[a-z][a-z0-9_.-]{0,63}")


def stable_name(cls: type) -> str:
    """`module.qualname` of a class; `__main__` is named by its file, as workers will import it."""
    module = main_module_name() if cls.__module__ in MAIN_MODULES else cls.__module__
    return f"{module}.{cls.__qualname__}"


def main_module_name() -> str:
    """How `__main__` is called when it is imported: `python -m shop.script` runs `shop.script`.

    In a process that a script spawned, `__mp_main__` is that script; while it is imported there,
    `__main__` has no file.
    """
    for main in (sys.modules["__main__"], sys.modules.get("__mp_main__")):
        spec = getattr(main, "__spec__", None)
        if spec is not None and spec.name != "__main__":
            return str(spec.name).removesuffix(".__main__")
        file = getattr(main, "__file__", None)
        if file:
            return Path(file).stem
    return "__main__"


class TypeRegistry:
    """The classes and extensions of one app. Filled at decoration; safe to read from any thread.

    Args:
        bytes_max: the largest encoded value, in bytes, of codecs made with this registry.
    """

    def __init__(self, *, bytes_max: int = BYTES_MAX) -> None:
        self.bytes_max = bytes_max
        self._by_name: dict[str, type] = {}
        self._names: dict[type, str] = {}
        self._by_tag: dict[str, Extension] = {row.tag: row for row in SCALARS}
        self._scalars: dict[type, Extension] = {row.cls: row for row in SCALARS}
        self._extensions: dict[type, Extension] = {}
        self.register(PerdureError)

    def register(self, cls: type, name: str | None = None) -> None:
        """Let values and exceptions of `cls`, and of classes derived from it, be recorded.

        Args:
            cls: an Enum, dataclass, Struct, NamedTuple, attrs class, pydantic model, exception,
                or a plain class whose `__dict__` is its value.
            name: what the records call it; default `module.qualname`. Give one before you move
                or rename the class. A class may have several; the latest one is written.

        Raises:
            RegistrationError: `cls` is no class, or another class has this name already. The same
                class defined again (a notebook cell) replaces its older self.
        """
        if not isinstance(cls, type):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise RegistrationError(f"register() takes a class, got {cls!r}. Pass the class itself")
        if cls.__module__ == "builtins":
            return  # known by themselves; and all classes derive from `object`
        name = name or stable_name(cls)
        holder = self._by_name.get(name)
        if holder is not None and stable_name(holder) != stable_name(cls):
            raise RegistrationError(
                f"the name {name!r} belongs to {holder!r} already, so {cls!r} cannot have it. "
                "Pass another one: register(cls, name=...)"
            )
        self._by_name[name] = cls
        self._names[cls] = name

    def register_extension(
        self,
        cls: type[Value],
        tag: str,
        to_plain: Callable[[Value], object],
        from_plain: Callable[[Any], Value],
    ) -> None:
        """Write values of `cls` and of its subclasses as what `to_plain` makes of them.

        `to_plain` may return any recordable value that is not of `cls`. `from_plain` gets it
        back, possibly damaged, and may raise anything. Two values with equal plain forms count
        as equal.

        Raises:
            RegistrationError: the tag is malformed, or taken by another class.
        """
        if not _TAG.fullmatch(tag) or tag in STRUCTURE_TAGS:
            raise RegistrationError(
                f"{tag!r} cannot be the tag of {cls!r}. Use lower-case letters, digits and '.-_', "
                f"and none of {', '.join(sorted(STRUCTURE_TAGS))}"
            )
        holder = self._by_tag.get(tag)
        if holder is not None and stable_name(holder.cls) != stable_name(cls):
            raise RegistrationError(f"the tag {tag!r} belongs to {holder.cls!r}. Choose another")
        self._by_tag[tag] = self._extensions[cls] = Extension(cls, tag, to_plain, from_plain)

    def name_of(self, cls: type) -> str | None:
        """The name by which records call `cls`, or None when it is not registered."""
        if name := self._names.get(cls):
            return name
        if any(base in self._names for base in cls.__mro__):
            return stable_name(cls)
        return None

    def find(self, name: str) -> type | None:
        """The class of this name: a registered one, or one derived from a registered one."""
        if cls := self._by_name.get(name):
            return cls
        pending = list(self._names)
        seen: set[type] = set(pending)
        found: type | None = None
        while pending:
            derived: type
            for derived in type.__subclasses__(pending.pop()):
                if derived in seen:
                    continue
                seen.add(derived)
                pending.append(derived)
                if stable_name(derived) == name:
                    found = derived
        return found

    def extension_for(self, cls: type) -> Extension | None:
        """The row that writes values of `cls`: a scalar's for that very class, else an app's."""
        if row := self._scalars.get(cls):
            return row
        if self._extensions:
            for base in cls.__mro__:
                if row := self._extensions.get(base):
                    return row
        return None

    def extension_of(self, tag: str) -> Extension | None:
        """The row that reads nodes with this tag."""
        return self._by_tag.get(tag)
