"""Tasks and workflows as users hold them: callables with a colour, `start`, `options` and `get`.

One class per kind and colour, because a type checker must know what a call gives; what they do is
in `Registered`, once.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    ParamSpec,
    Protocol,
    Self,
    TypeVar,
    cast,
    overload,
)

import msgspec

from perdure.api.client import Client
from perdure.api.definition import Definition
from perdure.api.endings import (
    Deadline,
    ending_of,
    merged,
    read_ends,
)
from perdure.api.invocation import DistributedInvocation
from perdure.api.outside import refuse_running_loop, refuse_undurable
from perdure.api.queries import Query, add_query
from perdure.api.queues import Queue
from perdure.api.sending import letter_with_start
from perdure.api.start_options import StartOptions
from perdure.api.updating import add_validator
from perdure.backends.base import DEFAULT_QUEUE, NewInvocation, OnExisting
from perdure.backends.letters import Letter
from perdure.core.identity import InvocationKey, validate_identifier
from perdure.engine import flows
from perdure.engine.context import TaskContext, WorkflowContext, current
from perdure.engine.effects import Call, Undo
from perdure.errors import ConfigurationError, NotInWorkflow, WrongColour

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
T = TypeVar("T")


class Registered(Generic[P, R]):
    """What tasks and workflows have in common."""

    def __init__(self, definition: Definition, client: Client) -> None:
        """Made by `@app.task` and `@app.workflow`, not by users."""
        self.definition = definition
        self._client = client
        self._options = StartOptions()
        self._runs_here = definition.is_plain
        definition.public = self
        functools.update_wrapper(cast("Callable[..., Any]", self), definition.function)

    @property
    def name(self) -> str:
        """Registered name."""
        return self.definition.name

    @property
    def client(self) -> Client:
        """What it uses of its app; for tools."""
        return self._client

    def options(  # noqa: PLR0913 - all that a start may ask, by keyword
        self,
        *,
        id: str | None = None,
        on_existing: OnExisting | None = None,
        delay: float | timedelta | None = None,
        priority: int | None = None,
        queue: str | Queue | None = None,
        key: object = None,
        message: tuple[str, object] | tuple[str, object, str] | None = None,
        timeout: float | timedelta | None = None,
        deadline: Deadline | None = None,
    ) -> Self:
        """The same function with other options for its next starts; what is not given stays.

        Args:
            id: the invocation id, and so the idempotency key of the start: the same id with the
                same input is the same invocation. Default: a fresh one (inside a workflow or task:
                one derived from the place of the call).
            on_existing: what a start does when the id exists with the same input: "return" (the
                default) gives that invocation, "raise" raises `StartConflict`,
                "new_generation_if_failed" starts it again if its last life failed or was
                cancelled. Other input always raises.
            delay: seconds or timedelta before it may run.
            priority: higher ones are claimed first.
            queue: another queue than the function's own.
            key: another limit key than `key=` of the function would give.
            message: (name, value) or (name, value, id): a message in the same transaction as the
                start. A workflow that has the id already gets it as by `invocation.send`.
            timeout: seconds or timedelta, from the start, after which the workflow is cancelled.
            deadline: an aware datetime when it is; or "inherit": when the workflow that starts it
                is. With a timeout as well, the earlier one counts.

        Raises:
            InvalidIdentifier: the id is empty, too long or has control characters.
            ConfigurationError: another option cannot be used.
        """
        changed = copy.copy(self)
        chosen = self._options.but(
            read_ends(timeout, deadline, self.definition.kind),
            self.definition.ends,
            id=id,
            on_existing=on_existing,
            delay=delay,
            priority=priority,
            queue=queue,
            key=key,
            letters=None if message is None else [self._letter(message)],
        )
        changed._options = chosen  # noqa: SLF001 - our own class
        changed._runs_here = (  # noqa: SLF001 - as above
            self.definition.is_plain and chosen.queue in ("", DEFAULT_QUEUE) and not chosen.key
        )
        return changed

    def _letter(self, message: object) -> Letter:
        if self.definition.kind != "workflow":
            raise ConfigurationError(
                f"message={message!r}: {self.name!r} is a task; only workflows receive messages."
            )
        return letter_with_start(self._client, message)

    def start(self, *args: P.args, **kwargs: P.kwargs) -> DistributedInvocation[R]:
        """Start it for any worker and give the handle at once.

        Durable when this returns. Inside a workflow the start is recorded with the workflow's own
        entry in one transaction, so it happens exactly once; inside a task its id is derived from
        the task, so a retry of the task finds it again.

        Raises:
            StartConflict: the id belongs to something else.
            SerializationError: an argument cannot be recorded; nothing was started.
        """
        return self._handle(self._start(self.definition.call(args, kwargs)))

    def get(self, invocation_id: str) -> DistributedInvocation[R]:
        """The typed handle of the latest generation of an id.

        Raises:
            InvocationNotFound: there is none, or it is of another function.
        """
        validate_identifier(invocation_id, "id")
        refuse_undurable(f"{_short_name(self)}.get()")
        return self._handle(self._client.latest_of(self.definition, invocation_id))

    def _handle(self, key: InvocationKey) -> DistributedInvocation[R]:
        return DistributedInvocation(self._client, key, self.definition)

    def _start(self, call: Call) -> InvocationKey:
        context = current()
        if isinstance(context, WorkflowContext):
            context.check()
            self._refuse_unrecordable()
            key = context.perform(flows.start(context, call, self._new(call, context)))
            return cast("InvocationKey", key)
        return self._client.start(self._new_with_id(call, context), self._options.on_existing)

    def _new_with_id(self, call: Call, context: TaskContext | None) -> NewInvocation:
        """What a start outside of workflows brings."""
        self._client.refuse_in_pure(context, f"The start of {self.name!r}")
        new = self._new(call, context)
        if new.invocation_id:
            return new
        fresh = self._client.fresh_id() if context is None else context.next_start_id()
        return msgspec.structs.replace(new, invocation_id=fresh)

    def _refuse_unrecordable(self) -> None:
        """Refuse options that a start which is recorded cannot have.

        Raises:
            ConfigurationError: there is one.
        """
        if self._options.on_existing != "return":
            raise ConfigurationError(
                f"on_existing={self._options.on_existing!r} is not available inside a workflow, "
                "where a start is recorded. Start it from a task or from outside."
            )
        if self._options.letters:
            raise ConfigurationError(
                "message= is not available inside a workflow, where each operation is recorded by "
                "itself. Start it, then send: invocation.send(...)."
            )

    def as_undo(
        self, context: WorkflowContext, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Undo:
        """A call for later, of a workflow that is undone. It inherits no deadline of that.

        Raises:
            ConfigurationError: an option that such a call cannot have.
        """
        self._refuse_unrecordable()
        call = self.definition.call(args, kwargs)
        if self._runs_here and self.definition.kind == "task":
            return Undo(call, None)
        ends = ending_of(merged(self._options.ends, self.definition.ends), None)
        return Undo(call, msgspec.structs.replace(self._new(call, context), options=ends))

    def _new(self, call: Call, context: WorkflowContext | TaskContext | None) -> NewInvocation:
        options, definition = self._options, self.definition
        template = self._client.template if context is None else context.template
        return msgspec.structs.replace(
            template,
            invocation_id=options.id,
            kind=definition.kind,
            name=definition.name,
            arguments=call.arguments,
            fingerprint=call.digest,
            call_id=call.call_id,
            queue=options.queue or definition.queue,
            limit_key=options.key or definition.limit_key(call.arguments),
            delay=int(options.delay * flows.MICROSECONDS),
            priority=options.priority,
            letters=options.letters,
            options=ending_of(merged(options.ends, definition.ends), context),
            code_version=self._client.template.code_version,
        )

    def new_outside(self, call: Call) -> NewInvocation:
        """What a start of this call outside of workflows brings; whoever asks gives the id."""
        return self._new(call, None)

    def new_for_memo(self, call: Call, context: WorkflowContext) -> NewInvocation:
        """What `execute_task` starts for a call; its id is derived from the call."""
        return self._new(call, context)

    def _in_workflow(self, *, awaited: bool) -> WorkflowContext | None:
        """The workflow of a durable call, or None outside of one (and inside a task).

        Raises:
            WrongColour: the spelling does not fit the colour of the workflow.
        """
        context = current()
        if not isinstance(context, WorkflowContext):
            return None
        context.check()
        if context.is_async and not awaited:
            raise WrongColour(
                f"{self.name!r} was called without await inside an async workflow, which it would "
                f"block. Write: {_await_spelling(self)}"
            )
        if not context.is_async and awaited:
            raise WrongColour(
                f"{self.name!r} as it was called must be awaited, for which a sync workflow has no "
                f"event loop. Write: {_sync_spelling(self)}"
            )
        return context

    def __repr__(self) -> str:
        """Kind and name."""
        return f"<{self.definition.kind} {self.name!r}>"

    if not TYPE_CHECKING:  # a type checker says itself that there is none

        def __getattr__(self, name: str) -> object:
            """Say how the spelling that belongs to the other colour is written here.

            Raises:
                AttributeError: always; it is asked only for what is not there.
            """
            if name not in _SPELLINGS:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            is_async = self.definition.is_async
            raise AttributeError(
                f"{self.name!r} has no {name}(): it is {'an async def' if is_async else 'a def'}. "
                f"Write {_await_spelling(self)} in async code, {_sync_spelling(self)} in sync code."
            )


_SPELLINGS = ("call", "acall")


def _short_name(registered: Registered[..., Any]) -> str:
    return registered.name.rpartition(".")[2]


def _await_spelling(registered: Registered[..., Any]) -> str:
    short = _short_name(registered)
    return f"await {short}(...)" if registered.definition.is_async else f"await {short}.acall(...)"


def _sync_spelling(registered: Registered[..., Any]) -> str:
    short = _short_name(registered)
    return f"{short}.call(...)" if registered.definition.is_async else f"{short}(...)"


# --- tasks --------------------------------------------------------------------------------------


class Task(Registered[P, R]):
    """A registered function whose result is recorded; it may do side effects."""

    def _call(self, context: WorkflowContext, args: tuple[Any, ...], kwargs: dict[str, Any]) -> R:
        call = self.definition.call(args, kwargs)
        queued = None if self._runs_here else self._new(call, context)
        value: R = context.perform(flows.call_task(context, call, queued))
        return value

    async def _acall(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> R:
        # Looked up when it runs, not when it was made: under asyncio.gather the coroutine of one
        # branch runs in the task, and so in the scope, of another.
        context = self._in_workflow(awaited=True)
        if context is None:
            raise NotInWorkflow(
                f"The coroutine of {self.name!r} was made in a workflow and awaited outside of it."
            )
        call = self.definition.call(args, kwargs)
        queued = None if self._runs_here else self._new(call, context)
        value: R = await context.perform_async(flows.call_task(context, call, queued))
        return value


class SyncTask(Task[P, R]):
    """A task made of a `def`."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run it durably inside a workflow; elsewhere it is just the function."""
        context = self._in_workflow(awaited=False)
        if context is None:
            return cast("R", self.definition.function(*args, **kwargs))
        return self._call(context, args, kwargs)

    async def acall(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The same in async code: durable in an async workflow, else on a thread of its own."""
        context = self._in_workflow(awaited=True)
        if context is None:
            import asyncio  # noqa: PLC0415 - asyncio costs 50 ms at import; only async code pays

            return cast("R", await asyncio.to_thread(self.definition.function, *args, **kwargs))
        return await self._acall(args, kwargs)


class AsyncTask(Task[P, R]):
    """A task made of an `async def`."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """Await it: durable inside an async workflow; elsewhere it is just the function."""
        context = self._in_workflow(awaited=True)
        if context is None:
            return cast("Coroutine[Any, Any, R]", self.definition.function(*args, **kwargs))
        return self._acall(args, kwargs)

    def call(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The same in sync code: durable in a sync workflow, else run to its end right here."""
        context = self._in_workflow(awaited=False)
        if context is None:
            refuse_running_loop(f"{self.name!r}.call()", _await_spelling(self))
            import asyncio  # noqa: PLC0415 - asyncio costs 50 ms at import; only async code pays

            return cast("R", asyncio.run(self.definition.function(*args, **kwargs)))
        return self._call(context, args, kwargs)


# --- workflows ----------------------------------------------------------------------------------


class Workflow(Registered[P, R]):
    """A registered function that is replayed; each start has a deterministic context of its own."""

    def query(self, function: Callable[Concatenate[Any, Q], T], /) -> Query[Q, T]:
        """Register a question about this workflow: a function of what it published.

        The function gets a mapping of what `wf.set_data` set, as last committed, and what the
        caller gives besides. It runs where it is asked, at any time, also for workflows that have
        ended; the workflow does not notice. So it must only look.

        Raises:
            RegistrationError: it is no plain function, or there is another query of its name.
        """
        return cast("Query[Q, T]", add_query(self.definition, function, self._client))

    def update_validator(
        self, name: str, /
    ) -> Callable[[Callable[[Any, T], None]], Callable[[Any, T], None]]:
        """Register what may refuse an update of this name: a function of data and value.

        It runs where `invocation.update(name, value)` is called, on the data as last committed and
        on the value as it is annotated, before anything is sent; what it raises, the caller gets.

        Raises:
            RegistrationError: it is no plain function, or there is one for this name already.
        """
        validate_identifier(name, "the name of an update")

        def register(function: Callable[[Any, T], None]) -> Callable[[Any, T], None]:
            add_validator(self.definition, name, function)
            return function

        return register

    def _run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> R:
        call, context = self.definition.call(args, kwargs), current()
        if isinstance(context, WorkflowContext):
            return self._handle(self._start(call)).result()
        new = self._new_with_id(call, context)
        return cast("R", self._client.run(new, self._options.on_existing))

    async def _arun(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> R:
        call, context = self.definition.call(args, kwargs), current()
        if isinstance(context, WorkflowContext):
            return await self._handle(self._start(call))
        new = self._new_with_id(call, context)
        return cast("R", await self._client.run_async(new, self._options.on_existing))


class SyncWorkflow(Workflow[P, R]):
    """A workflow made of a `def`."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Start it and wait for its result; inside a workflow it is a child workflow."""
        if self._in_workflow(awaited=False) is None:
            refuse_running_loop(f"workflow {self.name!r}", _await_spelling(self))
        return self._run(args, kwargs)

    async def acall(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The same in async code."""
        self._in_workflow(awaited=True)
        return await self._arun(args, kwargs)


class AsyncWorkflow(Workflow[P, R]):
    """A workflow made of an `async def`."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """Await it: it is started and waited for; inside an async workflow it is a child."""
        self._in_workflow(awaited=True)
        return self._arun(args, kwargs)

    def call(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The same in sync code."""
        if self._in_workflow(awaited=False) is None:
            refuse_running_loop(f"workflow {self.name!r}", _await_spelling(self))
        return self._run(args, kwargs)


# --- decorators ----------------------------------------------------------------------------------


class TaskDecorator(Protocol):
    """What `@app.task(...)` gives: takes sync and async functions."""

    @overload  # a coroutine function is a function too, so the order of the two is what counts
    def __call__(  # type: ignore[overload-overlap]
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> AsyncTask[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> SyncTask[P, R]: ...


class WorkflowDecorator(Protocol):
    """What `@app.workflow(...)` gives: takes sync and async functions."""

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> AsyncWorkflow[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> SyncWorkflow[P, R]: ...
