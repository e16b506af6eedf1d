"""The relay: carries the outboxes of an app's databases, again and again. For workers."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from perdure.engine.runtime import Runtime
from perdure.transactions.database import Database

logger = logging.getLogger("perdure.relay")

LOOK_SECONDS = 0.5
"""How often it looks. One short query each time; what is sent so is not in a hurry."""
FAILED_SECONDS = 5.0
"""How long it leaves a database alone that failed, or for which the state backend did."""


class Relay:
    """One thread on all outboxes. Start it once; `stop` waits for it."""

    def __init__(self, runtime: Runtime, databases: Sequence[Database]) -> None:
        """Prepare; nothing runs yet."""
        self._runtime = runtime
        self._databases = databases
        self._not_before: dict[Database, float] = {}
        self._stopped = runtime.env.signal()
        self._ended = runtime.env.signal()

    def start(self) -> None:
        """Carry from here on, on a thread of its own."""
        self._runtime.env.spawn("perdure-relay", self._run)

    def stop(self, timeout: float) -> bool:
        """End after the page at hand; False if time was up."""
        self._stopped.set()
        return self._ended.wait(timeout)

    def _run(self) -> None:
        try:
            while not (self._stopped.is_set() or self._runtime.stopping.is_set()):
                self.look()
                self._stopped.wait(LOOK_SECONDS)
        finally:
            self._ended.set()

    def look(self) -> None:
        """Carry what there is. What fails is logged and left alone for a while; others go on."""
        now = self._runtime.env.monotonic()
        for database in list(self._databases):
            if self._not_before.get(database, now) > now:
                continue
            try:
                database.carry()
            except Exception:
                logger.exception(
                    "the outbox of %r waits for at least %g s", database, FAILED_SECONDS
                )
                self._not_before[database] = now + FAILED_SECONDS
