"""Who acts in a simulated world: workers that are started again when they die, and an operator."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeVar

from perdure.api.schedules import ScheduleInfo
from perdure.backends.base import InvocationRecord
from perdure.errors import BackendError
from perdure.testing.simulation.apps import SimulatedApp
from perdure.testing.simulation.checks.outside import Outside
from perdure.testing.simulation.plan import SECOND
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

    def errand_ended(self) -> None:
        """Somebody has all that was wanted."""
        ...

    def ticks_on(self, look: Callable[[], ScheduleInfo]) -> None:
        """Let the current thread wait until a tick was decided that is still to come."""
        ...

    @property
    def outside(self) -> Outside:
        """What is told of all that somebody outside of a workflow got to see."""
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
                handle = stubborn(process, partial(apps[row.app].invocation, row.key[0]))
                stubborn(process, handle.resume)


def stubborn(
    process: Process,
    call: Callable[[], T],
    again: tuple[type[Exception], ...] = (BackendError,),
) -> T:
    """Call again until it raises none of these: by default, until the store answers."""
    while True:
        try:
            return call()
        except again:
            process.check()
            process.scheduler.sleep(SECOND // 10)
