"""What `wf.gather_async` and its like do, over plain asyncio. See `perdure.api.concurrency`."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from perdure.errors import WrongColour

Run = Callable[[], Awaitable[Any]]


async def _call(run: Run) -> Any:
    given: object = run()
    if not inspect.isawaitable(given):
        raise WrongColour(
            f"A branch of an async workflow, {run!r}, gave {given!r}, which cannot be awaited. "
            "Pass a function whose result can: lambda: the_task.acall(...)."
        )
    return await given


async def _join(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Wait until all have ended; whoever is cancelled meanwhile passes it on to them."""
    left = [task for task in tasks if not task.done()]
    if left:
        await asyncio.gather(*left, return_exceptions=True)


async def _give_up(tasks: Sequence[asyncio.Task[Any]]) -> None:
    left = [task for task in tasks if not task.done()]
    for task in left:
        task.cancel()
    await _join(left)


async def run_all(runs: Iterable[Run], limit: int | None, *, return_exceptions: bool) -> list[Any]:
    """Run each in a task of its own, at most `limit` at a time; raise the first failure at last."""
    tasks: list[asyncio.Task[Any]] = []
    failed: list[asyncio.Task[Any]] = []

    def note(task: asyncio.Task[Any]) -> None:
        if task.cancelled() or task.exception() is not None:
            failed.append(task)

    under_way: list[asyncio.Task[Any]] = []
    try:
        for run in runs:
            if limit is not None and len(under_way) >= limit:
                await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                under_way = [task for task in under_way if not task.done()]
            if failed and not return_exceptions:
                break
            task = asyncio.create_task(_call(run))
            task.add_done_callback(note)
            tasks.append(task)
            under_way.append(task)
        await _join(tasks)
    except (Exception, asyncio.CancelledError):
        await _give_up(tasks)
        raise
    if failed and not return_exceptions:
        failed[0].result()  # it raises
    return [_given(task) for task in tasks]


def _given(task: asyncio.Task[Any]) -> object:
    if task.cancelled():
        return asyncio.CancelledError()
    error = task.exception()
    return task.result() if error is None else error


async def run_first(runs: dict[str | int, Run]) -> tuple[str | int, Any]:
    """Run each in a task of its own; the key and the result of the first that ends."""
    tasks: dict[asyncio.Task[Any], str | int] = {}
    ended: list[asyncio.Task[Any]] = []
    try:
        for key, run in runs.items():
            task = asyncio.create_task(_call(run))
            task.add_done_callback(ended.append)
            tasks[task] = key
        await asyncio.wait(list(tasks), return_when=asyncio.FIRST_COMPLETED)
    except (Exception, asyncio.CancelledError):
        await _give_up(list(tasks))
        raise
    winner = ended[0]
    await _give_up(list(tasks))
    return tasks[winner], winner.result()
