"""The deterministic event loop of one async workflow: order is all it knows.

It runs what is ready, first in first out, and nothing else: no sockets, no threads, no clock of its
own. Timers are durable commands of the scope that sets them; tasks are scopes. So plain asyncio
(gather, TaskGroup, wait, timeout, Event, Queue) is deterministic as soon as completions come in
journal order, one at a time (see `perdure.engine.async_attempt`).

What it offers of `asyncio.AbstractEventLoop` is what those need; the rest is refused by name.
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVarTuple, cast

from perdure.engine.context import WorkflowContext, current_workflow, enter
from perdure.engine.runtime import logger
from perdure.errors import ControlFlow, ForeignScope, OperationRefused

Ts = TypeVarTuple("Ts")


def _maker_in_asyncio() -> str:
    """The function of asyncio that asks for a task on its own account; "" for user code."""
    name = ""
    frame = sys._getframe(2)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - documented
    while frame.f_code.co_filename == asyncio.tasks.__file__ and frame.f_back is not None:
        name = frame.f_code.co_qualname
        frame = frame.f_back
    return name


class LoopPort(Protocol):
    """What the loop needs of the attempt that steps it."""

    def open_branch(self) -> WorkflowContext:
        """A new scope below the one that is current."""
        ...

    def close_branch(self, context: WorkflowContext, task: asyncio.Task[Any]) -> None:
        """The task of a scope ended."""
        ...

    def set_timer(self, delay: float, fire: Callable[[], None]) -> Callable[[], None]:
        """Set a durable timer; gives a function that abandons it."""
        ...

    @property
    def clock(self) -> float:
        """Seconds since 1970 of the newest delivery."""
        ...

    @property
    def halted(self) -> bool:
        """Whether the frame is being dropped."""
        ...


class ScopedTask(asyncio.Task[Any]):
    """A task that is a scope. Its hash is its number, so that sets of tasks have one order."""

    scope_context: WorkflowContext
    values: contextvars.Context

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, Any],
        number: int,
        loop: asyncio.AbstractEventLoop,
        values: contextvars.Context,
        name: str,
    ) -> None:
        """Make a task; asyncio hashes it while it is being made, so the number comes first."""
        self.number = number
        super().__init__(coroutine, loop=loop, context=values, name=name)

    def __hash__(self) -> int:
        """Creation number within the workflow."""
        return self.number

    def __eq__(self, other: object) -> bool:
        """Identity."""
        return self is other


class _Timer(asyncio.TimerHandle):
    """A timer handle that takes its durable timer back when it is cancelled."""

    abandon: Callable[[], None] | None = None

    def cancel(self) -> None:
        """Cancel the callback and abandon the timer."""
        super().cancel()
        if self.abandon is not None:
            self.abandon()
            self.abandon = None


class WorkflowLoop(asyncio.AbstractEventLoop):
    """A FIFO loop on the calling thread; stepped by `run_ready`, never by `run_forever`."""

    def __init__(self, port: LoopPort) -> None:
        """Make a loop with nothing to do."""
        self._port = port
        self._ready: deque[asyncio.Handle] = deque()
        self._created = 0
        self.tasks: list[ScopedTask] = []

    # --- stepping -------------------------------------------------------------------------------

    def run_ready(self) -> None:
        """Run callbacks until none is ready or the frame is dropped."""
        ready, port = self._ready, self._port
        while ready and not port.halted:
            handle = ready.popleft()
            if not handle.cancelled():
                handle._run()  # noqa: SLF001 - the loop side of asyncio's own contract

    def start(self, coroutine: Coroutine[Any, Any, Any], context: WorkflowContext) -> ScopedTask:
        """Make the root task, in the root scope."""
        return self._make_task(coroutine, context, contextvars.copy_context())

    def _make_task(
        self,
        coroutine: Coroutine[Any, Any, Any],
        context: WorkflowContext,
        values: contextvars.Context,
    ) -> ScopedTask:
        values.run(enter, context)
        self._created += 1
        name = context.scope.path or "root"
        task = ScopedTask(coroutine, self._created, self, values, name)
        task.scope_context = context
        task.values = values
        context.bind_task(lambda: asyncio.current_task() is task)
        self.tasks.append(task)
        return task

    def forget(self, task: ScopedTask) -> None:
        """A task has ended, or its frame is dropped.

        asyncio would know it until the garbage collector finds it. The first tasks of all workflows
        have one hash, so each new one would be compared with all that are not found yet.
        """
        self.tasks.remove(task)
        asyncio._unregister_task(task)  # noqa: SLF001 - for those that make tasks of their own

    # --- what asyncio calls ---------------------------------------------------------------------

    def create_task(
        self,
        coro: Any,
        *,
        name: object = None,
        context: contextvars.Context | None = None,
        **_: object,
    ) -> ScopedTask:
        """Make a task, which is a new scope of the one that makes it.

        Raises:
            OperationRefused: `as_completed` makes tasks in the order of a set, which is chance.
        """
        maker = _maker_in_asyncio()
        if maker.startswith(("as_completed", "_AsCompletedIterator")):
            raise OperationRefused(
                "asyncio.as_completed was given awaitables that are no tasks yet; it would start "
                "them in the order of a set, which no replay could repeat. Make the tasks first: "
                "as_completed([asyncio.create_task(each) for each in ...])."
            )
        if maker == "wait_for":
            return self._make_guest(coro)
        branch = self._port.open_branch()
        values = contextvars.copy_context() if context is None else context.copy()
        task = self._make_task(coro, branch, values)
        if name is not None:
            task.set_name(str(name))
        task.add_done_callback(self._close)
        return task

    def _make_guest(self, coroutine: Coroutine[Any, Any, Any]) -> ScopedTask:
        """A task that uses the scope of its maker, who does nothing but wait for it meanwhile.

        Before Python 3.12 `wait_for` makes a task; scopes must not hang on the version of Python.
        """
        context = current_workflow("asyncio.wait_for")
        host = asyncio.current_task()
        task = self._make_task(coroutine, context, contextvars.copy_context())

        def give_back(_: object) -> None:
            self.forget(task)
            context.bind_task(lambda: asyncio.current_task() is host)

        task.add_done_callback(give_back)
        return task

    def _close(self, task: asyncio.Task[Any]) -> None:
        ended = cast("ScopedTask", task)  # this loop makes no others
        self.forget(ended)
        self._port.close_branch(ended.scope_context, ended)

    def create_future(self) -> asyncio.Future[Any]:
        """A future of this loop."""
        return asyncio.Future(loop=self)

    def call_soon(
        self,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        """Run the callback after what is ready now."""
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_soon_threadsafe(
        self,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        """Refuse: what comes from another thread comes at a time that no replay could repeat."""
        del callback, args, context
        raise ForeignScope(
            "call_soon_threadsafe was called on the loop of a workflow. What another thread does "
            "is not recorded; do the threaded work inside a task and await that."
        )

    def call_later(
        self,
        delay: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Set a durable timer, a command of the current scope."""
        timer = _Timer(self.time() + delay, callback, args, self, context)
        if delay <= 0:
            self._ready.append(timer)
        else:
            timer.abandon = self._port.set_timer(delay, lambda: self._ready.append(timer))
        return timer

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Set a durable timer for a time of `time()`."""
        return self.call_later(when - self.time(), callback, *args, context=context)

    def time(self) -> float:
        """Seconds since 1970 of the newest delivery; the same on every replay."""
        return self._port.clock

    def is_running(self) -> bool:
        """True: it is only ever seen from inside."""
        return True

    def is_closed(self) -> bool:
        """False: it is never closed, only forgotten."""
        return False

    def get_debug(self) -> bool:
        """False: debug mode reads clocks."""
        return False

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Nothing is kept that a cancelled handle could block."""

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Log what no code of the workflow will see.

        It changes nothing in the workflow: some of these come when the garbage collector finds a
        task, at another time on every run.
        """
        error = context.get("exception")
        if not isinstance(error, ControlFlow):
            logger.warning("in an async workflow: %s", context.get("message"), exc_info=error)


_REFUSED = (
    "run_in_executor",
    "getaddrinfo",
    "getnameinfo",
    "create_connection",
    "create_server",
    "create_unix_connection",
    "create_unix_server",
    "create_datagram_endpoint",
    "connect_accepted_socket",
    "start_tls",
    "sendfile",
    "sock_recv",
    "sock_recv_into",
    "sock_sendall",
    "sock_connect",
    "sock_accept",
    "connect_read_pipe",
    "connect_write_pipe",
    "subprocess_shell",
    "subprocess_exec",
    "add_reader",
    "add_writer",
    "add_signal_handler",
    "run_forever",
    "run_until_complete",
)


def _refuser(name: str) -> Callable[..., object]:
    def refuse(*_: object, **__: object) -> object:
        raise OperationRefused(
            f"loop.{name} was called in an async workflow. A workflow is replayed, so it may not "
            "touch sockets, processes, files or threads itself. Do it in a task: `await "
            "the_task(...)` runs on the ordinary asyncio loop and its result is recorded."
        )

    return refuse


for _name in _REFUSED:
    setattr(WorkflowLoop, _name, _refuser(_name))
