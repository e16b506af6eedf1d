"""Branches of a workflow: `gather`, `map`, `select`, in both colours. `perdure.wf` re-exports them.

In a sync workflow they are functions that run one at a time and are handed on where they wait
(`perdure.engine.branches`); in an async one they are asyncio tasks. What they give, in which order,
and the journal they leave are the same.

None of them leaves a branch behind: each returns or raises when all that it began have ended.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any, Literal, NamedTuple, TypeVar, cast, overload

from perdure.engine.branch import Branch
from perdure.engine.branches import Branches
from perdure.engine.context import current_workflow
from perdure.engine.sync_attempt import SyncAttempt
from perdure.errors import Cancelled, ConfigurationError, RegistrationError, WrongColour

A = TypeVar("A")
T = TypeVar("T")


class Selected(NamedTuple):
    """The branch that ended first: its name, or its position, and what it gave."""

    key: str | int
    value: Any


def branches_of(operation: str, instead: str = "") -> Branches:
    """Where branches of the code that runs are made.

    Args:
        operation: as users call it.
        instead: what to write in an async workflow; "" for the spelling that is awaited.

    Raises:
        WrongColour: in an async workflow.
    """
    context = current_workflow(operation)
    attempt = context.attempt
    if not isinstance(attempt, SyncAttempt):
        raise WrongColour(
            f"{operation} was called in an async workflow, which it would block. "
            f"{instead or f'Write: await {operation}_async(...)'}"
        )
    return attempt.branches(context)


def require_async(operation: str) -> None:
    """Refuse the awaited form of an operation in a sync workflow.

    Raises:
        WrongColour: it is one.
    """
    if not current_workflow(f"{operation}_async").is_async:
        raise WrongColour(
            f"{operation}_async was called in a sync workflow, which has no event loop. Write: "
            f"{operation}(...)"
        )


def check_branch(operation: str, function: object, *, awaited: bool) -> None:
    """Refuse what cannot be a branch.

    Raises:
        RegistrationError: it cannot be called, such as the result of a call.
        WrongColour: an async function in a sync workflow.
    """
    if inspect.iscoroutine(function):
        function.close()  # or it would warn that it was never awaited
    if not callable(function):
        one_by_one = " Give them one by one, not in a list." if isinstance(function, list) else ""
        raise RegistrationError(
            f"{operation} got {function!r}, which is not callable. Pass functions that it calls, "
            f"each in a branch of its own: lambda: pack(item), or partial(pack, item).{one_by_one}"
        )
    if not awaited and inspect.iscoroutinefunction(function):
        raise WrongColour(
            f"{operation} got the async function {function!r} in a sync workflow. Pass a function "
            "that returns its value: lambda: the_task.call(...)."
        )


def check_limit(operation: str, limit: object, name: str = "limit") -> None:
    """Refuse a limit that is none.

    Raises:
        ConfigurationError: neither None nor a whole number from 1.
    """
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
        raise ConfigurationError(
            f"{operation} got {name}={limit!r}: expected how many branches may be under way at a "
            "time, a whole number from 1, or None for all."
        )


# --- all of them --------------------------------------------------------------------------------


@overload
def gather(*branches: Callable[[], T], return_exceptions: Literal[False] = False) -> list[T]: ...
@overload
def gather(
    *branches: Callable[[], T], return_exceptions: bool
) -> list[T] | list[T | BaseException]: ...
def gather(*branches: Callable[[], Any], return_exceptions: bool = False) -> list[Any]:
    """Call each of these in a branch of its own and give what they returned, in their order.

    Where one waits, the others go on; bodies of tasks run at the same time. Their own code never
    does: one branch runs at a time, and they go on in the order of the journal.

    Args:
        branches: functions without arguments, such as `lambda: pack(item)`. At most 1,000 branches
            of a sync workflow may be under way.
        return_exceptions: give what a branch raised in its place, instead of raising it.

    Raises:
        BaseException: what the branch raised that failed first, in journal order. It is raised
            when all have ended; nothing is cancelled because of it.
        Cancelled: the workflow was cancelled. It was raised in each branch, in order, before.
        OperationRefused: too many branches.
        WrongColour: in an async workflow; `await wf.gather_async(...)`, or asyncio.gather.
    """
    return _run_all("wf.gather", branches, None, return_exceptions=return_exceptions)


@overload
def map_(
    function: Callable[[A], T],
    items: Iterable[A],
    /,
    *,
    limit: int | None = None,
    return_exceptions: Literal[False] = False,
) -> list[T]: ...
@overload
def map_(
    function: Callable[[A], T],
    items: Iterable[A],
    /,
    *,
    limit: int | None = None,
    return_exceptions: bool,
) -> list[T] | list[T | BaseException]: ...
def map_(
    function: Callable[[Any], Any],
    items: Iterable[Any],
    /,
    *,
    limit: int | None = None,
    return_exceptions: bool = False,
) -> list[Any]:
    """Call the function with each item, in branches as `gather`; the results in order of the items.

    Args:
        function: a task, or any function of one argument.
        items: taken one by one, each when its branch is made.
        limit: so many branches may be under way at a time; None for all.
        return_exceptions: give what a branch raised in its place. Without it, no further branch is
            made after the first failure; what is under way ends, then the failure is raised.

    Raises:
        ConfigurationError: a limit that is no whole number from 1.
        BaseException: as `gather`.
    """
    check_limit("wf.map", limit)
    check_branch("wf.map", function, awaited=False)
    runs = (partial(function, item) for item in items)
    return _run_all("wf.map", runs, limit, return_exceptions=return_exceptions)


def _run_all(
    operation: str,
    runs: Iterable[Callable[[], Any]],
    limit: int | None,
    *,
    return_exceptions: bool,
) -> list[Any]:
    branches = branches_of(operation)
    if isinstance(runs, tuple):
        for run in cast("tuple[object, ...]", runs):
            check_branch(operation, run, awaited=False)
    made: list[Branch] = []
    failed: list[Branch] = []

    def note(branch: Branch) -> None:
        if branch.error is not None:
            failed.append(branch)

    under_way: list[Branch] = []
    try:
        for run in runs:
            if limit is not None and len(under_way) >= limit:
                branches.wait_first(under_way)
                under_way = [branch for branch in under_way if not branch.ended]
            if failed and not return_exceptions:
                break
            branch = branches.begin(run)
            branch.watchers.append(note)
            made.append(branch)
            under_way.append(branch)
        branches.join(made)
    except (Exception, Cancelled) as error:
        branches.give_up(made, str(error))
        raise
    if failed and not return_exceptions:
        raise cast("BaseException", failed[0].error)
    return [branch.value if branch.error is None else branch.error for branch in made]


@overload
async def gather_async(
    *branches: Callable[[], Awaitable[T]], return_exceptions: Literal[False] = False
) -> list[T]: ...
@overload
async def gather_async(
    *branches: Callable[[], Awaitable[T]], return_exceptions: bool
) -> list[T] | list[T | BaseException]: ...
async def gather_async(
    *branches: Callable[[], Awaitable[Any]], return_exceptions: bool = False
) -> list[Any]:
    """As `gather`, awaited in an async workflow; each branch is an asyncio task.

    Other than `asyncio.gather` it raises the first failure when all have ended.
    """
    require_async("wf.gather")
    for run in branches:
        check_branch("wf.gather_async", run, awaited=True)
    from perdure.api.async_branches import run_all  # noqa: PLC0415 - it brings asyncio, which only async code needs

    return await run_all(branches, None, return_exceptions=return_exceptions)


@overload
async def map_async(
    function: Callable[[A], Awaitable[T]],
    items: Iterable[A],
    /,
    *,
    limit: int | None = None,
    return_exceptions: Literal[False] = False,
) -> list[T]: ...
@overload
async def map_async(
    function: Callable[[A], Awaitable[T]],
    items: Iterable[A],
    /,
    *,
    limit: int | None = None,
    return_exceptions: bool,
) -> list[T] | list[T | BaseException]: ...
async def map_async(
    function: Callable[[Any], Awaitable[Any]],
    items: Iterable[Any],
    /,
    *,
    limit: int | None = None,
    return_exceptions: bool = False,
) -> list[Any]:
    """As `wf.map`, awaited in an async workflow; each branch is an asyncio task."""
    require_async("wf.map")
    check_limit("wf.map_async", limit)
    check_branch("wf.map_async", function, awaited=True)
    from perdure.api.async_branches import run_all  # noqa: PLC0415 - as above

    runs = (partial(function, item) for item in items)
    return await run_all(runs, limit, return_exceptions=return_exceptions)


# --- the first of them --------------------------------------------------------------------------


def select(*branches: Callable[[], Any], **named: Callable[[], Any]) -> Selected:
    """Call each of these in a branch of its own, and give the first that ends, in journal order.

    The others are cancelled: what they wait in raises `wf.Cancelled`, once. They may clean up, with
    operations of all kinds; what they give after that is dropped. It returns when they have ended.

    Args:
        branches: functions without arguments; the key of the winner is its position, from 0.
        named: likewise, with their names as keys: `wf.select(paid=wait_for_money, late=a_day)`.

    Raises:
        BaseException: what the first one raised, if it did.
        ConfigurationError: nothing to select from.
        Cancelled, OperationRefused, WrongColour: as `gather`.
    """
    made_in = branches_of("wf.select")
    runs = _keyed("wf.select", branches, named, awaited=False)
    made: dict[Branch, str | int] = {}
    ended: list[Branch] = []
    try:
        for key, run in runs.items():
            branch = made_in.begin(run)
            branch.watchers.append(ended.append)
            made[branch] = key
        made_in.wait_first(list(made))
    except (Exception, Cancelled) as error:
        made_in.give_up(list(made), str(error))
        raise
    winner = ended[0]
    made_in.give_up(list(made), "Another branch of wf.select ended first.")
    if winner.error is not None:
        raise winner.error
    return Selected(made[winner], winner.value)


async def select_async(
    *branches: Callable[[], Awaitable[Any]], **named: Callable[[], Awaitable[Any]]
) -> Selected:
    """As `select`, awaited in an async workflow; the others get `asyncio.CancelledError`."""
    require_async("wf.select")
    runs = _keyed("wf.select_async", branches, named, awaited=True)
    from perdure.api.async_branches import run_first  # noqa: PLC0415 - as above

    return Selected(*await run_first(runs))


def _keyed(
    operation: str,
    branches: tuple[Callable[[], T], ...],
    named: dict[str, Callable[[], T]],
    *,
    awaited: bool,
) -> dict[str | int, Callable[[], T]]:
    runs: dict[str | int, Callable[[], T]] = dict(enumerate(branches))
    runs.update(named)
    if not runs:
        raise ConfigurationError(
            f"{operation} got nothing to select from. Pass at least one function: "
            f"{operation}(paid=..., late=...)."
        )
    for run in runs.values():
        check_branch(operation, run, awaited=awaited)
    return runs
