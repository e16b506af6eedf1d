"""Apps of a simulation, used again: to register functions costs more than to run a schedule."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec

from perdure.api.schedules import Schedules
from perdure.app import Perdure
from perdure.backends.base import Backend
from perdure.engine.env import Env
from perdure.testing.simulation.awaiting import AwaitingPrograms
from perdure.testing.simulation.interpreter import Programs
from perdure.testing.simulation.plan import Timetable
from perdure.testing.simulation.tasks import Tasks, Watcher

TIMETABLE = "timetable"
"""The name of the schedule that an app may have."""


class SimulatedApp(Perdure):
    """An app that can be given another world. Its functions run programs, in both colours."""

    def __init__(self, backend: Backend, env: Env, watcher: Watcher) -> None:
        """Register the functions."""
        super().__init__(backend=backend, env=env, name="simulated")
        self.bodies = Tasks(self, watcher)
        self.programs = Programs(self, self.bodies)
        self.awaiting = AwaitingPrograms(self, self.bodies)
        self.programs.other, self.awaiting.other = self.awaiting.main, self.programs.main

    def rebind(
        self, backend: Backend, env: Env, watcher: Watcher, settings: dict[str, Any]
    ) -> None:
        """Enter a world. Nothing of its former one may run any more.

        Args:
                settings: those of this world that differ.
        """
        self.settings = msgspec.structs.replace(self.settings, **settings)
        self.client.runs_here = self.settings.local_worker
        self.bodies.watcher = watcher
        self._backend, self._env = backend, env
        self._leave()

    def follow(self, timetable: Timetable | None) -> None:
        """Have this schedule, or none."""
        if timetable is None and not self.schedules:
            return
        self.schedules = Schedules(self.client)
        if timetable is not None:
            main = self.awaiting.main if timetable.awaits else self.programs.main
            self.schedule(
                every=timedelta(seconds=timetable.every),
                name=TIMETABLE,
                arguments={"number": 0},
                overlap=timetable.overlap,
                jitter=timetable.jitter,
            )(main)

    def _claimer(self) -> str:
        return f"simulated:{self._env.entropy(4).hex()}"

    def forget(self) -> None:
        """Let go of the world it was in: all but the functions."""
        self._leave()
        del self._backend, self._env, self.bodies.watcher

    def _leave(self) -> None:
        self._runtime = self._local = None
        self._standing, self._schedulers, self._relays = [], [], []


class Apps:
    """Apps that nobody uses at the moment, and those that the current schedule uses."""

    def __init__(self) -> None:
        """None is made yet."""
        self._idle: list[SimulatedApp] = []
        self._used: list[SimulatedApp] = []

    def take(
        self, backend: Backend, env: Env, watcher: Watcher, settings: dict[str, Any]
    ) -> SimulatedApp:
        """One on this backend and env."""
        app = self._idle.pop() if self._idle else SimulatedApp(backend, env, watcher)
        app.rebind(backend, env, watcher, settings)
        self._used.append(app)
        return app

    def all_back(self) -> None:
        """The schedule is over, and nothing of it runs any more."""
        for app in self._used:
            app.forget()
        self._idle += self._used
        self._used.clear()
