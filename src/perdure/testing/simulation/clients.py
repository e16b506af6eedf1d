"""Clients of a simulated world: each has one errand, and begins it anew when its process dies."""

from __future__ import annotations

from functools import partial
from typing import Protocol

from perdure import DistributedInvocation
from perdure.errors import (
    BackendError,
    InvocationDead,
    InvocationEnded,
    InvocationNotFound,
    InvocationParked,
    JournalCorrupted,
    OperationRefused,
    UpdateUnanswered,
)
from perdure.testing.simulation.actors import Ground, stubborn
from perdure.testing.simulation.apps import TIMETABLE, SimulatedApp
from perdure.testing.simulation.plan import SECOND, Timetable, Workflow
from perdure.testing.simulation.process import Process

NOT_NOW = (
    BackendError,
    InvocationDead,
    InvocationNotFound,
    InvocationParked,
    JournalCorrupted,
)
"""What a client is told that has come too early, or while something is to be mended."""


class Errand(Protocol):
    """What somebody wants done."""

    def go(self, process: Process) -> None:
        """Do all of it, on the main thread of this process. What was done before is done again."""
        ...


def run(ground: Ground, name: str, errand: Errand, at: float = 0.0) -> None:
    """Do an errand to its end, from so many seconds on, on a thread of the world."""
    ground.sleep(int(at * SECOND) + 1)
    lives, done = 0, False

    def main(process: Process) -> None:
        nonlocal done
        errand.go(process)
        done = True
        ground.linger(process)

    while not done:
        lives += 1
        process = ground.process(f"{name}.{lives}")
        process.spawn("main", partial(main, process))
        ground.outlive(process)
    ground.errand_ended()


class Client:
    """Starts one workflow, sends it letters, and waits for its end; it never gives up."""

    def __init__(self, ground: Ground, name: str, number: int, workflow: Workflow) -> None:
        """Nothing is done yet.

        Args:
            name: the letters have it in their names.
            number: of the program.
        """
        self._ground = ground
        self._name = name
        self._number = number
        self._id = f"main{-number}"
        self._workflow = workflow

    def go(self, process: Process) -> None:
        """See `Errand.go`."""
        workflow = self._workflow
        app = self._ground.app(process, workflow.app, local_worker=workflow.by_script)
        main = app.awaiting.main if workflow.awaits else app.programs.main
        message = ("word", self._id, f"{self._id}-first") if workflow.message else None
        options = main.options(
            id=self._id, timeout=workflow.timeout, delay=workflow.delay, message=message
        )
        start = options.start
        handle = stubborn(process, partial(start, self._number))
        if workflow.letters:
            process.spawn("letters", partial(self._send, process, app))
        for what in ("cancel", "terminate", "pause"):
            if (at := getattr(workflow, f"{what}_at")) is not None:
                process.spawn(what, partial(self._control, process, app, what, at))
        stubborn(process, partial(self._wait_for, handle))

    def _wait_for(self, handle: DistributedInvocation[list[str]]) -> None:
        try:
            value = handle.result()
        except (BackendError, InvocationDead, InvocationParked) as error:
            if isinstance(error, BackendError):
                raise
        except Exception as error:  # noqa: BLE001 - how it ends is not its concern
            self._ground.outside.failed(self._id, error)
        else:
            self._ground.outside.gave(self._id, value)

    def _send(self, process: Process, app: SimulatedApp) -> None:
        for number, at in enumerate(self._workflow.letters):
            process.scheduler.sleep(int(at * SECOND))
            name = f"{self._name}-{number}"
            handle = stubborn(process, partial(app.invocation, self._id))
            try:
                stubborn(process, partial(handle.send, "word", name, id=name))
            except InvocationEnded:
                return

    def _control(self, process: Process, app: SimulatedApp, what: str, at: float) -> None:
        process.scheduler.sleep(int(at * SECOND))
        handle = stubborn(process, partial(app.invocation, self._id))
        try:
            stubborn(process, getattr(handle, what))
        except (InvocationEnded, OperationRefused):  # it has ended, or not begun
            return
        self._ground.outside.promised(self._id, what)


class Asker:
    """Sends updates to one workflow, and asks each again once it is answered."""

    def __init__(self, ground: Ground, id_: str, workflow: Workflow) -> None:
        """Nothing is asked yet; `id_` is that of the workflow."""
        self._ground = ground
        self._id = id_
        self._workflow = workflow

    def go(self, process: Process) -> None:
        """See `Errand.go`."""
        app = self._ground.app(process, self._workflow.app, local_worker=False)
        for number, pause in enumerate(self._workflow.asks):
            process.scheduler.sleep(int(pause * SECOND))
            ask = partial(self._ask, app, f"{self._id}-ask{number}")
            try:
                for _ in range(2):
                    stubborn(process, ask, NOT_NOW)
            except (InvocationEnded, UpdateUnanswered):
                self._ground.outside.unanswered(self._id, f"{self._id}-ask{number}")

    def _ask(self, app: SimulatedApp, letter: str) -> None:
        answer = app.invocation(self._id).update("ask", letter, str, id=letter)
        self._ground.outside.answered(self._id, letter, answer)


class Reader:
    """Reads what one workflow publishes, from the start whenever it is started again."""

    def __init__(self, ground: Ground, id_: str, app: str) -> None:
        """Nothing is read yet; `id_` is that of the workflow, `app` the name of its app."""
        self._ground = ground
        self._id = id_
        self._app = app

    def go(self, process: Process) -> None:
        """See `Errand.go`."""
        app = self._ground.app(process, self._app, local_worker=False)
        stubborn(process, partial(self._read, app), NOT_NOW)

    def _read(self, app: SimulatedApp) -> None:
        count = 0
        for count, value in enumerate(app.invocation(self._id).stream("news", str), 1):
            self._ground.outside.read(self._id, count, value)
        self._ground.outside.read_all(self._id, count)


class Timekeeper:
    """Pauses the schedule of the app and lets it go on, as planned, and ends it at last."""

    def __init__(self, ground: Ground, timetable: Timetable, until: int) -> None:
        """Nothing is done yet.

        Args:
            until: when the faults are over.
        """
        self._ground = ground
        self._timetable = timetable
        self._until = until

    def go(self, process: Process) -> None:
        """See `Errand.go`."""
        schedule = self._ground.app(process, local_worker=False).schedules[TIMETABLE]
        timetable, began = self._timetable, process.scheduler.started_at
        if timetable.pause_at is not None:
            _sleep_until(process, began + int(timetable.pause_at * SECOND))
            stubborn(process, schedule.pause)
            _sleep_until(process, began + int(timetable.resume_at * SECOND))
            stubborn(process, schedule.resume)
        _sleep_until(process, self._until)
        self._ground.ticks_on(lambda: stubborn(process, schedule.info))
        stubborn(process, schedule.pause)


def _sleep_until(process: Process, moment: int) -> None:
    scheduler = process.scheduler
    scheduler.sleep(max(1, moment - scheduler.now))
    process.check()
