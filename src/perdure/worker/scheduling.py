"""The scheduler: decides the ticks of an app's schedules when they are due. For workers.

Any number of processes may run one; the state backend lets one of them decide each tick.
"""

from __future__ import annotations

import logging

from perdure.api.schedules import Schedule, Schedules
from perdure.engine.runtime import Runtime

logger = logging.getLogger("perdure.schedules")

LOOK_SECONDS = 30.0
"""At least so often it looks, however far the next tick is: clocks jump, and pauses end."""
RETRY_SECONDS = 1.0
"""So soon it looks again after a failure: ticks are not to be late by a whole look because the
state backend was away for a moment. After the next failure twice as long, and so on."""


class Scheduler:
    """One thread on all schedules of an app. Start it once; `stop` waits for it."""

    def __init__(self, runtime: Runtime, schedules: Schedules) -> None:
        """Prepare; nothing runs yet."""
        self._runtime = runtime
        self._schedules = schedules
        self._stopped = runtime.env.signal()
        self._ended = runtime.env.signal()
        self._retry = RETRY_SECONDS

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
        and tried again soon; the others go on.
        """
        wait, failed = LOOK_SECONDS, False
        for schedule in list(self._schedules.values()):
            try:
                schedule.run_due()
                wait = min(wait, self._seconds_to(schedule))
            except Exception:
                failed = True
                logger.exception(
                    "schedule %r could not go on. It is tried again within %g s.",
                    schedule.name,
                    self._retry,
                )
        if not failed:
            self._retry = RETRY_SECONDS
            return wait
        wait, self._retry = min(wait, self._retry), min(2.0 * self._retry, LOOK_SECONDS)
        return wait

    def _seconds_to(self, schedule: Schedule) -> float:
        now = self._runtime.backend.now()
        upcoming = schedule.next_tick(now)
        return LOOK_SECONDS if upcoming is None else (upcoming - now) / 1e6
