"""Who acts in a simulated world: workers that are started again when they die, and clients."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeVar

from perdure import DistributedInvocation
from perdure.api.schedules import ScheduleInfo
from perdure.backends.base import InvocationRecord
from perdure.errors import BackendError, InvocationEnded, OperationRefused
from perdure.testing.simulation.apps import TIMETABLE, SimulatedApp
from perdure.testing.simulation.plan import SECOND, Timetable, Workflow
from perdure.testing.simulation.process import Process

T = TypeVar("T")

APP = "simulated"
"""The name of the app that workers run."""


class Ground(Protocol):
    """What the world gives to those who act in it."""

    def process(self, name: str) -> Process:
        """A new process."""
        ...

    def app(self, process: Process, name: str = APP, *, local_worker: bool) -> SimulatedApp:
        """An app in it."""
        ...

    def stopped(self) -> list[InvocationRecord]:
        """What is paused, parked or dead, and may go on now."""
        ...

    def sleep(self, microseconds: int) -> None:
        """Let the current thread wait."""
        ...

    def bury(self, owner: str) -> None:
        """A process that claimed under this name is dead."""
        ...

    def outlive(self, process: Process) -> None:
        """Let the current thread wait until this process is dead, and somebody has seen it."""
        ...

    def linger(self, process: Process) -> None:
        """End a process a little later, on a thread of it."""
        ...

    def client_ended(self) -> None:
        """One client has all it wanted."""
        ...

    def ticks_on(self, look: Callable[[], ScheduleInfo]) -> None:
        """Let the current thread wait until a tick was decided that is still to come."""
        ...

    def timetable_ended(self) -> None:
        """The schedule of the app is paused for good."""
        ...


class Worker:
    """A worker process that is started again whenever it dies.

    Attributes:
        process: the one that lives now, or did last.
    """

    def __init__(self, ground: Ground, name: str, app: str) -> None:
        """It is not started yet; `app` is what it runs."""
        self.name = name
        self._runs = app
        self.process = ground.process(f"{name}.0")
        self._ground = ground
        self._claimer = ""
        self._app: SimulatedApp | None = None

    def keep_alive(self) -> None:
        """Start it again and again, on a thread of the world."""
        lives = 0
        while True:
            lives += 1
            self.process = self._ground.process(f"{self.name}.{lives}")
            self.process.spawn("main", self._main)
            self._ground.outlive(self.process)
            if self._claimer:
                self._ground.bury(self._claimer)
            self._app, self._claimer = None, ""

    def _main(self) -> None:
        app = self._ground.app(self.process, self._runs, local_worker=False)
        self._claimer = app.runtime.claimer
        app.start_worker()
        self._app = app

    def shut_down(self) -> None:
        """As after a SIGTERM: let go within a second, and end."""
        app, self._app = self._app, None
        process = self.process
        if app is None or process.dead:
            return

        def close() -> None:
            app.close(1.0)
            process.kill()

        process.spawn("closer", close)


class Client:
    """Starts one workflow, sends it letters, and waits for its end; it never gives up."""

    def __init__(self, ground: Ground, name: str, number: int, workflow: Workflow) -> None:
        """It begins with `run`.

        Args:
            number: of the program.
        """
        self._ground = ground
        self._name = name
        self._number = number
        self._id = f"main{-number}"
        self._workflow = workflow
        self._is_done = False

    def run(self) -> None:
        """On a thread of the world; what it does happens in processes of its own."""
        self._ground.sleep(int(self._workflow.at * SECOND) + 1)
        lives = 0
        while True:
            lives += 1
            process = self._ground.process(f"{self._name}.{lives}")
            process.spawn("main", partial(self._main, process))
            self._ground.outlive(process)
            if self._is_done:
                self._ground.client_ended()
                return

    def _main(self, process: Process) -> None:
        workflow = self._workflow
        app = self._ground.app(process, workflow.app, local_worker=workflow.by_script)
        main = app.awaiting.main if workflow.awaits else app.programs.main
        message = ("word", self._id, f"{self._id}-first") if workflow.message else None
        options = main.options(
            id=self._id, timeout=workflow.timeout, delay=workflow.delay, message=message
        )
        start = options.start
        handle = _stubborn(process, partial(start, self._number))
        if workflow.letters:
            process.spawn("letters", partial(self._send, process, app))
        for what in ("cancel", "terminate", "pause"):
            if (at := getattr(workflow, f"{what}_at")) is not None:
                process.spawn(what, partial(self._control, process, app, what, at))
        _stubborn(process, partial(_wait_for, handle))
        self._is_done = True
        self._ground.linger(process)

    def _send(self, process: Process, app: SimulatedApp) -> None:
        for number, at in enumerate(self._workflow.letters):
            process.scheduler.sleep(int(at * SECOND))
            name = f"{self._name}-{number}"
            handle = _stubborn(process, partial(app.invocation, self._id))
            try:
                _stubborn(process, partial(handle.send, "word", name, id=name))
            except InvocationEnded:
                return

    def _control(self, process: Process, app: SimulatedApp, what: str, at: float) -> None:
        process.scheduler.sleep(int(at * SECOND))
        handle = _stubborn(process, partial(app.invocation, self._id))
        try:
            _stubborn(process, getattr(handle, what))
        except (InvocationEnded, OperationRefused):  # it has ended, or not begun
            return


class Timekeeper:
    """Pauses the schedule of the app and lets it go on, as planned, and ends it at last."""

    def __init__(self, ground: Ground, timetable: Timetable, until: int) -> None:
        """It begins with `run`.

        Args:
            until: when the faults are over.
        """
        self._ground = ground
        self._timetable = timetable
        self._until = until
        self._is_done = False

    def run(self) -> None:
        """On a thread of the world; it works in processes of its own."""
        lives = 0
        while not self._is_done:
            lives += 1
            process = self._ground.process(f"timekeeper.{lives}")
            process.spawn("main", partial(self._main, process))
            self._ground.outlive(process)
        self._ground.timetable_ended()

    def _main(self, process: Process) -> None:
        """Whatever an earlier life has done is done once more, which changes nothing."""
        schedule = self._ground.app(process, local_worker=False).schedules[TIMETABLE]
        timetable, began = self._timetable, process.scheduler.started_at
        if timetable.pause_at is not None:
            _sleep_until(process, began + int(timetable.pause_at * SECOND))
            _stubborn(process, schedule.pause)
            _sleep_until(process, began + int(timetable.resume_at * SECOND))
            _stubborn(process, schedule.resume)
        _sleep_until(process, self._until)
        self._ground.ticks_on(lambda: _stubborn(process, schedule.info))
        _stubborn(process, schedule.pause)
        self._is_done = True
        self._ground.linger(process)


class Operator:
    """Lets go on what is paused, and what stopped for a reason that is no more."""

    def __init__(self, ground: Ground) -> None:
        """It begins with `run`."""
        self._ground = ground

    def run(self) -> None:
        """On a thread of the world; it works in processes of its own."""
        lives = 0
        while True:
            lives += 1
            process = self._ground.process(f"operator.{lives}")
            process.spawn("main", partial(self._main, process))
            self._ground.outlive(process)

    def _main(self, process: Process) -> None:
        ground = self._ground
        apps: dict[str, SimulatedApp] = {}
        while True:
            process.scheduler.sleep(SECOND // 2)
            for row in ground.stopped():
                if row.app not in apps:
                    apps[row.app] = ground.app(process, row.app, local_worker=False)
                handle = _stubborn(process, partial(apps[row.app].invocation, row.key[0]))
                _stubborn(process, handle.resume)


def _wait_for(handle: DistributedInvocation[list[str]]) -> None:
    try:
        handle.result()
    except BackendError:
        raise
    except Exception:  # noqa: BLE001 - how it ends is not its concern
        return


def _sleep_until(process: Process, moment: int) -> None:
    scheduler = process.scheduler
    scheduler.sleep(max(1, moment - scheduler.now))
    process.check()


def _stubborn(process: Process, call: Callable[[], T]) -> T:
    """Call again until the store answers."""
    while True:
        try:
            return call()
        except BackendError:
            process.check()
            process.scheduler.sleep(SECOND // 10)
