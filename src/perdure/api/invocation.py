"""The handle that a user holds of one execution. It knows an id and asks the state backend."""

from __future__ import annotations

from collections.abc import Generator
from datetime import datetime, timedelta
from typing import Any, Generic, ParamSpec, TypeVar, cast, overload

from perdure.api import sending
from perdure.api.arguments import Arguments
from perdure.api.checks import flag, prose
from perdure.api.client import Client
from perdure.api.definition import Call, Definition
from perdure.api.moments import to_datetime
from perdure.api.outside import loop_is_running, refuse_undurable
from perdure.api.progress import read_progress
from perdure.api.queries import Query, ask
from perdure.api.streams import Stream
from perdure.api.updating import Answer, ask_update
from perdure.backends.endings import deadline_of
from perdure.core.identity import InvocationKey, WorkflowIdentity
from perdure.core.lifecycle import InvocationState
from perdure.core.retry import seconds
from perdure.engine import control, flows
from perdure.engine.cancellation import Cancellation, ControlName
from perdure.engine.context import WorkflowContext, current
from perdure.engine.early import early_end
from perdure.engine.effects import Flow
from perdure.engine.outcome import Outcome, recorded_arguments, recorded_outcome
from perdure.errors import NotPublished, OperationRefused, WrongColour
from perdure.values import decode_exception

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")
_MISSING: Any = object()


class DistributedInvocation(Generic[R_co]):
    """One execution of a call, anywhere. Bound to one generation of its id.

    Equal when id and generation are. May be an argument or a result of tasks and workflows, and
    inside a workflow waiting for it is a durable operation.
    """

    __slots__ = ("_client", "_definition", "key")

    def __init__(
        self, client: Client, key: InvocationKey, definition: Definition | None = None
    ) -> None:
        """Made by `start`, `get` and `app.invocation`, not by users."""
        self._client = client
        self._definition = definition
        self.key = key

    @property
    def invocation_id(self) -> str:
        """The id; for a workflow it is the workflow id."""
        return self.key.invocation_id

    @property
    def generation(self) -> int:
        """Which life of the id this is, from 1."""
        return self.key.generation

    @property
    def status(self) -> InvocationState:
        """Where it stands now (one read of the state backend).

        Raises:
            OperationRefused: inside a workflow, where another answer on replay would be a
                divergence; `wf.record("status", lambda: invocation.status)` it.
        """
        refuse_undurable("invocation.status")
        return self._client.read(self.key).state

    @property
    def deadline(self) -> datetime | None:
        """When the workflow is to have ended, as aware UTC; None if there is no such moment."""
        record = self._client.read(self.key)
        at = deadline_of(record.options, record.created_at)
        return None if at is None else to_datetime(at)

    @property
    def name(self) -> str:
        """Registered name of the function."""
        return self._client.read(self.key).name

    @property
    def identity(self) -> WorkflowIdentity:
        """The identity under which its deterministic values are stored."""
        record = self._client.read(self.key)
        parent = record.parent.invocation_id if record.parent else None
        return WorkflowIdentity(self.key.invocation_id, record.name, parent)

    @property
    def call(self) -> Call:
        """The task or workflow and its arguments, decoded afresh.

        Raises:
            UnknownName: the code is not registered in this process.
            JournalCorrupted: the arguments are damaged.
        """
        record = self._client.read(self.key)
        definition = self._client.registry.require(record.name)
        self._client.runtime.check_identity(record)
        values = definition.decode_call(recorded_arguments(record))
        return Call(definition.public, Arguments(values))

    def result(self, timeout: float | timedelta | None = None) -> R_co:
        """Wait for the end and give the result, or raise what it raised.

        Args:
            timeout: seconds or timedelta; None waits for ever. In a workflow it is a durable timer.

        Raises:
            ResultTimeout: it goes on.
            InvocationParked, InvocationDead: it will not end by itself (outside of workflows).
            WrongColour: on a running event loop or in an async workflow; `await` the handle.
        """
        limit = None if timeout is None else seconds(timeout, "timeout")
        context = current()
        if isinstance(context, WorkflowContext):
            context.check()
            if context.is_async:
                raise self._must_await()
            return cast("R_co", context.perform(self._flow(limit)))
        if loop_is_running():
            raise self._must_await()
        return cast("R_co", self._client.wait(self.key, limit))

    async def result_async(self, timeout: float | timedelta | None = None) -> R_co:  # noqa: ASYNC109
        """As `result`, awaited. `await invocation` is this without a timeout."""
        limit = None if timeout is None else seconds(timeout, "timeout")
        context = current()
        if isinstance(context, WorkflowContext):
            context.check()
            return cast("R_co", await context.perform_async(self._flow(limit)))
        return cast("R_co", await self._client.wait_async(self.key, limit))

    def __await__(self) -> Generator[Any, None, R_co]:
        """Wait for the end and give the result, or raise what it raised."""
        return self.result_async().__await__()

    def _must_await(self) -> WrongColour:
        return WrongColour(
            f"result() of {self.key.invocation_id!r} was called where an event loop runs, which it "
            "would block. Write `await invocation` (or `await invocation.result_async(timeout)`)."
        )

    def _flow(self, limit: float | None) -> Flow[Outcome]:
        if self._context_place().key == self.key:
            raise OperationRefused(
                f"Workflow {self.key.invocation_id!r} waits for its own result, which would never "
                "come. Give the value to whoever needs it instead."
            )
        microseconds = None if limit is None else int(limit * flows.MICROSECONDS)
        return flows.result(self._context_place(), self.key, self._decode, microseconds)

    def _context_place(self) -> WorkflowContext:
        context = current()
        if not isinstance(context, WorkflowContext):
            raise OperationRefused("The workflow of this operation has ended.")
        return context

    def _decode(self, body: bytes) -> object:
        definition = self._definition
        if definition is None:
            record = self._client.latest(self.key.invocation_id)
            definition = self._definition = self._client.definition_of(record)
        if definition is not None:
            return definition.decode_result(body)
        return self._client.untyped.decode(body, f"result of {self.key.invocation_id!r}")

    def get_data(self, name: str, default: T = _MISSING) -> Any | T:
        """What the workflow published as `name` with `wf.set_data`, as last committed.

        Raises:
            NotPublished: (a KeyError) it published no such name, and no default is given.
        """
        refuse_undurable("invocation.get_data(...)")
        body = self._client.runtime.backend.read_data(self.key).get(name)
        if body is not None:
            return self._client.untyped.decode(body, f"data {name!r}")
        if default is _MISSING:
            raise NotPublished(
                f"{self.key.invocation_id!r} has published no {name!r} with wf.set_data, as far as "
                "it is committed. Give a default= for the time before it does."
            )
        return default

    def last_heartbeat(self, type_: Any = Any, default: Any = None) -> Any:
        """The details that the body of this started task told last, as far as they are durable.

        Those of calls within a workflow are not seen from outside of their bodies.

        Args:
            type_: what the details must be; they are decoded to it.
            default: given if it told none.

        Raises:
            OperationRefused: in a workflow, where another answer on replay would be a divergence.
            DeserializationError: they are no `type_`.
        """
        return read_progress(self._client, self.key, type_, default)

    @overload
    def query(self, query: Query[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    @overload
    def query(self, query: str, /, *args: Any, **kwargs: Any) -> Any: ...
    def query(self, query: Any, /, *args: Any, **kwargs: Any) -> Any:
        """What a query of this workflow makes of its data, as last committed.

        It is answered by this process, which needs the workflow's code: at any time, also of a
        workflow that has ended, is parked or dead. `total(invocation)` is the same.

        Args:
            query: what `@checkout.query` gave, or its name.
            args, kwargs: what the query takes besides the data.

        Raises:
            UnknownName: no query of this name, or no such workflow, is registered here.
            OperationRefused: a query of another workflow; or this is called in a workflow, where
                `wf.record("total", lambda: invocation.query(total))` records what it gave.
            InvocationNotFound, Superseded: there is no such workflow, or a later generation of it.
        """
        return ask(self._client, self.key, query, args, kwargs)

    @overload
    def stream(
        self,
        name: str,
        type_: type[T],
        /,
        *,
        from_start: bool = True,
        timeout: float | timedelta | None = None,
    ) -> Stream[T]: ...
    @overload
    def stream(
        self, name: str, /, *, from_start: bool = True, timeout: float | timedelta | None = None
    ) -> Stream[Any]: ...
    def stream(
        self,
        name: str,
        type_: Any = Any,
        /,
        *,
        from_start: bool = True,
        timeout: float | timedelta | None = None,
    ) -> Stream[Any]:
        """What the workflow publishes as `name` with `wf.publish`, as it is committed.

        `for value in invocation.stream("progress")`, or `async for`: it waits for the next value
        and ends when the workflow has ended. Nothing is missed and nothing comes twice.

        Args:
            name: as given to `wf.publish`.
            type_: what each value must be; it is decoded to it. Any takes it as it is.
            from_start: True begins with the first value ever published; False with the first one
                that is committed after this call.
            timeout: seconds or timedelta to wait for the next value; None waits for ever.

        Raises:
            OperationRefused: this is a task; or it is called in a workflow.
            ResultTimeout: (by the iteration) no value came in time, and the workflow goes on.
            InvocationParked, InvocationDead: (by the iteration) it will not go on by itself.
            DeserializationError: (by the iteration) a value is no `type_`.
            WrongColour: (by the iteration) `for` on a running event loop.
        """
        limit = None if timeout is None else seconds(timeout, "timeout")
        return Stream(self._client, self.key, name, type_, from_start=from_start, timeout=limit)

    def send(self, name: str, value: object = None, id: str = "") -> None:
        """Send a message to this workflow; `wf.receive(name)` in it takes it.

        It is durable when this returns, and is received once. In a workflow this is a recorded
        operation; in a task, a retry sends the same message, which is accepted once.

        Args:
            name: what the workflow receives it by.
            value: plain data, or an instance of a dataclass, msgspec Struct or pydantic model.
            id: sent again with this id, it is accepted once. Default: a fresh one.

        Raises:
            InvocationEnded: the workflow has ended, so nobody would read it.
            InvocationNotFound, Superseded: there is no such workflow, or a later generation of it.
            OperationRefused: this is a task.
            SerializationError: the value cannot be recorded.
            CommitUnknown: it may be sent; sending it again with the same id is safe.
        """
        sending.send(self._client, self.key, name, value, id)

    @overload
    def update(
        self,
        name: str,
        value: object,
        type_: type[T],
        *,
        timeout: float | timedelta | None = None,
        id: str = "",
    ) -> T: ...
    @overload
    def update(
        self,
        name: str,
        value: object = None,
        type_: Any = Any,
        *,
        timeout: float | timedelta | None = None,
        id: str = "",
    ) -> Any: ...
    def update(
        self,
        name: str,
        value: object = None,
        type_: Any = Any,
        *,
        timeout: float | timedelta | None = None,
        id: str = "",
    ) -> Any:
        """Send an update to this workflow and wait for its answer.

        `wf.receive_update(name)` in the workflow takes and answers it, once. Asked again with the
        same id, also by another process or after a crash, the same answer is given.

        Args:
            name: what the workflow receives it by.
            value: as for `send`.
            type_: what the answer must be; it is decoded to it.
            timeout: seconds or timedelta; None waits for ever.
            id: accepted once with this id. Default: a fresh one.

        Raises:
            Exception: what the validator raised (nothing was sent), or the workflow in its block.
            UpdateTimeout: accepted, and not answered yet.
            UpdateUnanswered: the workflow ended without answering.
            MessageInvalid: the value is not what the validator or the workflow takes.
            InvocationEnded, InvocationNotFound, Superseded: nobody is there to receive it.
            InvocationParked, InvocationDead: accepted, and the workflow does not go on by itself.
            UnknownName: the workflow's code is not in this process, so nothing was validated.
            OperationRefused: this is a task; or it is called in a workflow.
            WrongColour: on a running event loop; `await invocation.update_async(...)`.
        """
        if loop_is_running():
            raise WrongColour(
                f"update({name!r}) would block the running event loop. Write: "
                f"await invocation.update_async({name!r}, ...)"
            )
        answer = self._update(name, value, type_, timeout, id)
        return answer.value(self._client.waiting.until(answer.wanted))

    @overload
    async def update_async(
        self,
        name: str,
        value: object,
        type_: type[T],
        *,
        timeout: float | timedelta | None = None,  # noqa: ASYNC109 - as `result_async`
        id: str = "",
    ) -> T: ...
    @overload
    async def update_async(
        self,
        name: str,
        value: object = None,
        type_: Any = Any,
        *,
        timeout: float | timedelta | None = None,  # noqa: ASYNC109 - as `result_async`
        id: str = "",
    ) -> Any: ...
    async def update_async(
        self,
        name: str,
        value: object = None,
        type_: Any = Any,
        *,
        timeout: float | timedelta | None = None,  # noqa: ASYNC109 - as `result_async`
        id: str = "",
    ) -> Any:
        """As `update`, awaited."""
        answer = self._update(name, value, type_, timeout, id)
        return answer.value(await self._client.waiting.until_async(answer.wanted))

    def _update(
        self, name: str, value: object, type_: Any, timeout: float | timedelta | None, id_: str
    ) -> Answer:
        limit = None if timeout is None else seconds(timeout, "timeout")
        return ask_update(self._client, self.key, (name, value, id_), type_, limit)

    def cancel(self, reason: str = "", *, children: bool = True) -> None:
        """Ask it to end. Durable when this returns; asking twice is asking once.

        A sync workflow gets `wf.Cancelled` out of what it waits for, or out of its next task call
        within about a second; an async one `asyncio.CancelledError`. It may clean up with any
        operation, and ends as CANCELLED if it lets the exception pass. A task, and a workflow that
        nobody has begun, ends at once; a body that runs goes on unseen, and its outcome is dropped.

        Args:
            reason: text for people.
            children: when it ends as cancelled, also cancel what it has started.

        Raises:
            InvocationEnded: it has ended.
            ConfigurationError: the reason is no text.
        """
        self._control("cancel", reason, children)

    def terminate(self, reason: str = "", *, children: bool = True) -> None:
        """End it here and now as TERMINATED: its code does not learn of it and cleans nothing up.

        Whoever waits for it is told what it leaves that is not undone; see `wf.compensate`.

        Args:
            children: also terminate what it has started and what has not ended.

        Raises:
            InvocationEnded: it has ended in another way.
        """
        self._control("terminate", reason, children)

    def pause(self) -> None:
        """Stop a workflow until `resume`: at once if it waits, else when none of its bodies runs.

        Messages and ends of others are kept meanwhile; timers are late by as much.

        Raises:
            InvocationEnded: it has ended.
            OperationRefused: it is a task, or this is called in a workflow.
        """
        refuse_undurable("invocation.pause()")
        control.pause(self._client.runtime, self._client.read(self.key).key)

    def _control(self, what: ControlName, reason: object, children: object) -> None:
        asked = Cancellation(prose(reason, "reason"), flag(children, "children"))
        context = current()
        if isinstance(context, WorkflowContext):
            context.check()
            context.perform(flows.control(context, what, self.key, asked))
            return
        self._client.read(self.key)
        control.CONTROLS[what](self._client.runtime, self.key, asked)

    def resume(self) -> bool:
        """Let a paused, parked or dead invocation go on; False if it was none of these."""
        refuse_undurable("invocation.resume()")
        return control.resume(self._client.runtime, self.key)

    def exception(self) -> BaseException | None:
        """What a failed invocation raised, or `InvocationCancelled`; None for any other.

        Its notes (`__notes__`) say what was undone and what was not; see `wf.compensate`.
        """
        refuse_undurable("invocation.exception()")
        record = self._client.read(self.key)
        if record.state in {InvocationState.CANCELLED, InvocationState.TERMINATED}:
            return early_end(self._client.runtime, record)
        if record.state is InvocationState.FAILED:
            return decode_exception(recorded_outcome(record) or b"null", self._client.types)
        return None

    def __eq__(self, other: object) -> bool:
        """Same id and generation."""
        return isinstance(other, DistributedInvocation) and other.key == self.key

    def __hash__(self) -> int:
        """By id and generation."""
        return hash(self.key)

    def __repr__(self) -> str:
        """Id and generation; nothing is read."""
        return f"<DistributedInvocation {self.key.invocation_id!r} #{self.key.generation}>"
