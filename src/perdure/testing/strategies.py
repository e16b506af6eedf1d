"""Hypothesis strategies for what can be recorded: values, and arguments of your functions.

    from hypothesis import given
    from perdure.testing import strategies

    @given(strategies.arguments(order))
    def test_any_order(arguments):
        with skip_time(app):
            order(**arguments)

Needs Hypothesis: pip install hypothesis
"""

from __future__ import annotations

import inspect
import typing
from datetime import UTC
from typing import Any

from perdure.api.functions import Registered
from perdure.errors import ConfigurationError, PerdureError, RegistrationError
from perdure.values import TypeRegistry, codec_for

try:
    from hypothesis import strategies as st
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "hypothesis":
        raise
    raise ConfigurationError(
        "perdure.testing.strategies needs Hypothesis. Install it with: pip install hypothesis"
    ) from error

_TEXT_MAX = 20
_ITEMS_MAX = 4
_LEAVES_MAX = 10

_keys = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=_TEXT_MAX)
    | st.binary(max_size=_TEXT_MAX)
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.dates()
    | st.datetimes(timezones=st.just(UTC))
    | st.timedeltas()
)


def values() -> st.SearchStrategy[Any]:
    """Values of every built-in kind that can be recorded without an annotation, and nested ones."""
    return st.recursive(
        _keys | st.floats(),
        lambda inner: (
            st.lists(inner, max_size=_ITEMS_MAX)
            | st.dictionaries(st.text(max_size=_TEXT_MAX), inner, max_size=_ITEMS_MAX)
            | st.dictionaries(_keys, inner, max_size=_ITEMS_MAX)
            | st.tuples(inner, inner)
            | st.sets(_keys, max_size=_ITEMS_MAX)
        ),
        max_leaves=_LEAVES_MAX,
    )


def json_values() -> st.SearchStrategy[Any]:
    """Values that JSON has: what other programs send."""
    return st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=_TEXT_MAX),
        lambda inner: (
            st.lists(inner, max_size=_ITEMS_MAX)
            | st.dictionaries(st.text(max_size=_TEXT_MAX), inner, max_size=_ITEMS_MAX)
        ),
        max_leaves=_LEAVES_MAX,
    )


def recordable(annotation: Any) -> st.SearchStrategy[Any]:
    """Values of a type that can be recorded as such.

    What Hypothesis would make of the type, without what perdure refuses to record, such as naive
    times of day that would not come back equal, or text with lone surrogates.

    Args:
        annotation: as it would stand at a parameter; Any for `values()`.
    """
    if annotation in {Any, object, inspect.Parameter.empty}:
        return values()
    codec = codec_for(annotation, TypeRegistry())

    def can_be(value: object) -> bool:
        try:
            codec.encode(value, "a value")
        except PerdureError:
            return False
        return True

    return st.from_type(annotation).filter(can_be)


def arguments(function: object) -> st.SearchStrategy[dict[str, Any]]:
    """Keyword arguments of a task or workflow, by its annotations; `function(**arguments)`.

    Parameters with a default may be left out. `*args` and `**kwargs` are.

    Raises:
        RegistrationError: it is neither task nor workflow, or has positional-only parameters.
    """
    if not isinstance(function, Registered):
        raise RegistrationError(
            f"{function!r} is neither task nor workflow. Give what @app.task or @app.workflow made."
        )
    definition = typing.cast("Registered[..., Any]", function).definition
    target = inspect.unwrap(definition.function)
    hints = typing.get_type_hints(target, include_extras=True)
    needed: dict[str, st.SearchStrategy[Any]] = {}
    optional: dict[str, st.SearchStrategy[Any]] = {}
    for name, parameter in inspect.signature(target).parameters.items():
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            raise RegistrationError(
                f"{definition.kind} {definition.name!r} takes {name!r} by position only, so it "
                "cannot be called with keywords."
            )
        if parameter.kind in {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}:
            continue
        has_default = parameter.default is not inspect.Parameter.empty
        (optional if has_default else needed)[name] = recordable(hints.get(name, Any))

    def can_be(given: dict[str, Any]) -> bool:
        try:
            definition.call_with(definition.binder.bind((), given))
        except PerdureError:
            return False
        return True

    return st.fixed_dictionaries(needed, optional=optional).filter(can_be)
