"""Starting invocations, reading them and waiting for their end, from outside of workflows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from perdure.api.definition import Definition
from perdure.api.late import result_timeout
from perdure.api.registry import Registry
from perdure.api.waiting import Here, Waiting, Wanted
from perdure.backends.base import InvocationRecord, NewInvocation, OnExisting, Started
from perdure.backends.rules import top_of
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import TERMINAL, InvocationState
from perdure.engine import letters
from perdure.engine.committer import until_known
from perdure.engine.conflicts import conflict
from perdure.engine.context import TaskContext, WorkflowContext
from perdure.engine.early import early_end
from perdure.engine.outcome import recorded_outcome
from perdure.engine.runtime import Runtime
from perdure.errors import (
    CommitUnknown,
    InvocationNotFound,
    OperationRefused,
    ResultTimeout,
    StartConflict,
    Superseded,
    TaskError,
)
from perdure.values import (
    Codec,
    TypeRegistry,
    codec_for,
    decode_exception,
    recorded_traceback,
)

T = TypeVar("T")


def _ended(record: InvocationRecord) -> InvocationRecord | None:
    return record if record.state in TERMINAL else None


class Client:
    """What tasks, workflows and handles use of their app. Thread-safe.

    Args:
        runtime: gives the runtime of this process (another one after a fork).
        here: has this process run a tree while somebody waits for something in it.
        runs_here: whether it is to.

    Attributes:
        waiting: how it waits.
        app: what it belongs to, for tools that stand above the app; carried, never looked at.
    """

    def __init__(
        self,
        registry: Registry,
        types: TypeRegistry,
        runtime: Callable[[], Runtime],
        here: Here,
        code_version: str = "",
        *,
        runs_here: bool = True,
    ) -> None:
        """Bind to an app."""
        self.runs_here = runs_here
        self.registry = registry
        self.types = types
        self._runtime = runtime
        self.here = here
        self.untyped: Codec = codec_for(Any, types)
        self.code_version = code_version
        self._codecs: dict[object, Codec] = {}
        self.waiting = Waiting(lambda: self.runtime, registry, self.read, here)
        self._required_store: bytes | None = None
        self.app: object = None

    def require_store(self, store_id: bytes) -> None:
        """Bodies that came from another process run here: refuse every other state backend."""
        self._required_store = store_id

    @property
    def runtime(self) -> Runtime:
        """The runtime of this process.

        Raises:
            OperationRefused: a body that came from another process asks, and that one has another
                state backend.
        """
        runtime = self._runtime()
        if self._required_store is not None and runtime.store_id != self._required_store:
            raise OperationRefused(
                "This task runs in a process of its executor, where its app has another state "
                "backend than in the process that sent it, so what it starts or reads would not "
                "be there. Give the app a URL that means the same in both (not memory://, no "
                "backend=), or do this in the workflow. Draws and idempotency keys work anywhere."
            )
        return runtime

    @property
    def template(self) -> NewInvocation:
        """What every invocation started from outside has in common."""
        return NewInvocation(
            invocation_id="",
            app=self.runtime.app_name,
            kind="task",
            name="",
            arguments=b"",
            fingerprint=b"",
            call_id="",
            code_version=self.code_version,
        )

    def fresh_id(self) -> str:
        """A new id, fit for sorting by time of creation."""
        runtime = self.runtime
        made = runtime.env.new_id()
        return made if runtime.spread is None else runtime.spread.fresh_id(made)

    def definition_of(self, record: InvocationRecord) -> Definition | None:
        """The code of a record, if it is registered here."""
        return self.registry.get(record.name)

    def codec(self, annotation: Any) -> Codec:
        """The codec of an annotation, made once for each.

        Raises:
            RegistrationError: another class has the name of one in it.
        """
        if annotation is Any:
            return self.untyped
        codec = self._codecs.get(annotation)
        if codec is None:
            codec = self._codecs[annotation] = codec_for(annotation, self.types)
        return codec

    def refuse_in_pure(self, context: WorkflowContext | TaskContext | None, what: str) -> None:
        """Refuse what would leave the body of a pure task, or of a transaction.

        Raises:
            OperationRefused: it may follow from values that no journal will ever hold, or from a
                transaction that may yet be rolled back.
        """
        if not isinstance(context, TaskContext):
            return
        task = self.registry.get(context.template.name)
        if task is not None and task.around is not None:
            raise OperationRefused(
                f"{what} was asked for inside the transaction {task.name!r}. It would stay if the "
                "transaction were rolled back. Do it in the workflow, with what the transaction "
                "gives; or let it go with the commit: app.outbox(tx)."
            )
        if task is not None and task.pure:
            raise OperationRefused(
                f"{what} was asked for inside the task {task.name!r}, which is pure=True. After a "
                "crash such a body may run again with other arguments, and what left it would "
                "stay. Do it in the workflow, or leave pure= out."
            )

    # --- starting -------------------------------------------------------------------------------

    def start(self, new: NewInvocation, on_existing: OnExisting) -> InvocationKey:
        """As `begin`; the key of what was started or found."""
        return self.begin(new, on_existing).record.key

    def begin(self, new: NewInvocation, on_existing: OnExisting) -> Started:
        """Start, or find what has this id with the same input.

        Raises:
            StartConflict: the id belongs to something else, or exists and `on_existing="raise"`.
            CommitUnknown: it may be started; starting it again with the same id is safe.
        """
        older = None
        if on_existing == "new_generation_if_failed":
            # The backend would start it again, whatever the input; that is for us to refuse.
            older = self.runtime.backend.read(new.invocation_id)
            if older is not None:
                self._refuse_other(older, new)
        started = self._started_here(new, on_existing)
        if started is None:
            started = self._started_for_any(new, on_existing, older)
        record = started.record
        if started.created:
            return started
        self._refuse_other(record, new)
        if on_existing == "raise":
            raise StartConflict(
                f"Invocation {record.key.invocation_id!r} exists already ({record.state}). Use "
                'another id, or on_existing="return" to get it.'
            )
        self._send_along(record, new)
        return started

    def _send_along(self, record: InvocationRecord, new: NewInvocation) -> None:
        """What would have come with a start that found its id, under the same ids.

        Raises:
            InvocationEnded: nobody would read it.
        """
        for letter in new.letters:
            sent = letters.send(self.runtime, record.key, letter)
            if (error := letters.refusal(record.key, record, letter, sent)) is not None:
                raise error

    def _started_here(self, new: NewInvocation, on_existing: OnExisting) -> Started | None:
        """Start it in a worker of this process; None if none may take it at this moment."""
        for starter in self.runtime.starters:
            started = starter.start(new, on_existing)
            if started is not None:
                return started
        return None

    def _started_for_any(
        self, new: NewInvocation, on_existing: OnExisting, older: InvocationRecord | None
    ) -> Started:
        """Start it for whoever claims it."""
        backend = self.runtime.backend

        def again() -> Started:
            found = backend.read(new.invocation_id, locked=True)
            if found is None or (older is not None and found.key == older.key):
                return backend.start(new, on_existing)
            return Started(found, created=False)  # maybe by us; in any case nothing comes after it

        try:
            started = backend.start(new, on_existing)
        except CommitUnknown:
            if on_existing == "raise":  # made by us or by others: nobody knows
                raise
            started = until_known(again)
        if started.created:
            self.runtime.hub.touched((started.record.key,))
        return started

    def _refuse_other(self, record: InvocationRecord, new: NewInvocation) -> None:
        """Raise `StartConflict` unless `record` is what `new` asks for."""
        definition = self.registry.get(new.name)
        same = record.fingerprint == new.fingerprint or (
            definition is not None and definition.same_arguments(record.arguments, new.arguments)
        )
        if record.app != new.app:
            raise conflict(record, new)
        if self._canonical(record.name) != self._canonical(new.name) or not same:
            raise conflict(record, new)

    def _canonical(self, name: str) -> str:
        definition = self.registry.get(name)
        return name if definition is None else definition.name

    # --- reading --------------------------------------------------------------------------------

    def find(self, invocation_id: str) -> InvocationRecord | None:
        """The latest generation of an id of this app, or None. Those of other apps are unseen."""
        record = self.runtime.backend.read(invocation_id)
        return record if record is not None and record.app == self.runtime.app_name else None

    def find_key(self, key: InvocationKey) -> InvocationRecord | None:
        """This very generation of an id of this app, or None."""
        record = self.runtime.backend.read(*key)
        return record if record is not None and record.app == self.runtime.app_name else None

    def read(self, key: InvocationKey) -> InvocationRecord:
        """The record of this generation.

        Raises:
            InvocationNotFound: there is none.
            Superseded: the id lives in a later generation by now.
        """
        record = self.find(key.invocation_id)
        if record is None or record.key.generation < key.generation:
            raise InvocationNotFound(
                f"There is no invocation {key.invocation_id!r} (generation {key.generation}) in "
                "this state backend. Is it the right database?"
            )
        if record.key != key:
            raise Superseded(
                f"Invocation {key.invocation_id!r} was started again: this handle is bound to "
                f"generation {key.generation}, the latest is {record.key.generation}. Get a new "
                "handle by its id."
            )
        return record

    def latest(self, invocation_id: str) -> InvocationRecord:
        """The latest generation of an id.

        Raises:
            InvocationNotFound: there is none.
        """
        record = self.find(invocation_id)
        if record is None:
            raise InvocationNotFound(
                f"There is no invocation {invocation_id!r} in this state backend. Is it the right "
                "database, and was it started?"
            )
        return record

    def latest_of(self, definition: Definition, invocation_id: str) -> InvocationKey:
        """The latest generation of an id, if it is one of this function.

        Raises:
            InvocationNotFound: there is none, or it is of another function.
        """
        record = self.latest(invocation_id)
        if record.name not in definition.names:
            raise InvocationNotFound(
                f"Invocation {invocation_id!r} is the {record.kind} {record.name!r}, and not "
                f"{definition.name!r}. Use the id of the one you mean; for whatever has this id: "
                f"app.invocation({invocation_id!r})."
            )
        return record.key

    def outcome(self, record: InvocationRecord) -> object:
        """The result of an ended record, or raise what it recorded.

        Raises:
            InvocationCancelled: it ended without a result.
        """
        body = recorded_outcome(record) or b"null"
        if record.state is InvocationState.COMPLETED:
            definition = self.definition_of(record)
            if definition is not None:
                return definition.decode_result(body)
            return self.untyped.decode(body, f"result of {record.name!r}")
        if record.state is InvocationState.FAILED:
            raise for_caller(decode_exception(body, self.types))
        raise early_end(self.runtime, record)

    # --- waiting --------------------------------------------------------------------------------

    def wait(self, key: InvocationKey, timeout: float | None) -> object:
        """Block until the invocation ends; its result, or what it raised.

        Raises:
            ResultTimeout: it goes on after `timeout` seconds.
            InvocationParked, InvocationDead: it will not end by itself.
        """
        return self.outcome(self.waiting.until(Wanted(key, _ended, timeout, self._timed_out)))

    async def wait_async(self, key: InvocationKey, limit: float | None) -> object:
        """As `wait`, without blocking the running loop between looks."""
        return self.outcome(
            await self.waiting.until_async(Wanted(key, _ended, limit, self._timed_out))
        )

    def run(self, new: NewInvocation, on_existing: OnExisting) -> object:
        """`start` and `wait`. As somebody waits already, a start may claim for this process."""
        with self.here(top_of(new), begins=True):
            return self.outcome(self.waiting.until(self._end_of(self.begin(new, on_existing), new)))

    async def run_async(self, new: NewInvocation, on_existing: OnExisting) -> object:
        """As `run`, without blocking the running loop between looks."""
        with self.here(top_of(new), begins=True):
            wanted = self._end_of(self.begin(new, on_existing), new)
            return self.outcome(await self.waiting.until_async(wanted))

    def _end_of(self, started: Started, new: NewInvocation) -> Wanted[InvocationRecord]:
        record = started.record
        is_run = started.created and record.root == top_of(new)
        return Wanted(record.key, _ended, None, self._timed_out, is_run=is_run)

    def _timed_out(self, key: InvocationKey, timeout: float | None) -> ResultTimeout:
        record = self.read(key)
        is_registered = record.name in self.registry
        return result_timeout(key, record, timeout, is_registered=is_registered)


def for_caller(error: BaseException) -> BaseException:
    """What a client raises: a SystemExit of a remote task must not end the process that asks."""
    if isinstance(error, (SystemExit, KeyboardInterrupt, GeneratorExit)):
        return TaskError(type(error).__name__, str(error), recorded_traceback(error))
    return error
