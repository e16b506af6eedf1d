"""`wf.threads()`: an executor for code that takes one, whose calls are branches of the workflow.

What it gives are futures as the standard library's, and its `wait` and `as_completed` take them.
Where those would block a thread, here the branch that waits hands control on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from contextlib import nullcontext
from functools import partial
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from perdure.api.concurrency import branches_of, check_branch, check_limit
from perdure.api.deadlines import timeout as deadline
from perdure.engine.branch import Branch
from perdure.engine.branches import BRANCHES_MAX, Branches, Gate
from perdure.errors import Cancelled, ControlFlow, OperationRefused

P = ParamSpec("P")
T = TypeVar("T")

OPERATION = "wf.threads"


def threads(max_workers: int | None = None) -> Threads:
    """`with wf.threads() as pool:` is an executor as `concurrent.futures` has them.

    Each `submit` makes a branch of the workflow, below the branch that submits and numbered in that
    order, so its values are the same on every replay. Branches run one at a time and go on in the
    order of the journal; the bodies of their tasks run at the same time. `pool.map`,
    `future.result()`, callbacks, `concurrent.futures.wait` and `as_completed` are durable waits.

    As other executors, it waits for all that was submitted when its block is left, and cancels
    nothing because of a failure. If the workflow was cancelled, those that have not begun are given
    up, and in the others `wf.Cancelled` is raised where they wait.

    Args:
        max_workers: so many calls are under way at a time, 1,000 at most; None for that. Further
            ones begin in the order of their submission.

    Raises:
        ConfigurationError: no whole number from 1.
        WrongColour: in an async workflow, where asyncio's own tasks are branches.
    """
    branches = branches_of(OPERATION, "Its asyncio tasks are branches: asyncio.gather(...).")
    check_limit(OPERATION, max_workers, "max_workers")
    return Threads(branches, min(max_workers or BRANCHES_MAX, BRANCHES_MAX))


class Threads(Executor):
    """The executor of a `wf.threads`. It can be used in its block, by branches of its workflow."""

    def __init__(self, branches: Branches, limit: int) -> None:
        """Made by `wf.threads`, not by users."""
        self._branches = branches
        self._limit = limit
        self._gate = branches.gate()
        self._held: deque[tuple[_Call, Branch]] = deque()
        self._under_way: dict[Branch, BranchFuture[Any]] = {}
        self._is_open = self._is_over = False

    def __enter__(self) -> Self:
        """Calls may be submitted until the block is left."""
        self._is_open = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Wait until all that was submitted has ended; if the workflow was cancelled, cancel it.

        Raises:
            Cancelled: the workflow was cancelled while this waited.
        """
        if isinstance(error, ControlFlow):
            return
        if isinstance(error, Cancelled):
            self._give_up(error)
            return
        try:
            self.shutdown()
        except Cancelled as cancelled:
            self._give_up(cancelled)
            raise

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call the function in a branch of its own, when it is its turn.

        Raises:
            OperationRefused: outside of the block or of its workflow, or too many branches.
            WrongColour: an async function.
            RuntimeError: it was shut down.
        """
        self._check()
        check_branch(OPERATION, fn, awaited=False)
        if self._is_over:
            raise RuntimeError("cannot schedule new futures after shutdown")
        call = _Call(partial(fn, *args, **kwargs), BranchFuture(self._branches))
        if len(self._under_way) < self._limit:
            self._begun(call, self._branches.begin(call.run))
        else:
            self._held.append((call, self._branches.make(call.run)))
        return call.future

    def _begun(self, call: _Call, branch: Branch) -> None:
        branch.watchers.append(self._ended)
        self._under_way[branch] = call.future

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
    ) -> Iterator[T]:
        """As `map(fn, *iterables)`; all calls are submitted at once, results come in their order.

        Raises:
            OperationRefused: a timeout; use `with wf.timeout(...)`, which replays.
        """
        if timeout is not None:
            raise _not_in_real_time("map")
        return super().map(fn, *iterables, chunksize=chunksize)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - the signature of Executor
        """Take no more calls, and wait until all have ended; cancel those that wait to begin."""
        self._is_over = True
        if cancel_futures:
            self._cancel_held()
        if wait:
            self._check()
            while self._under_way:
                self._gate.wait()

    def _check(self) -> None:
        """Refuse what comes from elsewhere.

        Raises:
            OperationRefused: outside of the block, or in another workflow.
        """
        if not self._is_open or self._branches is not branches_of(OPERATION):
            raise OperationRefused(
                "An executor of wf.threads was used outside of its block or its workflow; its "
                "branches must end with it. Write: with wf.threads() as pool: and use it inside."
            )

    def _ended(self, branch: Branch) -> None:
        """A branch has ended: the next one that is held begins."""
        del self._under_way[branch]
        if self._held:
            call, following = self._held.popleft()
            self._begun(call, following)
            self._branches.release(following)
        self._gate.tell()

    def _cancel_held(self) -> None:
        held, self._held = self._held, deque()
        for call, _ in held:
            call.future.give_up()

    def _give_up(self, error: Cancelled) -> None:
        """Cancel all that has not ended, and wait until it has."""
        self._is_over = True
        self._cancel_held()
        for branch, future in self._under_way.items():
            if not branch.started:
                future.give_up()
        self._branches.give_up(list(self._under_way), str(error))


class BranchFuture(Future[T]):
    """What a call of a `wf.threads` gives. To wait for it is a durable wait."""

    def __init__(self, branches: Branches) -> None:
        """Of a call that has not begun."""
        super().__init__()
        self._gate = branches.gate()
        self._waiters = _Waiters(branches)
        self._number = branches.number()
        self.add_done_callback(lambda _: self._gate.tell())

    def __hash__(self) -> int:
        """The same on every replay: the standard library keeps futures in sets."""
        return self._number

    def __eq__(self, other: object) -> bool:
        """Whether it is the very same."""
        return self is other

    def result(self, timeout: float | None = None) -> T:
        """Wait for what the call returned.

        Args:
            timeout: seconds, a durable timer; None waits for ever.

        Raises:
            DeadlineExceeded: it took longer, a `TimeoutError`.
            BaseException: what the call raised.
        """
        self._wait(timeout)
        return super().result(0)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for what the call raised; None if it returned. As `result`."""
        self._wait(timeout)
        return super().exception(0)

    def give_up(self) -> None:
        """Cancel a call that has not begun and never will."""
        if self.cancel():
            self.set_running_or_notify_cancel()

    def _wait(self, timeout: float | None) -> None:
        if self.done():
            return
        branches_of(OPERATION)
        with nullcontext() if timeout is None else deadline(timeout):
            while not self.done():
                self._gate.wait()


class _Call:
    """A call that was submitted."""

    def __init__(self, run: Callable[[], Any], future: BranchFuture[Any]) -> None:
        self._run = run
        self.future = future

    def run(self) -> None:
        """All that its branch does; callbacks of the future are called in it, too."""
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            value = self._run()
        except ControlFlow:
            raise
        except BaseException as error:
            self.future.set_exception(error)
            raise
        self.future.set_result(value)


class _Waiters(list[Any]):
    """Who waits by `concurrent.futures.wait` and `as_completed`: not on a thread's event."""

    def __init__(self, branches: Branches) -> None:
        super().__init__()
        self._branches = branches

    def append(self, waiter: Any) -> None:
        if not isinstance(waiter.event, _Event):
            waiter.event = _Event(self._branches.gate())
        super().append(waiter)


class _Event:
    """What the standard library asks of a `threading.Event`, as a wait of a branch."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._is_set = False

    def set(self) -> None:
        branches_of(OPERATION)
        self._is_set = True
        self._gate.tell()

    def clear(self) -> None:
        self._is_set = False

    def wait(self, timeout: float | None = None) -> bool:
        if timeout is not None:
            raise _not_in_real_time("concurrent.futures.wait or as_completed")
        branches_of(OPERATION)
        while not self._is_set:
            self._gate.wait()
        return True


def _not_in_real_time(what: str) -> OperationRefused:
    return OperationRefused(
        f"{what} was given a timeout, which it measures by a clock that no replay could repeat. "
        "Put it into a block: with wf.timeout(seconds):."
    )
