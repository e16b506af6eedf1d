"""The scheduler: decides the ticks of an app's schedules when they are due. For workers.

Any number of processes may run one; the state backend lets one of them decide each tick.
"""

from __future__ import annotations

import logging

from perdure.api.schedules import Schedule, Schedules
from perdure.engine.runtime import Runtime

logger = logging.getLogger("perdure.schedules")

LOOK_SECONDS = 30.0
"""At least so often it looks, however far the next tick is: clocks jump, pauses end, and what
failed is tried again."""


class Scheduler:
    """One thread on all schedules of an app. Start it once; `stop` waits for it."""

    def __init__(self, runtime: Runtime, schedules: Schedules) -> None:
        """Prepare; nothing runs yet."""
        self._runtime = runtime
        self._schedules = schedules
        self._stopped = runtime.env.signal()
        self._ended = runtime.env.signal()

    def start(self) -> None:
        """Decide ticks from here on, on a thread of its own."""
        self._runtime.env.spawn("perdure-scheduler", self._run)

    def stop(self, timeout: float) -> bool:
        """End after the tick at hand; False if time was up."""
        self._stopped.set()
        return self._ended.wait(timeout)

    def _run(self) -> None:
        try:
            while not (self._stopped.is_set() or self._runtime.stopping.is_set()):
                self._stopped.wait(self.look())
        finally:
            self._ended.set()

    def look(self) -> float:
        """Decide what is due, and give the seconds until something is.

        A schedule that fails (its arguments cannot be made, the state backend is away) is logged
        and tried again at the next look; the others go on.
        """
        wait = LOOK_SECONDS
        for schedule in list(self._schedules.values()):
            try:
                schedule.run_due()
                wait = min(wait, self._seconds_to(schedule))
            except Exception:
                logger.exception(
                    "schedule %r could not go on. It is tried again within %g s.",
                    schedule.name,
                    LOOK_SECONDS,
                )
        return wait

    def _seconds_to(self, schedule: Schedule) -> float:
        now = self._runtime.backend.now()
        upcoming = schedule.next_tick(now)
        return LOOK_SECONDS if upcoming is None else (upcoming - now) / 1e6
