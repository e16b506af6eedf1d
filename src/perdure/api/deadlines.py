"""Deadlines of blocks in sync workflows. `perdure.wf` re-exports what users call."""

from __future__ import annotations

from datetime import timedelta
from types import TracebackType
from typing import Self, cast

from perdure.core.retry import seconds
from perdure.engine import flows
from perdure.engine.context import WorkflowContext, current_workflow
from perdure.engine.effects import Wait
from perdure.engine.sync_attempt import SyncAttempt
from perdure.errors import Cancelled, DeadlineExceeded, OperationRefused, WrongColour


def timeout(duration: float | timedelta) -> Deadline:
    """`with wf.timeout(60): ...` lets a block of a sync workflow take so long at most.

    When the time is over, the operation that waits, or the next task call, raises `wf.Cancelled`;
    the block may clean up with any operation, and when that leaves it, it turns into
    `DeadlineExceeded`. The timer is durable from the beginning of the block, by the state backend's
    clock, and its delivery has its place in the journal: a replay raises out of the same operation.
    A task body that runs is waited for. Blocks may be nested, as with `asyncio.timeout`.

    Args:
        duration: seconds or timedelta.

    Raises:
        WrongColour: in an async workflow; `async with asyncio.timeout(...)` is durable there.
    """
    context = current_workflow("wf.timeout")
    if context.is_async:
        raise WrongColour(
            "wf.timeout is for sync workflows. In an async one asyncio's own is durable: "
            "async with asyncio.timeout(...)."
        )
    return Deadline(context, seconds(duration, "wf.timeout"))


class Deadline:
    """The block of a `wf.timeout`. It can be entered once."""

    def __init__(self, context: WorkflowContext, limit: float) -> None:
        """Made by `wf.timeout`, not by users."""
        self._context = context
        self._limit = limit
        self._wait: Wait | None = None
        self._attempt = cast("SyncAttempt", context.attempt)
        self._reason = ""

    @property
    def expired(self) -> bool:
        """Whether the time was over before the block was left."""
        return self._wait is not None and self._wait.satisfied

    def __enter__(self) -> Self:
        """Set the timer.

        Raises:
            OperationRefused: it was entered before.
        """
        context = current_workflow("wf.timeout")
        if self._wait is not None or context is not self._context:
            raise OperationRefused(
                "A wf.timeout was entered again. Each block needs its own: with wf.timeout(...):"
            )
        flow = flows.deadline(context, int(self._limit * flows.MICROSECONDS))
        self._wait = wait = cast("Wait", context.perform(flow))
        scope, number = wait.place or ("", 0)
        self._reason = f"The {self._limit:g} seconds of wf.timeout {scope}:{number} are over."
        self._attempt.begin_deadline(wait, self._reason)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give the timer up, or tell that it fired.

        Raises:
            DeadlineExceeded: it fired, and what it raised was let pass.
        """
        if self._wait is not None:
            self._attempt.deadlines.close(self._wait)
        if isinstance(error, Cancelled) and self._reason in error.args:
            raise DeadlineExceeded(
                f"A block did not end within the {self._limit:g} seconds of its wf.timeout."
            ) from None
