"""How the next starts of a task or workflow are made, as `options(...)` was asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import msgspec

from perdure.api.endings import NO_END, Ends, merged, refuse_late
from perdure.api.queues import check_priority, key_text, queue_name
from perdure.backends.base import OnExisting
from perdure.backends.letters import Letter
from perdure.core.identity import validate_identifier
from perdure.core.retry import seconds
from perdure.errors import ConfigurationError


class StartOptions(msgspec.Struct, frozen=True):
    """How the next start is made. See `Registered.options`."""

    id: str = ""
    on_existing: OnExisting = "return"
    delay: float = 0.0
    priority: int = 0
    queue: str = ""
    key: str = ""
    letters: tuple[Letter, ...] = ()
    ends: Ends = NO_END

    def but(self, ends: Ends, declared: Ends, **asked: Any) -> StartOptions:
        """These, with what is asked in their place; None leaves an option as it is.

        Args:
            ends: what limits the time, as asked.
            declared: what limits the time of the workflow if no start says otherwise.
            asked: the other options, as users give them.

        Raises:
            InvalidIdentifier, ConfigurationError: as `Registered.options`.
        """
        given = {name: _READERS[name](value) for name, value in asked.items() if value is not None}
        chosen = msgspec.structs.replace(self, ends=merged(ends, self.ends), **given)
        refuse_late(chosen.delay, merged(chosen.ends, declared))
        return chosen


def _read_on_existing(given: object) -> object:
    known = get_args(OnExisting)
    if given not in known:
        raise ConfigurationError(f"on_existing={given!r}: expected one of {', '.join(known)}.")
    return given


def _read_priority(given: object) -> object:
    check_priority(given)
    return given


_READERS: dict[str, Callable[[Any], object]] = {
    "id": lambda given: validate_identifier(given, "id"),
    "on_existing": _read_on_existing,
    "delay": lambda given: seconds(given, "delay"),
    "priority": _read_priority,
    "queue": queue_name,
    "key": key_text,
    "letters": tuple,
}
