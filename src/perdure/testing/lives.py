"""One run of a user's workflow: a store, and the processes that come and go on it.

The app of the test itself is moved from process to process, so that its tasks, handles and helpers
mean the store of the run.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from perdure.api.functions import Registered
from perdure.api.info import Verification
from perdure.api.invocation import DistributedInvocation
from perdure.app import Perdure
from perdure.backends.base import Backend
from perdure.core.lifecycle import TERMINAL, InvocationState
from perdure.errors import InvocationDead, InvocationParked, PerdureError, ResultTimeout
from perdure.testing.endings import Ended
from perdure.testing.faults import Call, Fault, Mode, MortalSignal, SimulatedCrash
from perdure.testing.stores import MakeStore, open_store
from perdure.testing.survivors import NOTHING, ROWS_MAX, Survivors
from perdure.testing.virtual import TimedBackend, VirtualClock
from perdure.testing.watching import Process, Watch

WORKFLOW_ID = "crash-everywhere"
RESULT_SECONDS = 30.0
"""Real seconds after which a workflow under test hangs; its timers take none."""
ALONE_SECONDS = 5.0
"""The same for the first run, where attempts that wait for each other may hang by our doing."""
STUCK_SECONDS = 2.0
"""How long nothing runs or is due before a workflow counts as stuck; a relay looks each half."""
LOOK_SECONDS = 0.2
"""How often it is looked whether something of the workflow has stopped."""
CLOSE_SECONDS = 5.0
"""How long a process may take to end well."""
REST_SECONDS = 2.0
"""How long the threads of a dead process are waited for."""
_STOPPED = (InvocationState.PARKED, InvocationState.DEAD)

_DRIVER_LATE = (
    f"the function given as drive= has not come to an end {RESULT_SECONDS:g} seconds after the "
    "workflow did"
)
_DRIVER_AGAIN = (
    "Raised by the function given as drive=. It is called in each process anew, as a client comes "
    'again after a crash: give what it sends an id, such as send(..., id="only").'
)

Drive = Callable[[DistributedInvocation[Any]], object]
"""Sends messages and the like to the workflow while it runs. Called once in each process."""
Begin = Callable[[], object]
"""Puts the world outside as it was, before each run."""


class Plan(NamedTuple):
    """What is run.

    Attributes:
        concurrency: one attempt at a time, so that durable calls come in the same order in every
            run; None for as many as the app has.
        first: whether it is not known yet that it can run so.
        prepare: called in each process before it starts the workflow.
        begin: called before each run.
    """

    app: Perdure
    workflow: Registered[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    drive: Drive | None
    make_store: MakeStore
    concurrency: int | None = 1
    first: bool = False
    prepare: Callable[[Perdure, World], None] | None = None
    begin: Begin | None = None


@dataclass(frozen=True, slots=True)
class Stopped:
    """The workflow, or one below it, will not come to an end.

    Attributes:
        reason: what was raised, or is on record.
        is_late: nothing is known but that it took too long.
        is_stuck: nothing runs, and nothing will ever be due.
    """

    reason: str
    is_late: bool = False
    is_stuck: bool = False

    @property
    def is_hopeless(self) -> bool:
        """Whether another run would only take as long again."""
        return self.is_late or self.is_stuck


@dataclass(slots=True)
class Life:
    """One run, whose store is still open.

    Attributes:
        moments: what there was before each process.
        calls: the durable calls of the last process.
        struck: what was struck how.
        drops: how often frames were dropped at waits.
    """

    plan: Plan
    watch: Watch
    clock: VirtualClock
    store: Backend
    end: Ended | Stopped = Stopped("it was not run")
    moments: list[Survivors] = field(default_factory=list[Survivors])
    calls: list[Call] = field(default_factory=list[Call])
    struck: list[tuple[Call, Mode]] = field(default_factory=list[tuple[Call, Mode]])
    drops: int = 0
    gone: frozenset[str] = frozenset()

    def survivors(self) -> Survivors:
        """What there is now."""
        return Survivors.of(self.store, self.plan.app.settings.name)

    def run(self, faults: Iterable[Fault]) -> None:
        """Each process meets one of the faults, and the last goes on undisturbed to the end."""
        for fault in [*faults, None]:
            self.moments.append(self.survivors() if self.moments else NOTHING)
            end = self.step(fault)
            if end is not None:
                self.end = end
                return
        raise AssertionError("the last process has no fault, so it does not die")

    def step(self, fault: Fault | None = None) -> Ended | Stopped | None:
        """One more process: it starts the workflow, or finds it; None if it died."""
        world = World(len(self.moments) - 1)
        backend = TimedBackend(self.store, world, self.clock, fault, self.gone)
        concurrency = self.plan.concurrency
        with process(self.plan.app, world, backend, self.watch, concurrency):
            end = _run(self.plan, world, backend)
        self.gone |= backend.claimed_as
        self.drops += backend.drops
        self.calls = list(backend.calls)
        if fault is not None and backend.struck is not None:
            self.struck.append((backend.struck, fault.mode))
        return end

    def verify(self) -> Iterator[Verification | PerdureError]:
        """Replay each workflow's journal without calling anything; gives what came of it."""
        world = Process(-1)
        backend = TimedBackend(self.store, world, self.clock)
        app = self.plan.app
        with process(app, world, backend, self.watch):
            for each in app.workflows(limit=ROWS_MAX):
                try:
                    yield app.verify(each.invocation_id)
                except PerdureError as error:
                    yield error


def settled(plan: Plan) -> Plan:
    """The plan with one attempt at a time, unless it has tasks that wait for others."""
    with living(plan._replace(first=True), Watch()) as life:
        life.run(())
        hangs = isinstance(life.end, Stopped) and life.end.is_late
    return plan._replace(concurrency=None if hangs else 1)


@contextlib.contextmanager
def living(plan: Plan, watch: Watch) -> Generator[Life]:
    """An empty store to run on, closed at the end of the block."""
    if plan.begin is not None:
        plan.begin()
    clock = VirtualClock()
    store = open_store(plan.make_store, clock, plan.app.settings.name)
    watch.begin()
    try:
        yield Life(plan, watch, clock, store)
    finally:
        store.close()


class _DriverSignal(MortalSignal):
    """Tells whether the driver waits for the workflow, so that time may pass."""

    def __init__(self, env: World) -> None:
        super().__init__(env)
        self._world = env

    def wait(self, timeout: float | None = None) -> bool:
        """See `MortalSignal.wait`."""
        world = self._world
        if timeout is not None:
            world.before_timed_wait()
        if threading.current_thread() is not world.driver:
            return super().wait(timeout)
        world.driver_waits = True
        world.on_wait()
        try:
            return super().wait(timeout)
        finally:
            world.driver_waits = False


class World(Process):
    """A process with a thread that plays the world outside.

    Attributes:
        driver: that thread; driver_waits: whether it waits for the workflow now.
        on_wait: told that it does.
        before_timed_wait: told by each thread that is about to wait for so long at most.
        around: gives the block in which a thread of this name runs.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.driver: threading.Thread | None = None
        self.driver_waits = False
        self.on_wait: Callable[[], None] = _nothing
        self.before_timed_wait: Callable[[], None] = _nothing
        self.around: Callable[[str], AbstractContextManager[None]] = _unwatched
        self._threads = 0
        self._rest = threading.Condition()

    def signal(self) -> MortalSignal:
        """See `MortalEnv.signal`."""
        made = _DriverSignal(self)
        with self._lock:
            self._signals.add(made)
        return made

    def spawn(self, name: str, run: Callable[[], None]) -> None:
        """See `MortalEnv.spawn`."""

        def counted() -> None:
            try:
                with self.around(name):
                    run()
            finally:
                with self._rest:
                    self._threads -= 1
                    self._rest.notify_all()

        with self._rest:
            self._threads += 1
        super().spawn(name, counted)

    def bury(self) -> None:
        """See `Process.bury`."""
        with self._rest:
            self._threads -= 1
            self._rest.notify_all()
        super().bury()

    def is_held(self) -> bool:
        """Whether time stands still because the driver is at work."""
        driver = self.driver
        return driver is not None and driver.is_alive() and not self.driver_waits

    def rest(self, timeout: float) -> None:
        """Wait until the threads of this process have ended."""
        with self._rest:
            self._rest.wait_for(lambda: self._threads == 0, timeout)


@contextlib.contextmanager
def process(
    app: Perdure,
    world: Process,
    backend: TimedBackend,
    watch: Watch,
    concurrency: int | None = None,
) -> Generator[None]:
    """Let `app` be one process on `backend`, until it has ended with all its threads."""
    watch.process = world
    if isinstance(world, World):
        world.around = watch.around
    with app.moved(backend, world, concurrency=concurrency):
        try:
            yield
        finally:
            with contextlib.suppress(SimulatedCrash):
                runtime = app.runtime
                try:
                    app.close(CLOSE_SECONDS)
                finally:
                    world.kill()
                    runtime.bodies.close()
            world.kill()
            if isinstance(world, World):
                world.rest(REST_SECONDS)


def _run(plan: Plan, world: World, backend: TimedBackend) -> Ended | Stopped | None:
    """One process: start the workflow, or find it, and see it to its end; None if it died."""
    backend.is_held, world.on_wait = world.is_held, backend.poke
    failures: list[BaseException] = []
    try:
        if plan.prepare is not None:
            plan.prepare(plan.app, world)
        named = plan.workflow.options(id=WORKFLOW_ID)
        handle = named.start(*plan.args, **plan.kwargs)
        if plan.drive is not None:
            world.driver = _driver(plan.drive, handle, failures, backend)
        patience = ALONE_SECONDS if world.number == 0 and plan.first else RESULT_SECONDS
        end = _await(plan.app, handle, backend, min(patience, RESULT_SECONDS))
        if isinstance(end, Stopped):
            world.kill()  # what is stuck would hold up a good end, and the driver
        if world.driver is not None:
            world.driver.join(REST_SECONDS if isinstance(end, Stopped) else RESULT_SECONDS)
            if isinstance(end, Ended) and world.driver.is_alive():
                end = Stopped(_DRIVER_LATE, is_late=True)
    except SimulatedCrash:
        if world.driver is not None:
            world.driver.join(REST_SECONDS)
        return None
    if failures:
        failures[0].add_note(_DRIVER_AGAIN)
        raise failures[0]
    return end


def _driver(
    drive: Drive,
    handle: DistributedInvocation[Any],
    failures: list[BaseException],
    backend: TimedBackend,
) -> threading.Thread:
    def run() -> None:
        try:
            drive(handle)
        except SimulatedCrash:
            pass
        except BaseException as error:  # noqa: BLE001 - told on the thread of the test
            failures.append(error)
        finally:
            backend.poke()

    thread = threading.Thread(target=run, name="perdure-driver", daemon=True)
    thread.start()
    return thread


def _await(
    app: Perdure, handle: DistributedInvocation[Any], backend: TimedBackend, patience: float
) -> Ended | Stopped:
    deadline = time.monotonic() + patience
    stuck_at = float("inf")
    while True:
        has_ended = handle.status in TERMINAL
        try:
            return Ended(value=handle.result(LOOK_SECONDS))
        except (InvocationParked, InvocationDead) as error:
            return Stopped(str(error))
        except Exception as error:
            # One that raises a timeout itself is told from a wait that was too short.
            is_short = isinstance(error, ResultTimeout) and not has_ended
            if not is_short and handle.status in TERMINAL:
                return Ended(error=f"{type(error).__name__}: {error}", raised=error)
            if not is_short:
                raise
        stopped = app.workflows(status=_STOPPED) + app.tasks(status=_STOPPED)
        if stopped:
            return Stopped(stopped[0].reason or str(stopped[0]))
        stuck_at = min(stuck_at, time.monotonic()) if backend.is_stuck() else float("inf")
        if time.monotonic() - stuck_at > STUCK_SECONDS:
            return Stopped(
                f"{_live(app)}, and nothing is due that could wake it. {_WHAT_TO_DO}", is_stuck=True
            )
        if time.monotonic() > deadline:
            late = f"it has not ended after {patience:g} real seconds; {_live(app)}"
            return Stopped(f"{late}; virtual time is {backend.moment:%Y-%m-%d}", is_late=True)


_WHAT_TO_DO = (
    "What it waits for, such as a message, nobody sends: let the function given as drive= do so, "
    "or give the wait a timeout."
)


def _live(app: Perdure) -> str:
    rows = [each for each in app.workflows() + app.tasks() if each.status not in TERMINAL]
    return ", ".join(f"{each.name} is {each.status}" for each in rows)


def _nothing() -> None:
    return


def _unwatched(thread: str) -> AbstractContextManager[None]:
    del thread
    return contextlib.nullcontext()
