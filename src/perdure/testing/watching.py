"""Sees what the functions of an app do in every process of a test: which bodies ran, on what."""

from __future__ import annotations

import functools
import threading
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from perdure.api.definition import Definition
from perdure.app import Perdure
from perdure.engine.context import TaskContext, current
from perdure.engine.executors import ExecutorChoice
from perdure.testing.executions import Execution, Executions
from perdure.testing.faults import MortalEnv, env_of_thread
from perdure.testing.reports import TEXT_MAX
from perdure.testing.shuffling import SetOrders
from perdure.testing.suspects import watching

ENDS_MAX = 1_000
"""So often a thread of a dead process may catch its end before it is held."""


class Process(MortalEnv):
    """The world of one process of a run; `number` counts them from 0."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number
        self._ends: Counter[int] = Counter()

    def check(self) -> None:
        """See `MortalEnv.check`. Code that catches even this is held for ever, or it would spin."""
        if self.dead and env_of_thread() is self:
            self._ends[threading.get_ident()] += 1
            if self._ends[threading.get_ident()] > ENDS_MAX:
                self.bury()
        super().check()

    def bury(self) -> None:
        """Let this thread never go on."""
        threading.Event().wait()


class _KeyNoted(TaskContext):
    """A task context that notes whether its body asks for its idempotency key."""

    __slots__ = ()

    def idempotency_key(self) -> str:
        """See `TaskContext`."""
        _asked_for_key.add(self.invocation.invocation_id)
        return super().idempotency_key()


_asked_for_key: set[str] = set()


class Watch:
    """Notes what runs. One per test; `runs` and `keyed` begin anew with each run.

    Attributes:
        runs: every run of a task body.
        arguments: what each body was called with, by the id of its invocation, as text.
        impure: (called, line, what to use instead) of workflow code.
        orders: gives sets in workflow code in any order.
        process: the one whose turn it is, for threads that belong to none.
    """

    def __init__(self) -> None:
        self.process = Process(0)
        self.impure: dict[tuple[str, str, str], None] = {}
        self.orders = SetOrders()
        self.begin()

    def begin(self) -> None:
        """A new run."""
        self.runs = Executions()
        self.arguments: dict[str, str] = {}
        _asked_for_key.clear()

    def is_keyed(self, body: str) -> bool:
        """Whether this body asked for its idempotency key."""
        return body in _asked_for_key

    @contextmanager
    def over(self, app: Perdure) -> Generator[None]:
        """Watch the functions of `app` until the end of the block."""
        kept: dict[Definition, tuple[Callable[..., Any], ExecutorChoice]]
        kept = {each: (each.function, each.executor) for each in set(app.registry.values())}
        for definition in kept:
            wrap = self._task if definition.kind == "task" else self._workflow
            definition.function = wrap(definition, definition.function)
            definition.executor = "thread"  # what another process does could not be seen
        try:
            yield
        finally:
            for definition, (function, executor) in kept.items():
                definition.function, definition.executor = function, executor

    def _task(self, definition: Definition, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def body(*args: Any, **kwargs: Any) -> Any:
            self._begins(definition, args, kwargs)
            return function(*args, **kwargs)

        @functools.wraps(function)
        async def async_body(*args: Any, **kwargs: Any) -> Any:
            self._begins(definition, args, kwargs)
            return await function(*args, **kwargs)

        return async_body if definition.is_async else body

    def _begins(
        self, definition: Definition, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        process = env_of_thread()
        if not isinstance(process, Process):
            process = self.process
        undoable = definition.around is not None
        if not undoable:  # its failure would be kept in a database that outlives this process
            process.check()
        context = current()
        if not isinstance(context, TaskContext) or context.template.name != definition.name:
            return  # a task that is called inside of a task is just a function
        body = context.invocation.invocation_id
        named = [*map(repr, args), *(f"{name}={value!r}" for name, value in kwargs.items())]
        told = f"({', '.join(named)})"
        self.arguments[body] = told[:TEXT_MAX]
        kind = definition.pure, definition.once, definition.completes_outside, undoable
        seen = f"{told} {TaskContext.idempotency_key(context)}"
        self.runs.note(Execution(process.number, body, definition.name, seen, *kind))
        if definition.once:
            self.runs.once.add(definition.name)
        if type(context) is TaskContext:
            context.__class__ = _KeyNoted

    def _workflow(self, definition: Definition, function: Callable[..., Any]) -> Callable[..., Any]:
        function = self.orders.copy_of(function)

        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            with watching(self._impure):
                return function(*args, **kwargs)

        @functools.wraps(function)
        async def async_run(*args: Any, **kwargs: Any) -> Any:
            with watching(self._impure):
                return await function(*args, **kwargs)

        return async_run if definition.is_async else run

    def around(self, thread: str) -> AbstractContextManager[None]:
        """The block in which a thread of perdure runs: those of branches run workflow code."""
        is_branch = thread.startswith("perdure-branch")
        return watching(self._impure) if is_branch else nullcontext()

    def _impure(self, called: str, line: str, instead: str) -> None:
        self.impure[called, line, instead] = None
