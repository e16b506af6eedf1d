"""Keeps the leases of a worker while its attempts run."""

from __future__ import annotations

from collections.abc import Callable

from perdure.backends.server import PartlyRenewed
from perdure.engine.runtime import Runtime, logger
from perdure.errors import BackendError


class Renewing:
    """Renews on a thread of its own, three times per lease, so that one lost try does no harm."""

    def __init__(self, runtime: Runtime) -> None:
        """Prepare; nothing runs yet."""
        self._runtime = runtime
        self._wake = runtime.env.signal()

    def start(self, ended: Callable[[], bool]) -> None:
        """Renew from here on, until `ended` says so at a look."""
        self._runtime.env.spawn("perdure-lease", lambda: self._keep(ended))

    def look(self) -> None:
        """Look now whether it is over, and not only at the next renewal."""
        self._wake.set()

    def _keep(self, ended: Callable[[], bool]) -> None:
        runtime = self._runtime
        lease = runtime.settings.lease
        while not ended():
            self._wake.wait(lease / 3)
            self._wake.clear()
            held = runtime.leases.held()
            if not held:
                continue
            asked_at = runtime.env.monotonic()
            try:
                kept = runtime.backend.renew(runtime.claimer, held, int(lease * 1e6))
            except PartlyRenewed as error:
                logger.warning("lease renewal failed on some servers: %s", error)
                held, kept = list(error.answered), error.kept
            except Exception as error:  # noqa: BLE001 - without this thread every lease would be lost
                known = isinstance(error, BackendError)
                logger.warning("lease renewal failed: %s", error, exc_info=not known)
                continue
            runtime.leases.renewed(held, kept, asked_at + lease)
