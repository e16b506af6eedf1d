"""Arguments of a call: bound to parameter names, defaults filled in. Knows nothing of storage."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from perdure.errors import RegistrationError

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Binder:
    """Binds calls of one function and spells them out again. Made once, at decoration.

    Variadic parameters are kept under their starred names: `*args` as a list, `**kwargs` as a dict.
    """

    def __init__(self, function: Callable[..., object]) -> None:
        """Look at the signature.

        Raises:
            RegistrationError: it cannot be inspected (some builtins).
        """
        try:
            self.signature = inspect.signature(function)
        except (TypeError, ValueError) as error:
            raise RegistrationError(
                f"The signature of {function!r} cannot be read ({error}). Wrap it in a function "
                "with a def of its own."
            ) from error
        self._name = getattr(function, "__qualname__", repr(function))
        parameters = self.signature.parameters.values()
        self._names = [p.name for p in parameters if p.kind in _POSITIONAL]
        self._defaults = {
            p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty
        }
        self._positional_only = {
            p.name for p in parameters if p.kind is inspect.Parameter.POSITIONAL_ONLY
        }
        self._variadic = {p.name: p for p in parameters if p.kind in _VARIADIC}
        self._simple = not self._variadic and not self._positional_only
        self._all = [p.name for p in parameters]
        self._every = frozenset(self._all)

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Values by parameter name in signature order, defaults filled in.

        Raises:
            TypeError: as calling the function would.
        """
        if self._simple and len(args) <= len(self._names):
            given = dict(zip(self._names, args))  # noqa: B905 - saying `strict` costs as much again
            if not kwargs:
                if len(given) == len(self._all):
                    return given
            elif given.keys().isdisjoint(kwargs) and kwargs.keys() <= set(self._all):
                given.update(kwargs)
            else:
                return self._bind_slowly(args, kwargs)
            full = {**self._defaults, **given}
            if len(full) == len(self._all):
                return {name: full[name] for name in self._all}
        return self._bind_slowly(args, kwargs)

    def _bind_slowly(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self._name}{self.signature}: {error}.") from None
        bound.apply_defaults()
        return {self._label(name): value for name, value in bound.arguments.items()}

    def _label(self, name: str) -> str:
        parameter = self._variadic.get(name)
        if parameter is None:
            return name
        return f"*{name}" if parameter.kind is inspect.Parameter.VAR_POSITIONAL else f"**{name}"

    def spell(self, values: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """The positional and keyword arguments that give these values.

        Digits as names are positional arguments of a start that had no signature at hand; values
        that are missing take their present default, as the function itself would.
        """
        if self._is_whole(values):
            return [], dict(values)
        if any(name.isdigit() for name in values):
            numbered = [values[name] for name in sorted(values, key=_number) if name.isdigit()]
            return numbered, {name: v for name, v in values.items() if not name.isdigit()}
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        for parameter in self.signature.parameters.values():
            label = self._label(parameter.name)
            if label not in values:
                continue
            if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
                args.append(values[label])
            elif label.startswith("**"):
                kwargs.update(values[label])
            elif label.startswith("*"):
                args = [values[n] for n in self._names if n in values] + list(values[label])
                kwargs = {}
            else:
                kwargs[label] = values[label]
        unknown = values.keys() - {self._label(name) for name in self._all}
        for name in sorted(unknown):
            kwargs[name] = values[name]  # the call will name the parameter that is gone
        return args, kwargs

    def refusal(self, values: Mapping[str, Any]) -> str:
        """Why the function does not take these values; "" if it does."""
        if self._is_whole(values):
            return ""
        args, kwargs = self.spell(values)
        try:
            self.signature.bind(*args, **kwargs)
        except TypeError as error:
            return f"{error}, and it is {self._name}{self.signature}"
        return ""

    def _is_whole(self, values: Mapping[str, Any]) -> bool:
        """Whether there is a value for each parameter, by its name, and no other."""
        return self._simple and len(values) == len(self._all) and self._every.issuperset(values)

    def selector(
        self, key: Callable[..., object] | str | Sequence[str] | None
    ) -> Callable[[Mapping[str, Any]], object] | None:
        """What picks a key out of bound values.

        Args:
            key: a function that is called as the bound one would be, with as many positional
                arguments as can be; or the name of a parameter; or several.

        Raises:
            RegistrationError: a name that is no parameter, or something else.
        """
        if key is None:
            return None
        if callable(key):
            function = key
            return lambda values: self._call_with_all(function, values)
        names = [key] if isinstance(key, str) else list(key) if _is_iterable(key) else []
        if not names or any(name not in self._all for name in names):
            raise RegistrationError(
                f"key={key!r}: expected the name of a parameter ({', '.join(self._all)}), several "
                "of them, or a function of the arguments."
            )
        labels = [self._label(name) for name in names]
        if isinstance(key, str):
            return lambda values: values[labels[0]]
        return lambda values: [values[label] for label in labels]

    def _call_with_all(self, function: Callable[..., object], values: Mapping[str, Any]) -> object:
        args, kwargs = self.spell(values)
        bound = self.signature.bind(*args, **kwargs)
        return function(*bound.args, **bound.kwargs)

    @property
    def defaults(self) -> Mapping[str, Any]:
        """Present defaults by parameter name."""
        return self._defaults


_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _is_iterable(given: object) -> bool:
    return isinstance(given, Iterable)


def _number(name: str) -> int:
    return int(name) if name.isdigit() else 0


@dataclass(frozen=True, slots=True)
class Arguments:
    """The arguments of one call, by parameter name, defaults filled in.

    Positional and keyword spellings of equal arguments are equal.

    Attributes:
        values: by name, in signature order. Variadic parameters keep their stars: `*args`.
    """

    values: Mapping[str, Any]

    @classmethod
    def from_call(cls, func: Callable[..., object], *args: Any, **kwargs: Any) -> Arguments:
        """Bind `args` and `kwargs` to `func` (a function, task or workflow).

        Raises:
            TypeError: they do not fit its signature.
        """
        return cls(Binder(func).bind(args, kwargs))
