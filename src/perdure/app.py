"""The app: puts settings, backend, engine and worker together."""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Generator, Iterable, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Literal, Self, cast

from perdure.api.checks import count, several
from perdure.api.client import Client
from perdure.api.from_outside import FromOutside
from perdure.api.functions import Registered
from perdure.api.info import InvocationInfo, Verification, info_of
from perdure.api.invocation import DistributedInvocation
from perdure.api.moving import Movable
from perdure.api.named import NamedDefinition
from perdure.api.outside import refuse_undurable
from perdure.api.queues import Queues, queue_name
from perdure.api.registry import Registry
from perdure.api.schedules import Schedules
from perdure.api.settings import Settings, load_settings
from perdure.api.state_backend import StateBackend
from perdure.backends.base import Backend, InvocationKind, InvocationQuery
from perdure.backends.health import Health
from perdure.backends.limits import QueueStatus
from perdure.backends.server import Spread
from perdure.core.identity import InvocationKey, read_key, validate_identifier
from perdure.core.lifecycle import InvocationState
from perdure.core.retry import seconds
from perdure.drivers import make_backend
from perdure.engine.bodies import BodyRunner
from perdure.engine.committer import Committer
from perdure.engine.context import current
from perdure.engine.env import Env, SystemEnv
from perdure.engine.hearing import Hearing
from perdure.engine.hub import Hub
from perdure.engine.runtime import EngineSettings, LeaseTable, Runtime
from perdure.engine.shipping import refuse_import_effects
from perdure.errors import ConfigurationError, OperationRefused, PerdureError
from perdure.transactions.decorators import Transactions
from perdure.transactions.relay import Relay
from perdure.values import TypeRegistry
from perdure.worker.local import LocalWorker
from perdure.worker.owner import owner_name
from perdure.worker.scheduling import Scheduler
from perdure.worker.standing import StandingWorker
from perdure.worker.worker import Serving

EXIT_SECONDS = 2.0
"""How long the end of the interpreter waits for attempts to let go of their leases."""
_KINDS: tuple[InvocationKind, ...] = ("workflow", "task")
CLOSE_SECONDS = 30.0
"""The same for an explicit `close()`, which may wait for a task body to return."""


class Perdure(Transactions, FromOutside, Movable):
    """An app: configuration, registered functions, and a state backend.

    It touches no file before its first use. It may be used from any thread, and after a fork from
    the child. Use it as a context manager, or `close()` it, to let go of leases and files early;
    at the end of the interpreter that happens by itself.

    Args:
        url: `sqlite:///relative/path.db`, `sqlite:////absolute/path.db`,
            `postgresql://user:password@host/database` or `memory://`; a list of URLs spreads the
            work over several servers (new ones are added at its end). Default:
            `PERDURE_DATABASE_URL`, a settings file, else `sqlite:///perdure.db`.
        name: the app's name, part of every seed. Apps of other names share a database unseen.
        synchronous: "full" (default) survives power loss; "normal" may lose the newest commits.
        local_worker: False if this process only starts and reads, and workers run elsewhere.
        concurrency: attempts at a time in this process.
        lease: seconds or timedelta that a claim holds without renewal.
        grace: seconds or timedelta that a waiting workflow keeps its frame before it is dropped.
        crash_limit: crashes without progress after which an invocation is dead.
        code_version: stored with every start.
        backend: a state backend object instead of a url.
        env: where time, chance and threads come from; for simulations.

    Raises:
        ConfigurationError: a setting cannot be used.
    """

    def __init__(  # noqa: PLR0913 - settings, all by keyword
        self,
        url: str | Sequence[str] | None = None,
        *,
        name: str | None = None,
        synchronous: Literal["full", "normal"] | None = None,
        local_worker: bool | None = None,
        concurrency: int | None = None,
        lease: float | timedelta | None = None,
        grace: float | timedelta | None = None,
        crash_limit: int | None = None,
        code_version: str | None = None,
        backend: Backend | None = None,
        env: Env | None = None,
    ) -> None:
        """Read the settings; open nothing."""
        self.settings: Settings = load_settings(
            {
                "database_url": url,
                "name": name,
                "synchronous": synchronous,
                "local_worker": local_worker,
                "concurrency": concurrency,
                "lease": _as_seconds(lease),
                "grace": _as_seconds(grace),
                "crash_limit": crash_limit,
                "code_version": code_version,
            }
        )
        self._env: Env = env or SystemEnv()
        self._backend = backend or make_backend(self.settings, self._env)
        if not hasattr(self._backend, "store_id"):
            raise ConfigurationError(
                f"backend={backend!r} is no state backend. A URL comes first, and without a name: "
                'Perdure("sqlite:///orders.db").'
            )
        self._types = TypeRegistry()
        self._types.register(InvocationState)
        self.registry = Registry()
        self.declared_queues = Queues()
        self.databases, self.relayed, self._relays = [], [], []
        self.client = Client(
            self.registry,
            self._types,
            runtime=lambda: self.runtime,
            here=self._here,
            code_version=self.settings.code_version,
            runs_here=self.settings.local_worker,
        )
        self.client.app = self
        self.schedules = Schedules(self.client)
        self.state_backend = StateBackend(self.client)
        self._types.register_extension(
            DistributedInvocation,
            "invocation",
            lambda handle: [handle.key.invocation_id, handle.key.generation],
            self._handle_of,
        )
        self._lock = threading.RLock()
        self._runtime: Runtime | None = None
        self._local: LocalWorker | None = None
        self._standing: list[StandingWorker] = []
        self._schedulers: list[Scheduler] = []
        self._pid = os.getpid()
        atexit.register(_close_at_exit, weakref.ref(self))

    def _handle_of(self, plain: Sequence[Any]) -> DistributedInvocation[Any]:
        """A handle from its recorded form, which may be damaged."""
        return DistributedInvocation(self.client, read_key(plain))

    # --- invocations ----------------------------------------------------------------------------

    def start(self, name: str, /, *args: Any, **kwargs: Any) -> DistributedInvocation[Any]:
        """Start a workflow by its registered name; its code need not be in this process."""
        return self.named(name).start(*args, **kwargs)

    def named(self, name: str, kind: InvocationKind = "workflow") -> Registered[..., Any]:
        """A function by its registered name, for `options(...)`, `start(...)` and `get(...)`.

        Args:
            kind: what it is, where its code is not registered in this process.
        """
        validate_identifier(name, "name")
        if kind not in _KINDS:
            raise ConfigurationError(f"kind={kind!r}: expected one of {', '.join(_KINDS)}.")
        definition = self.registry.get(name)
        if definition is not None and isinstance(definition.public, Registered):
            return cast("Registered[..., Any]", definition.public)
        return Registered(NamedDefinition(name, kind, self._types), self.client)

    def invocation(self, invocation_id: str) -> DistributedInvocation[Any]:
        """The handle of the latest generation of an id.

        Raises:
            InvocationNotFound: there is none.
        """
        validate_identifier(invocation_id, "id")
        refuse_undurable("app.invocation(...)")
        return self.state_backend.get_invocation(invocation_id)

    def workflows(
        self,
        *,
        name: str | None = None,
        status: str | InvocationState | Iterable[str] | None = None,
        id_prefix: str | None = None,
        limit: int = 100,
        after: InvocationInfo | None = None,
    ) -> list[InvocationInfo]:
        """One page of workflows, newest first.

        Args:
            name: only of this registered name.
            status: only in this state, or one of these.
            id_prefix: only ids that start so.
            limit: at most so many, 1 to 10,000.
            after: the last item of the page before.
        """
        return self._list("workflow", name, status, id_prefix, limit, after)

    def tasks(
        self,
        *,
        name: str | None = None,
        status: str | InvocationState | Iterable[str] | None = None,
        id_prefix: str | None = None,
        limit: int = 100,
        after: InvocationInfo | None = None,
    ) -> list[InvocationInfo]:
        """One page of started tasks, newest first; arguments as for `workflows`."""
        return self._list("task", name, status, id_prefix, limit, after)

    def _list(
        self,
        kind: InvocationKind,
        name: str | None,
        status: str | InvocationState | Iterable[str] | None,
        id_prefix: str | None,
        limit: int,
        after: InvocationInfo | None,
    ) -> list[InvocationInfo]:
        refuse_undurable(f"app.{kind}s(...)")
        count(limit, "limit", most=10_000)
        if after is not None and not isinstance(after, InvocationInfo):  # pyright: ignore[reportUnnecessaryIsInstance] - not every caller has a type checker
            raise ConfigurationError(f"after={after!r}: expected the last item of the page before.")
        if name is not None:
            validate_identifier(name, "name")
        if id_prefix:
            validate_identifier(id_prefix, "id_prefix")
        wanted = (
            [status]
            if isinstance(status, str)
            else several(() if status is None else status, "status", '["parked", "dead"]')
        )
        try:
            states = tuple(InvocationState(item) for item in wanted)
        except ValueError as error:
            known = ", ".join(InvocationState)
            raise ConfigurationError(f"status: {error}. Known: {known}.") from error
        query = InvocationQuery(
            app=self.settings.name,
            kind=kind,
            name=name,
            states=states,
            id_prefix=id_prefix,
            limit=limit,
            after=None if after is None else after.key,
        )
        return [info_of(record) for record in self.runtime.backend.query(query)]

    def queues(self) -> list[QueueStatus]:
        """Every queue with something to do: what is ready, scheduled and running, by name."""
        refuse_undurable("app.queues()")
        return self.runtime.backend.queues(self.settings.name)

    def verify(self, invocation_id: str) -> Verification:
        """Run a workflow's code on its recorded journal, calling and recording nothing.

        Raises:
            Divergence: the code asks for something else than the journal holds.
            JournalCorrupted: the journal is damaged.
            UnknownName: its code is not registered here.
        """
        from perdure.worker.verify import verify  # noqa: PLC0415 - it brings asyncio, 50 ms

        record = self.client.latest(invocation_id)
        return verify(self.runtime, record, self.registry.require(record.name))

    def health(self) -> Health:
        """Settings, counts and problems of the state backend. Reads only; may take long."""
        return self.runtime.backend.health()

    # --- resources ------------------------------------------------------------------------------

    @property
    def runtime(self) -> Runtime:
        """The engine of this process, opened at the first use (and anew after a fork)."""
        if self._runtime is None or self._pid != os.getpid():
            with self._lock if self._pid == os.getpid() else contextlib.nullcontext():
                if self._runtime is None or self._pid != os.getpid():
                    self._open()
        runtime = self._runtime
        if runtime is None:
            raise AssertionError("opened above")
        return runtime

    def _open(self) -> None:
        refuse_import_effects()
        settings, env, backend = self.settings, self._env, self._backend
        hub, store_id = Hub(), backend.store_id()
        spread = backend if isinstance(backend, Spread) else None
        runtime = Runtime(
            app_name=settings.name,
            env=env,
            backend=backend,
            types=self._types,
            settings=EngineSettings(settings.lease, settings.grace, settings.crash_limit),
            hub=hub,
            committer=Committer(env, backend, hub, spread),
            bodies=BodyRunner(env, self._types, settings.concurrency, store_id),
            leases=LeaseTable(env, settings.lease),
            store_id=store_id,
            spread=spread,
            claimer=self._claimer(),
            owner=self.client,
            failed=self.client.waiting.fail,
            hearing=Hearing(backend, hub),
        )
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._standing, self._schedulers, self._relays = [], [], []
        self._local = LocalWorker(
            runtime,
            self.registry,
            settings.concurrency,
            self.client.waiting.fail,
            limits=self.declared_queues.limits_of_a_script,
        )
        self._runtime = runtime

    def _claimer(self) -> str:
        """The name under which this process claims."""
        return owner_name(self._env.entropy(4).hex())

    def start_worker(
        self,
        *,
        queues: Iterable[str] | None = None,
        concurrency: int | None = None,
        on_stop: Callable[[PerdureError], None] | None = None,
    ) -> None:
        """Run whatever the queues hold, on threads of this process, until `close()`.

        This is what `perdure worker` does; call it to have a worker inside a process of your own.

        It also starts the runs of the app's schedules when they are due.

        Args:
            queues: only these; default: every queue.
            concurrency: attempts at a time; default: the app's setting.
            on_stop: told, on a thread of the worker, if it stops by itself: a newer program has
                migrated the database, and this one is too old to write to it (`SchemaMismatch`).
                Call `close()` from another thread then; what it ran is taken over by others.
        """
        served = (
            None
            if queues is None
            else frozenset(map(queue_name, several(queues, "queues", '["gpu"]')))
        )
        if concurrency is not None:
            count(concurrency, "concurrency")
        worker = StandingWorker(
            self.runtime,
            self.registry,
            serves=Serving(self.declared_queues.limits, served),
            concurrency=concurrency or self.settings.concurrency,
            ended=on_stop,
        )
        self._standing.append(worker)
        worker.start()
        if self.schedules:
            self.start_scheduler()
        if self.relayed:
            self.start_relay()

    def start_scheduler(self) -> None:
        """Start the runs of the app's schedules when they are due, on a thread, until `close()`.

        A worker does so, too, if there are schedules when it starts. Any number of processes may.
        Runs are claimed by whoever claims such work; a process without a worker runs none.
        """
        scheduler = Scheduler(self.runtime, self.schedules)
        self._schedulers.append(scheduler)
        scheduler.start()

    @contextlib.contextmanager
    def _here(self, root: InvocationKey, *, begins: bool = False) -> Generator[None]:
        local = self._local
        if not self.settings.local_worker or local is None:
            yield
            return
        local.hold(root, begins=begins)
        try:
            yield
        finally:
            local.drop(root)

    def close(self, timeout: float = CLOSE_SECONDS) -> bool:
        """Let attempts go to their next wait, release leases, close the state backend.

        Args:
            timeout: seconds to wait for task bodies that run. One that is still running then goes
                on unseen; its lease is taken over as soon as this process is gone.

        Returns:
            Whether everything had let go in time.

        Calling it twice is harmless; using the app afterwards opens it again.
        """
        seconds(timeout, "timeout")
        runtime, local = self._runtime, self._local
        if runtime is None or local is None or self._pid != os.getpid():
            return True
        if current() is not None:
            raise OperationRefused(
                "app.close() was called inside a workflow or task, which it would wait for. Close "
                "the app where it was made."
            )
        runtime.stopping.set()
        runtime.hearing.close()
        runtime.hub.everyone()  # attempts that keep the frames of waiting workflows let go
        deadline = runtime.env.monotonic() + timeout
        at_rest = False
        try:
            workers: list[LocalWorker | StandingWorker | Scheduler | Relay]
            workers = [local, *self._standing, *self._schedulers, *self._relays]
            stopped = [each.stop(max(0.0, deadline - runtime.env.monotonic())) for each in workers]
            at_rest = all(stopped)
            if at_rest:
                runtime.bodies.close()
                runtime.backend.close()
            self.client.waiting.fail(
                OperationRefused("The app was closed while this waited for a result.")
            )
        finally:
            for database in self.databases:
                database.close()
            self._runtime = self._local = None
            self._standing, self._schedulers, self._relays = [], [], []
        return at_rest

    def __enter__(self) -> Self:
        """The app itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def __repr__(self) -> str:
        """Name and number of functions; no URL, it may hold a password one day."""
        return f"<Perdure {self.settings.name!r} with {len(self.registry)} functions>"


def _as_seconds(given: float | timedelta | None) -> float | None:
    """As settings have durations; what is no duration is refused there."""
    return given.total_seconds() if isinstance(given, timedelta) else given


def _close_at_exit(reference: weakref.ref[Perdure]) -> None:
    app = reference()
    if app is not None:
        app.close(EXIT_SECONDS)
