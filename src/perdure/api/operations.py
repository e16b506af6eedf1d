"""The operations of a workflow, as functions on the current context. `perdure.wf` re-exports them.

Each finds its context, refuses what does not belong there, and runs the flow of the same name.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, ParamSpec, TypeVar, cast

from perdure.api.checks import count
from perdure.api.client import Client
from perdure.api.definition import Definition
from perdure.api.functions import Registered
from perdure.api.invocation import DistributedInvocation
from perdure.api.loose import encode_message
from perdure.api.moments import aware, from_datetime, to_datetime
from perdure.api.outside import loop_is_running
from perdure.core.identity import InvocationKey, validate_identifier
from perdure.core.retry import seconds
from perdure.engine import flows
from perdure.engine.context import (
    TaskContext,
    WorkflowContext,
    current,
    current_workflow,
)
from perdure.engine.effects import Flow
from perdure.engine.letters import OWN_IDS
from perdure.engine.outcome import Outcome
from perdure.errors import (
    InvalidIdentifier,
    NotInWorkflow,
    NotPublished,
    OperationRefused,
    RegistrationError,
)
from perdure.values import fingerprint

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_NAME = re.compile(r"[A-Za-z_][\w.-]*")
RESERVED = frozenset(
    {
        "random",
        "uuid",
        "time",
        "bits",
        "key",
        "task",
        "start",
        "sleep",
        "result",
        "send",
        "cancel",
        "terminate",
        "receive",
        "compensate",
        "forget",
        "now",
        "token",
        "data",
        "publish",
        "receive_update",
        "answer",
        "emit",
        "listen",
        "receive_topic",
        "counter",
        "workflow",
        "task_invocation",
        "end",
        "draws",
        "timer",
    }
)
"""Sequences of our own; a `record` of such a name would share keys with them."""


def check_record_name(name: object) -> str:
    """A name that `record` may use.

    Raises:
        InvalidIdentifier: malformed, or one of ours.
    """
    text = validate_identifier(name, "the name given to record")
    if not _NAME.fullmatch(text) or not text.isascii():
        raise InvalidIdentifier(
            f"record name {text!r}: expected a letter or underscore, then letters, digits and _ . -"
        )
    if text in RESERVED:
        raise InvalidIdentifier(
            f"record name {text!r} is one of perdure's own sequences. Use another, such as "
            f"'my_{text}'."
        )
    return text


def check_generator(name: str, run: object) -> None:
    """What `record` can run.

    Raises:
        RegistrationError: not callable, or async.
    """
    if not callable(run):
        raise RegistrationError(
            f"record({name!r}, ...) got {run!r}, which is not callable. Pass a function that gives "
            "the value: lambda: the_value."
        )
    if inspect.iscoroutinefunction(run):
        raise RegistrationError(
            f"record({name!r}, ...) got an async function. It records what a plain function "
            "returns; do async work in a task."
        )


def context_here(operation: str) -> WorkflowContext | TaskContext:
    """The context of this code, unchecked: for draws, whose source checks it itself.

    Raises:
        NotInWorkflow: outside of workflows and tasks.
    """
    context = current()
    if context is None:
        raise NotInWorkflow(
            f"{operation} was called outside of any workflow and task. Call it from a function "
            "that is decorated with @app.workflow and was started, or from one of its tasks."
        )
    return context


def require_context(operation: str) -> WorkflowContext | TaskContext:
    """The context of an operation that both workflows and tasks may use.

    Raises:
        NotInWorkflow: outside of both.
    """
    context = context_here(operation)
    if isinstance(context, WorkflowContext):
        context.check()
    return context


def client_of(context: WorkflowContext | TaskContext) -> Client:
    """The client of the app that runs this context."""
    return cast("Client", context.owner)


def invocation() -> DistributedInvocation[Any]:
    """The handle of the workflow that runs this code; in a task, of the workflow it belongs to.

    Give it to whoever shall send messages here.

    Raises:
        OperationRefused: in a task that no workflow started.
    """
    context = require_context("wf.invocation")
    key = context.key if isinstance(context, WorkflowContext) else context.workflow
    if key is None:
        raise OperationRefused(
            "wf.invocation was called in a task that belongs to no workflow. Start the task from "
            "a workflow, or give it the handle as an argument."
        )
    return DistributedInvocation(client_of(context), key)


# --- observed values ----------------------------------------------------------------------------


def record_in(
    context: WorkflowContext, name: str, run: Callable[[], T], *, foreign: bool = True
) -> T:
    """Record under a sequence that may be one of ours; `foreign` as in `flows.record`."""
    codec = client_of(context).untyped
    where = f"value of record {name!r}"

    def encode(value: object) -> tuple[bytes, object]:
        return codec.encode_and_decode(value, where)

    def decode(body: bytes) -> object:
        return codec.decode(body, where)

    def refusing() -> object:
        context.refusing = f"wf.record({name!r}, ...)"
        try:
            return run()
        finally:
            context.refusing = ""

    flow = flows.record(context, name, refusing, encode, decode, foreign=foreign)
    return cast("T", context.perform(flow))


def record(name: str, run: Callable[[], T]) -> T:
    """Record what `run()` returns or raises, once, and give that ever after.

    For values that come from outside and are cheap: an environment variable, a file's size. Runs
    inline, without retries; operations inside of it are refused. It may run again after a crash
    that came before the next commit, and never after that.

    Raises:
        InvalidIdentifier: the name is malformed or one of ours.
        SerializationError: the value cannot be recorded (the refusal is recorded in its place).
    """
    context = current_workflow("wf.record")
    check_generator(name, run)
    return record_in(context, check_record_name(name), run)


def now() -> datetime:
    """The real time, read once and recorded: an aware UTC datetime. In a task: just the time."""
    context = require_context("wf.now")
    backend = client_of(context).runtime.backend

    def read() -> datetime:
        return to_datetime(backend.now())

    if isinstance(context, WorkflowContext):
        return record_in(context, "now", read, foreign=False)
    return read()


def token(nbytes: int = 32) -> str:
    """A secret of `nbytes` bytes from the operating system, in hexadecimal, recorded.

    Unlike the draws it cannot be computed by who knows the database's seed; it can be read there.
    In a task it is fresh on each attempt.

    Raises:
        ConfigurationError: no whole number of bytes from 1 to 65,536.
    """
    context = require_context("wf.token")
    count(nbytes, "nbytes", most=TOKEN_BYTES_MAX)
    env = client_of(context).runtime.env

    def read() -> str:
        return env.entropy(nbytes).hex()

    if isinstance(context, WorkflowContext):
        return record_in(context, "token", read, foreign=False)
    return read()


# --- waiting ------------------------------------------------------------------------------------


_Waiting = Callable[[flows.Place, int], Flow[Outcome]]


async def _nothing() -> None:
    return None


def sleep(duration: float | timedelta) -> Awaitable[None]:
    """Wait durably; the workflow holds no thread meanwhile and goes on after a restart.

    Args:
        duration: seconds or timedelta, by the state backend's clock.

    In an async workflow: `await wf.sleep(...)`. In a sync one it has slept when it returns, None.
    """
    microseconds = int(seconds(duration, "wf.sleep") * flows.MICROSECONDS)
    return _slept("wf.sleep", flows.sleep, microseconds)


def sleep_until(moment: datetime) -> Awaitable[None]:
    """Wait durably for a moment, by the state backend's clock. One that is past has come already.

    Args:
        moment: an aware datetime; any time zone will do. A replay must ask for the same moment, so
            compute it from `wf.now()`, `wf.utc_now()` or arguments.

    In an async workflow: `await wf.sleep_until(...)`. In a sync one it has come when it returns.

    Raises:
        ConfigurationError: it is no datetime, or has no time zone.
    """
    due = from_datetime(aware(moment, "wf.sleep_until"))
    return _slept("wf.sleep_until", flows.sleep_until, due)


def _slept(what: str, flow: _Waiting, microseconds: int) -> Awaitable[None]:
    context = current_workflow(what)
    if context.is_async:
        return _sleep_async(what, flow, microseconds)
    context.perform(flow(context, microseconds))
    # A branch may give it, and so a result may hold it: a plain None can be recorded.
    return _Slept() if loop_is_running() else cast("Awaitable[None]", None)


async def _sleep_async(what: str, flow: _Waiting, microseconds: int) -> None:
    """Sleep in the scope of whichever asyncio task awaits it."""
    context = current_workflow(what)
    await context.perform_async(flow(context, microseconds))


class _Slept:
    """What a sync `sleep` gives where a loop runs: nothing left to wait for, and no warning."""

    def __await__(self) -> Any:
        return _nothing().__await__()


# --- data ---------------------------------------------------------------------------------------


def set_data(name: str, value: object) -> None:
    """Publish a value under `name`: tasks of the workflow and clients can read it.

    Committed with the workflow's next commit, and before any task body starts. Only the workflow
    itself writes its data.

    Raises:
        SerializationError: the value cannot be recorded; nothing was.
    """
    context = current_workflow("wf.set_data")
    validate_identifier(name, "the name given to set_data")
    if name.startswith(OWN_IDS):
        raise InvalidIdentifier(
            f"set_data({name!r}, ...): names that begin with {OWN_IDS!r} are perdure's own. Choose "
            "another one."
        )
    body, _ = client_of(context).untyped.encode_and_decode(value, f"data {name!r}")
    context.perform(flows.set_data(context, name, body, fingerprint(body)))
    context.data[name] = body


def publish(name: str, value: object) -> None:
    """Append a value to the output stream `name` of this workflow: `invocation.stream(name)`.

    Committed once, with the workflow's next commit, and before any task body starts. It stays in
    the journal, so it may be read from the start at any time later.

    Args:
        name: of the stream; a workflow may have several.
        value: plain data, or an instance of a dataclass, msgspec Struct or pydantic model.

    Raises:
        SerializationError: the value cannot be recorded; nothing was.
    """
    context = current_workflow("wf.publish")
    validate_identifier(name, "the name given to publish")
    body = encode_message(client_of(context), value, f"value of stream {name!r}")
    context.perform(flows.publish(context, name, body, fingerprint(body)))


TOKEN_BYTES_MAX = 65_536
"""Bytes of one `token`; whoever wants more wants no secret."""
_MISSING: Any = object()


def get_data(name: str, default: T = _MISSING) -> Any | T:
    """What the workflow published under `name`.

    In the workflow: its own last `set_data`. In a task of it: as last committed.

    Raises:
        NotPublished: (a KeyError) nothing was published under it, and no default is given.
    """
    context = require_context("wf.get_data")
    client = client_of(context)
    body: bytes | None
    if isinstance(context, WorkflowContext):
        body = context.data.get(name)
    elif context.workflow is None:
        body = None
    else:
        body = client.runtime.backend.read_data(context.workflow).get(name)
    if body is not None:
        return client.untyped.decode(body, f"data {name!r}")
    if default is _MISSING:
        raise NotPublished(
            f"The workflow has published no {name!r} with wf.set_data. Give a default= for the "
            "time before it does."
        )
    return default


# --- memoised starts ----------------------------------------------------------------------------


def execute_task(
    context: WorkflowContext, task: Registered[P, R], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> DistributedInvocation[R]:
    """The one invocation of this call within the workflow, started if it is new."""
    definition = require_task(task)
    call = definition.call(args, kwargs)
    new = task.new_for_memo(call, context)
    key = cast("InvocationKey", context.perform(flows.execute_task(context, call, new)))
    return DistributedInvocation(client_of(context), key, definition)


def require_task(task: object) -> Definition:
    """The definition behind a task or workflow object.

    Raises:
        RegistrationError: it is something else.
    """
    if not isinstance(task, Registered):
        raise RegistrationError(
            f"execute_task got {task!r}, which is no task. Decorate the function with @app.task "
            "and pass the decorated object, not its name."
        )
    return cast("Registered[..., object]", task).definition
