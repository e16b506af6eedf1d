"""Deadlines of whole workflows: what a start asks for, and what code can learn of its own."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

import msgspec

from perdure.api.moments import aware, from_datetime, to_datetime
from perdure.backends.endings import Ending, options_of
from perdure.core.retry import seconds
from perdure.engine.context import TaskContext, WorkflowContext, current_workflow
from perdure.errors import ConfigurationError

Deadline = datetime | Literal["inherit"]
"""A moment, or that of the workflow that starts it."""
_MICROSECONDS = 1_000_000


class Ends(msgspec.Struct, frozen=True):
    """What limits the time of a workflow. 0 for nothing.

    Attributes:
        within: microseconds from its start.
        by: microseconds since 1970 UTC.
        inherits: also the deadline of the workflow that starts it.
    """

    within: int = 0
    by: int = 0
    inherits: bool = False


NO_END = Ends()


def read_ends(timeout: float | timedelta | None, deadline: Deadline | None, kind: str) -> Ends:
    """What a user asks for, checked.

    Raises:
        ConfigurationError: it cannot be used, or is asked for a task.
    """
    if timeout is None and deadline is None:
        return NO_END
    if kind != "workflow":
        raise ConfigurationError(
            "timeout= and deadline= of a start are for workflows, which can clean up when their "
            "time is over. Limit an attempt of a task by @app.task(timeout=...)."
        )
    within = 0 if timeout is None else int(seconds(timeout, "timeout") * _MICROSECONDS)
    if timeout is not None and not within:
        raise ConfigurationError(
            f"timeout={timeout!r}: no workflow could end in time. Leave it out."
        )
    if isinstance(deadline, str):
        if deadline != "inherit":
            raise ConfigurationError(
                f"deadline={deadline!r}: expected an aware datetime, or 'inherit' for the deadline "
                "of the workflow that starts it."
            )
        return Ends(within, inherits=True)
    return Ends(within, 0 if deadline is None else from_datetime(aware(deadline, "deadline")))


def merged(chosen: Ends, default: Ends) -> Ends:
    """What holds for a start: each of the two limits as chosen, or as the workflow declares it."""
    if chosen == NO_END:
        return default
    moment = chosen if chosen.by or chosen.inherits else default
    return Ends(chosen.within or default.within, moment.by, moment.inherits)


def refuse_late(delay: float, ends: Ends) -> None:
    """Refuse a start that would be too late before it may begin.

    Raises:
        ConfigurationError: it would.
    """
    if ends.within and delay * _MICROSECONDS >= ends.within:
        raise ConfigurationError(
            f"delay={delay:g} and a timeout of {ends.within / _MICROSECONDS:g} seconds, which "
            "counts from the start as well: it would be cancelled before it could begin."
        )


def ending_of(ends: Ends, context: WorkflowContext | TaskContext | None) -> bytes:
    """The options of a start: the limits, and what is inherited from the workflow that starts it.

    A workflow that is being cancelled hands nothing on: what it starts then is to clean up.
    """
    if ends == NO_END:
        return b"{}"
    by = ends.by
    if ends.inherits and isinstance(context, WorkflowContext):
        attempt = context.attempt
        by = attempt.deadline or 0 if attempt.cancellation is None else 0
    return options_of(Ending(ends.within, by))


def deadline() -> datetime | None:
    """When this workflow is to have ended, as aware UTC; None if it may take as long as it likes.

    It never changes: the workflow's `timeout=` counts from its start, by the clock of the state
    backend. When it comes the workflow is cancelled, as by `invocation.cancel()`.

    Raises:
        NotInWorkflow, OperationRefused: outside of a workflow; `invocation.deadline` tells it.
    """
    at = current_workflow("wf.deadline").attempt.deadline
    return None if at is None else to_datetime(at)
