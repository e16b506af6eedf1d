"""What a worker does once a second beside its claims, for all workers of the app."""

from __future__ import annotations

from perdure.engine.control import end_late
from perdure.engine.runtime import Runtime, logger
from perdure.errors import BackendError
from perdure.worker.owner import is_gone

LOOK_SECONDS = 1.0
"""How often it looks: for owners of this host that are gone, and for what came too late."""
LATE_MAX = 100
"""So many are ended at one look; the next one goes on."""


class Upkeep:
    """Used by the dispatcher of one worker."""

    def __init__(self, runtime: Runtime) -> None:
        """Look at the first chance."""
        self._runtime = runtime
        self._owners_at = self._late_at = float("-inf")

    def gone_owners(self, moment: float) -> frozenset[str]:
        """Owners whose process is known to have ended; none if it is not time to look."""
        if moment < self._owners_at:
            return frozenset()
        self._owners_at = moment + LOOK_SECONDS
        return frozenset(owner for owner in self._runtime.backend.owners() if is_gone(owner))

    def end_late(self) -> None:
        """End what is past its deadline and was begun by nobody; that needs none of its code.

        What the state backend cannot do now is tried again at the next look.
        """
        runtime = self._runtime
        moment = runtime.env.monotonic()
        if moment < self._late_at:
            return
        self._late_at = moment + LOOK_SECONDS
        try:
            for record in runtime.backend.past_deadline(runtime.app_name, LATE_MAX):
                if end_late(runtime, record):
                    logger.warning("%s was not begun by its deadline; it is cancelled", record.key)
        except BackendError as error:
            logger.info("what is past its deadline could not be ended: %s", error)
