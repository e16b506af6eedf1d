"""What `wf.gather_async` and its like do, over plain asyncio. See `perdure.api.concurrency`."""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from perdure.api.ended import Completed, Runs, outside_of_block
from perdure.engine.context import WorkflowContext, current_workflow
from perdure.errors import ControlFlow, WrongColour

T = TypeVar("T")

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


class AsyncAsCompleted(Generic[T]):
    """The block of a `wf.as_completed_async`, and its branches as they end. Entered once."""

    def __init__(self, operation: str, runs: Runs, limit: int | None) -> None:
        """Made by `wf.as_completed_async`, not by users."""
        self._operation = operation
        self._runs = runs
        self._limit = limit
        self._entered: WorkflowContext | None = None
        self._left = False
        self._made: dict[asyncio.Task[Any], str | int] = {}
        self._ended: deque[asyncio.Task[Any]] = deque()
        self._under_way = 0
        self._told: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Self:
        """Begin the branches, as many as may be under way.

        Raises:
            OperationRefused: it was entered before.
        """
        context = current_workflow(self._operation)
        if self._entered is not None:
            raise outside_of_block(self._operation, "async ")
        self._entered = context
        try:
            self._fill()
        except BaseException as error:
            await self.__aexit__(type(error), error, None)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Cancel those that have not ended, and wait until they have."""
        self._left = True
        if not isinstance(error, ControlFlow):
            await _give_up(list(self._made))

    def __aiter__(self) -> AsyncIterator[Completed[T]]:
        """Itself."""
        return self

    async def __anext__(self) -> Completed[T]:
        """The next branch that ends.

        Raises:
            StopAsyncIteration: all have ended.
            OperationRefused: outside of its block.
        """
        context = current_workflow(self._operation)
        if self._left or context is not self._entered:
            raise outside_of_block(self._operation, "async ")
        self._fill()
        if not self._under_way and not self._ended:
            raise StopAsyncIteration
        while not self._ended:
            self._told = asyncio.get_running_loop().create_future()
            await self._told
        task = self._ended.popleft()
        key = self._made.pop(task)
        if task.cancelled():
            return Completed(key, None, asyncio.CancelledError())
        error = task.exception()
        return Completed(key, task.result() if error is None else None, error)

    def _fill(self) -> None:
        """Begin as many branches as may be under way."""
        while self._limit is None or self._under_way < self._limit:
            following = next(self._runs, None)
            if following is None:
                return
            key, run = following
            task = asyncio.create_task(_call(run))
            task.add_done_callback(self._note)
            self._made[task] = key
            self._under_way += 1

    def _note(self, task: asyncio.Task[Any]) -> None:
        self._under_way -= 1
        self._ended.append(task)
        if self._told is not None and not self._told.done():
            self._told.set_result(None)
