"""Where code runs, for what only makes sense outside of workflows. It knows no app."""

from __future__ import annotations

import sys

from perdure.engine.context import WorkflowContext, current
from perdure.errors import OperationRefused, WrongColour


def loop_is_running() -> bool:
    """Whether an event loop runs on this thread, which nothing may block."""
    asyncio = sys.modules.get("asyncio")  # not imported: no loop runs, and it costs 50 ms
    return asyncio is not None and asyncio._get_running_loop() is not None  # noqa: SLF001 - it exists for callers like this


def refuse_running_loop(what: str, spelling: str) -> None:
    """Refuse to block a running event loop.

    Raises:
        WrongColour: there is one on this thread.
    """
    if loop_is_running():
        raise WrongColour(f"{what} would block the running event loop. Write: {spelling}")


def refuse_undurable(what: str) -> None:
    """Refuse what changes with time in workflow code, unless it is recorded as one value.

    Raises:
        OperationRefused: inside a workflow, and not inside `wf.record`.
    """
    context = current()
    if isinstance(context, WorkflowContext) and not context.refusing:
        raise OperationRefused(
            f"{what} was used inside a workflow; it changes with time, so a replay would see "
            "something else. Wait for a result(), or record what you saw: "
            f'wf.record("seen", lambda: {what}). Effects belong into a task.'
        )
