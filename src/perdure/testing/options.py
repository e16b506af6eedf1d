"""What tests give as options, looked at before anything runs: a slip is told where it was made."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any, TypedDict, cast

from perdure.api.functions import Registered
from perdure.app import Perdure
from perdure.errors import ConfigurationError
from perdure.testing.endings import Raises, classes_of
from perdure.testing.lives import Begin, Drive
from perdure.testing.stores import Store, make_store


class RunOptions(TypedDict, total=False):
    """Those of every test that runs a workflow; see `CrashEverywhere`."""

    drive: Drive | None
    begin: Begin | None
    store: Store
    raises: Raises
    seed: int


class CrashOptions(RunOptions, total=False):
    """Those of `crash_everywhere`; see `CrashEverywhere`."""

    idempotent: Iterable[Registered[..., Any] | str]
    allow: Iterable[str]
    pairs: int


class FuzzOptions(RunOptions, total=False):
    """Those of `fuzz_schedules`; see `FuzzSchedules`."""

    runs: int


def checked(given: CrashOptions | FuzzOptions, of: type[Any]) -> dict[str, Any]:
    """The options as the runs take them.

    Args:
        of: the class that names the options there are.

    Raises:
        ConfigurationError: one of them is of no use.
        TypeError: there is no such option.
    """
    known = dict(cast("dict[str, Any]", given))
    names: set[str] = set(of.__annotations__)
    if unknown := sorted(known.keys() - names):
        raise TypeError(f"There is no option {unknown[0]!r}, only {', '.join(sorted(names))}.")
    make_store(known.get("store", "memory"))
    known["raises"] = classes_of(known.get("raises", ()))
    for name in ("drive", "begin"):
        _check_function(name, known.get(name))
    for name in ("seed", "pairs", "runs"):
        if name in known and (not isinstance(known[name], int) or known[name] < 0):
            raise ConfigurationError(f"{name}={known[name]!r}: expected a whole number from 0 on.")
    for name in ("idempotent", "allow"):
        if name in known:
            known[name] = frozenset(_texts(name, known[name]))
    return known


def _check_function(name: str, given: object) -> None:
    if given is None:
        return
    if not callable(given):
        raise ConfigurationError(f"{name}={given!r}: expected a function.")
    if inspect.iscoroutinefunction(given):
        raise ConfigurationError(
            f"{name}={given!r} is an async function, which nobody would await: it is called on a "
            "thread. Give a plain one; the handle has plain methods for all that it does."
        )
    try:
        inspect.signature(given).bind(*([given] * (name == "drive")))
    except ValueError:
        return  # something built in that tells no signature
    except TypeError as error:
        takes = "the handle of the workflow" if name == "drive" else "no arguments"
        raise ConfigurationError(f"{name}={given!r} must take {takes}: {error}.") from error


def _texts(name: str, given: object) -> list[str]:
    example = "[charge]" if name == "idempotent" else '["time.monotonic()"]'
    is_list = isinstance(given, Iterable) and not isinstance(given, str)
    items = list(cast("Iterable[object]", given)) if is_list else [None]
    found: list[str] = []
    for each in items:
        named: object = each
        if name == "idempotent" and isinstance(each, Registered):
            named = cast("Registered[..., Any]", each).name
        if not isinstance(named, str):
            raise ConfigurationError(
                f"{name}={given!r}: expected a list, such as {name}={example}."
            )
        found.append(named)
    return found


def refuse_unknown_tasks(names: Iterable[str], app: Perdure) -> None:
    """Refuse a name that no task has: what it was to say would be said of nothing.

    Raises:
        ConfigurationError: there is one.
    """
    tasks = sorted(each.name for each in set(app.registry.values()) if each.kind == "task")
    for name in names:
        if name not in app.registry:
            raise ConfigurationError(
                f"idempotent=[{name!r}]: no task of the app has this name. There are "
                f"{', '.join(map(repr, tasks)) or 'none'}. Give the task itself, not its name."
            )
