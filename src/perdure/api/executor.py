"""The deterministic executor: hands workflow code its deterministic values, and counts them.

One class for all: inside a running workflow it draws from the scope, inside a task from the task's
own scope, standing alone from the keyed register, and on the identity of a recorded workflow from
that workflow's journal, read only.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any, ParamSpec, Protocol, TypeVar, cast

from perdure.api import operations
from perdure.api.client import Client
from perdure.api.functions import Registered
from perdure.api.invocation import DistributedInvocation
from perdure.api.moments import to_datetime
from perdure.api.recorded import RecordedSource
from perdure.api.register import RegisterSource
from perdure.api.state_backend import StateBackend
from perdure.core.identity import WorkflowIdentity
from perdure.core.scope import DRAW_KINDS, Scope
from perdure.engine.context import TaskContext, WorkflowContext
from perdure.errors import ConfigurationError, OperationRefused

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class App(Protocol):
    """What an executor needs of a `Perdure` app."""

    @property
    def client(self) -> Client: ...
    @property
    def state_backend(self) -> StateBackend: ...


class Source(Protocol):
    """Where an executor's values come from."""

    def random(self) -> float: ...
    def uuid(self) -> str: ...
    def utc_now(self) -> datetime: ...
    def bits(self, width: int) -> int: ...
    def idempotency_key(self) -> str: ...
    def base_time(self) -> datetime: ...
    def count(self, operation: str) -> int: ...
    def record(self, operation: str, generator: Callable[[], Any]) -> Any: ...
    def execute(
        self, task: Registered[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> DistributedInvocation[Any]: ...


class DeterministicExecutor:
    """Deterministic values of one workflow identity.

    Standing alone each value is one put-if-absent transaction in the state backend, durable before
    it is returned: a second executor of the same identity, in any process, gets the same values and
    then new ones past the end. Two that race on one key agree on one value; the loser's generator
    may have run. One executor may be used by several threads; each sequence number is handed out
    once. Every operation kind has a sequence of its own, starting at 1.

    Args:
        workflow_identity: whose values these are.
        app: a `Perdure` app; its state backend keeps the values.
    """

    def __init__(self, workflow_identity: WorkflowIdentity, app: App) -> None:
        """Bind to an identity; nothing is read or stored yet."""
        if not isinstance(cast("object", workflow_identity), WorkflowIdentity):
            raise ConfigurationError(
                f"DeterministicExecutor(...) got {workflow_identity!r} as identity. Pass a "
                "WorkflowIdentity(workflow_id, workflow_type)."
            )
        self.workflow_identity = workflow_identity
        self._app: App | None = app
        self._source: Source | None = None
        self._lock = threading.Lock()

    @classmethod
    def of_context(cls, context: WorkflowContext | TaskContext) -> DeterministicExecutor:
        """The executor of a running workflow or task; one per scope."""
        if context.executor is None:
            made = cls.__new__(cls)
            made._app = None  # noqa: SLF001 - our own class
            if isinstance(context, WorkflowContext):
                made.workflow_identity = context.identity
                made._source = _WorkflowSource(context)  # noqa: SLF001
            else:
                key = context.workflow or context.invocation
                made.workflow_identity = WorkflowIdentity(key.invocation_id, context.template.name)
                made._source = _TaskSource(context)  # noqa: SLF001
            context.executor = made
        return cast("DeterministicExecutor", context.executor)

    @property
    def _values(self) -> Source:
        if self._source is None:
            if self._app is None:
                raise OperationRefused("This executor belongs to a workflow that has ended.")
            with self._lock:  # two sources would each count from 1
                if self._source is None:
                    self._source = self._find_source(self._app)
        return self._source

    def _find_source(self, app: App) -> Source:
        state = app.state_backend
        record = state.workflow_record(self.workflow_identity)
        if record is None:
            return RegisterSource(self.workflow_identity, app.client, state)
        return RecordedSource(record, app.client, state)

    def random(self) -> float:
        """The next float in [0, 1), 53 random bits. Key `random:n`."""
        return self._values.random()

    def uuid(self) -> str:
        """The next UUID in version-4 layout (RFC 9562), as text. Key `uuid:n`. Not a secret."""
        return self._values.uuid()

    def utc_now(self) -> datetime:
        """The next reading of the workflow clock, an aware UTC datetime. Key `time:n`.

        One second later than the reading before (the first: than the base time), and never before
        a durable event of the workflow. For the real time use `wf.now()`.
        """
        return self._values.utc_now()

    def bits(self, width: int) -> int:
        """The next `width` random bits as an integer. Key `bits:n`."""
        return self._values.bits(width)

    def idempotency_key(self) -> str:
        """A key for one intended outside effect; inside a task the same on every attempt."""
        return self._values.idempotency_key()

    def get_base_time(self) -> datetime:
        """When the workflow began: fixed at the first use and stored (`workflow:base_time`)."""
        return self._values.base_time()

    def get_operation_count(self, operation: str) -> int:
        """How many times this executor was asked for `operation` ("random", "time", "uuid", ...).

        0 for a fresh executor, also when the state backend has values: it counts what was handed
        out here, not what is stored.
        """
        return self._values.count(operation)

    def record(self, operation: str, generator: Callable[[], T]) -> T:
        """The n-th value of `operation`: the stored one, or what `generator()` gives, stored.

        Also when that value is None, 0, "", [] or False: presence is a row, never a value.

        Raises:
            InvalidIdentifier: the name is malformed or one of perdure's own.
            SerializationError: the value cannot be recorded; nothing was.
        """
        operations.check_record_name(operation)
        operations.check_generator(operation, generator)
        return cast("T", self._values.record(operation, generator))

    def execute_task(
        self, task: Registered[P, R], *args: P.args, **kwargs: P.kwargs
    ) -> DistributedInvocation[R]:
        """The one invocation of this call within the workflow: started if new, else found again.

        Positional and keyword spellings and filled-in defaults are the same call. Only the id of
        the invocation is stored (`task_invocation:<call_id>`), in one transaction with its row.

        Raises:
            RegistrationError: `task` is not a task or workflow.
            SerializationError: an argument cannot be recorded; nothing was started.
        """
        operations.require_task(task)
        return cast("DistributedInvocation[R]", self._values.execute(task, args, kwargs))


class _ScopeSource:
    """Draws of a scope, as values."""

    def __init__(self, scope: Scope, base: int) -> None:
        self._scope = scope
        self._base = base

    def count(self, operation: str) -> int:
        return self._scope.sequence(operation).count if operation in DRAW_KINDS else 0

    def base_time(self) -> datetime:
        return to_datetime(self._base)


class _WorkflowSource(_ScopeSource):
    """Inside a running workflow: draws are buffered and ride with the next commit."""

    def __init__(self, context: WorkflowContext) -> None:
        super().__init__(context.scope, context.base_time)
        self._context = context

    def _ready(self) -> Scope:
        context = self._context
        context.check()
        if context.journal.full:
            context.flush_draws()
        return self._scope

    def random(self) -> float:
        return self._ready().random()

    def uuid(self) -> str:
        return self._ready().uuid()

    def utc_now(self) -> datetime:
        return to_datetime(self._ready().utc_now())

    def bits(self, width: int) -> int:
        return self._ready().bits(width)

    def idempotency_key(self) -> str:
        return self._ready().idempotency_key()

    def count(self, operation: str) -> int:
        if operation in DRAW_KINDS:
            return super().count(operation)
        return self._context.journal.ordinal(self._scope, operation)

    def record(self, operation: str, generator: Callable[[], Any]) -> Any:
        self._context.check()
        return operations.record_in(self._context, operation, generator)

    def execute(
        self, task: Registered[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> DistributedInvocation[Any]:
        self._context.check()
        return operations.execute_task(self._context, task, args, kwargs)


class _TaskSource(_ScopeSource):
    """Inside a task: the same draws on every attempt, nothing recorded."""

    def __init__(self, context: TaskContext) -> None:
        super().__init__(context.scope, context.scope.clock)
        self._context = context

    def random(self) -> float:
        return self._scope.random()

    def uuid(self) -> str:
        return self._scope.uuid()

    def utc_now(self) -> datetime:
        return to_datetime(self._scope.utc_now())

    def bits(self, width: int) -> int:
        return self._scope.bits(width)

    def idempotency_key(self) -> str:
        return self._context.idempotency_key()

    def record(self, operation: str, generator: Callable[[], Any]) -> Any:
        raise OperationRefused(
            f"record({operation!r}, {generator!r}) was called inside a task. A task is recorded "
            "as a whole: return the value, or record it in the workflow."
        )

    def execute(
        self, task: Registered[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> DistributedInvocation[Any]:
        raise OperationRefused(
            f"execute_task({task!r}, ...) with {len(args) + len(kwargs)} arguments was called "
            "inside a task. Use task.start(...): its id is derived from this task, so a retry "
            "finds it again."
        )
