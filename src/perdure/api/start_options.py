"""How the next starts of a task or workflow are made, as `options(...)` was asked."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, get_args

import msgspec

from perdure.api.endings import NO_END, Ends, merged, refuse_late
from perdure.api.queues import Queue, check_priority, key_text, queue_name
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

    def but(  # noqa: PLR0913 - all that a start may ask, by keyword
        self,
        *,
        id: str | None,
        on_existing: OnExisting | None,
        delay: float | timedelta | None,
        priority: int | None,
        queue: str | Queue | None,
        key: object,
        letter: Letter | None,
        ends: Ends,
        declared: Ends,
    ) -> StartOptions:
        """These, with what is given in their place; None leaves an option as it is.

        Args:
            ends: what the call asks for.
            declared: what limits the time of the workflow if no start says otherwise.

        Raises:
            InvalidIdentifier, ConfigurationError: as `Registered.options`.
        """
        changed: dict[str, Any] = {"ends": merged(ends, self.ends)}
        if id is not None:
            changed["id"] = validate_identifier(id, "id")
        if on_existing is not None:
            known = get_args(OnExisting)
            if on_existing not in known:
                raise ConfigurationError(
                    f"on_existing={on_existing!r}: expected one of {', '.join(known)}."
                )
            changed["on_existing"] = on_existing
        if delay is not None:
            changed["delay"] = seconds(delay, "delay")
        if priority is not None:
            check_priority(priority)
            changed["priority"] = priority
        if queue is not None:
            changed["queue"] = queue_name(queue)
        if key is not None:
            changed["key"] = key_text(key)
        if letter is not None:
            changed["letters"] = (letter,)
        chosen = msgspec.structs.replace(self, **changed)
        refuse_late(chosen.delay, merged(chosen.ends, declared))
        return chosen
