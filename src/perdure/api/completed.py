"""Branches in the order in which they end: `as_completed`, in both colours. `perdure.wf` has it.

Which one is next is decided by the journal. None is left behind: whoever leaves the block early
cancels the others, and the block ends when they have.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from perdure.api.concurrency import branches_of, check_branch, check_limit, require_async
from perdure.api.ended import Completed, Runs, outside_of_block
from perdure.engine.branch import Branch
from perdure.engine.branches import Branches
from perdure.engine.context import WorkflowContext, current_workflow
from perdure.errors import ControlFlow

A = TypeVar("A")
T = TypeVar("T")

LEFT = "The block of wf.as_completed was left."


def as_completed(*branches: Callable[[], T], **named: Callable[[], T]) -> AsCompleted[T]:
    """Call each of these in a branch of its own, and give them in the order in which they end.

    `with wf.as_completed(a, b) as ended:` begins them; `for branch in ended:` waits for the next
    one that ends, in journal order, the same on every replay. The others go on meanwhile. What a
    branch raised is raised by its `result()`, and by nothing else.

    When the block is left early, by `break` or an error say, those that have not ended are
    cancelled as by `wf.select`: what they wait in raises `wf.Cancelled`, and the block ends when
    they have.

    Args:
        branches: functions without arguments; the key is the position, from 0.
        named: likewise, with their names as keys.

    Raises:
        OperationRefused: too many branches, or used outside of its block.
        WrongColour: in an async workflow; `async with wf.as_completed_async(...) as ended:`.
    """
    operation = "wf.as_completed"
    branches_of(operation, f"Write: async with {operation}_async(...) as ended:")
    return AsCompleted(operation, iter(_runs(operation, branches, named, awaited=False)), None)


def map_as_completed(
    function: Callable[[A], T], items: Iterable[A], /, *, limit: int | None = None
) -> AsCompleted[T]:
    """Call the function with each item, in branches, and give them in the order they end.

    As `as_completed`; the key is the position of the item.

    Args:
        function: a task, or any function of one argument.
        items: taken one by one, each when its branch is made.
        limit: so many branches may be under way at a time; None for all. Further ones are made
            when the loop asks for the next that ends.

    Raises:
        ConfigurationError: a limit that is no whole number from 1.
        OperationRefused, WrongColour: as `as_completed`.
    """
    operation = "wf.map_as_completed"
    branches_of(operation, f"Write: async with {operation}_async(...) as ended:")
    check_limit(operation, limit)
    check_branch(operation, function, awaited=False)
    return AsCompleted(operation, _mapped(function, items), limit)


def as_completed_async(
    *branches: Callable[[], Awaitable[T]], **named: Callable[[], Awaitable[T]]
) -> AbstractAsyncContextManager[AsyncIterator[Completed[T]]]:
    """As `as_completed`, in an async workflow: `async with` and `async for`.

    Each branch is an asyncio task; those that are cancelled get `asyncio.CancelledError`.
    """
    operation = "wf.as_completed"
    require_async(operation)
    runs = _runs(f"{operation}_async", branches, named, awaited=True)
    from perdure.api.async_branches import AsyncAsCompleted  # noqa: PLC0415 - it brings asyncio, which only async code needs

    block: AsyncAsCompleted[T] = AsyncAsCompleted(f"{operation}_async", iter(runs), None)
    return block


def map_as_completed_async(
    function: Callable[[A], Awaitable[T]], items: Iterable[A], /, *, limit: int | None = None
) -> AbstractAsyncContextManager[AsyncIterator[Completed[T]]]:
    """As `map_as_completed`, in an async workflow."""
    operation = "wf.map_as_completed"
    require_async(operation)
    check_limit(f"{operation}_async", limit)
    check_branch(f"{operation}_async", function, awaited=True)
    from perdure.api.async_branches import AsyncAsCompleted  # noqa: PLC0415 - as above

    runs = _mapped(function, items)
    block: AsyncAsCompleted[T] = AsyncAsCompleted(f"{operation}_async", runs, limit)
    return block


def _mapped(function: Callable[[A], T], items: Iterable[A]) -> Runs:
    return ((number, partial(function, item)) for number, item in enumerate(items))


def _runs(
    operation: str,
    branches: tuple[Callable[[], Any], ...],
    named: dict[str, Callable[[], Any]],
    *,
    awaited: bool,
) -> list[tuple[str | int, Callable[[], Any]]]:
    runs: list[tuple[str | int, Callable[[], Any]]] = [*enumerate(branches), *named.items()]
    for _, run in runs:
        check_branch(operation, run, awaited=awaited)
    return runs


class AsCompleted(Generic[T]):
    """The block of a `wf.as_completed`, and its branches as they end. It can be entered once."""

    def __init__(self, operation: str, runs: Runs, limit: int | None) -> None:
        """Made by `wf.as_completed`, not by users."""
        self._operation = operation
        self._runs = runs
        self._limit = limit
        self._entered: WorkflowContext | None = None
        self._left = False
        self._branches: Branches | None = None
        self._made: dict[Branch, str | int] = {}
        self._ended: deque[Branch] = deque()
        self._under_way = 0

    def __enter__(self) -> Self:
        """Begin the branches, as many as may be under way.

        Raises:
            OperationRefused: there are too many, or it was entered before.
        """
        context = current_workflow(self._operation)
        if self._entered is not None:
            raise outside_of_block(self._operation)
        self._entered = context
        self._branches = branches_of(self._operation)
        self._gate = self._branches.gate()
        try:
            self._fill()
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Cancel those that have not ended, and wait until they have."""
        self._left = True
        if self._branches is not None and not isinstance(error, ControlFlow):
            self._branches.give_up(list(self._made), LEFT if error is None else str(error))

    def __iter__(self) -> Iterator[Completed[T]]:
        """Itself."""
        return self

    def __next__(self) -> Completed[T]:
        """The next branch that ends.

        Raises:
            StopIteration: all have ended.
            Cancelled: the workflow was cancelled while this waited.
            OperationRefused: outside of its block.
        """
        context = current_workflow(self._operation)
        if self._left or context is not self._entered:
            raise outside_of_block(self._operation)
        self._fill()
        if not self._under_way and not self._ended:
            raise StopIteration
        while not self._ended:
            self._gate.wait()
        branch = self._ended.popleft()
        return Completed(self._made.pop(branch), branch.value, branch.error)

    def _fill(self) -> None:
        """Begin as many branches as may be under way."""
        while self._branches is not None and (self._limit is None or self._under_way < self._limit):
            following = next(self._runs, None)
            if following is None:
                return
            key, run = following
            branch = self._branches.begin(run)
            branch.watchers.append(self._note)
            self._made[branch] = key
            self._under_way += 1

    def _note(self, branch: Branch) -> None:
        self._under_way -= 1
        self._ended.append(branch)
        self._gate.tell()
