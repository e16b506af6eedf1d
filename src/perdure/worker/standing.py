"""The standing worker: runs whatever its queues hold until the app is closed. For `perdure worker`.

It differs from the local worker in two things: it takes work that nobody here waits for, and it
does not give up on a state backend that fails, unless its program is too old for the database.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping

from perdure.backends.base import InvocationQuery
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import InvocationState
from perdure.engine.effects import Function
from perdure.engine.runtime import Runtime
from perdure.errors import BackendError, PerdureError
from perdure.worker.worker import Serving, Worker

logger = logging.getLogger("perdure.worker")

LOOK_SECONDS = 60.0
"""How often it looks for ready rows whose code it does not have."""
LOOK_ROWS = 100
"""How many of the newest ready rows it looks at for that."""


class StandingWorker:
    """A worker on all trees of its queues. Start it once; `stop` waits for it.

    Args:
        serves: the queues that it serves, and their limits.
        concurrency: attempts at a time.
        ended: told if it stops by itself, on a thread of its own.
    """

    def __init__(
        self,
        runtime: Runtime,
        functions: Mapping[str, Function],
        *,
        serves: Serving,
        concurrency: int,
        ended: Callable[[PerdureError], None] | None = None,
    ) -> None:
        """Prepare; nothing runs yet."""
        self._runtime = runtime
        self._functions = functions
        self._queues = serves.queues
        self._ended = ended
        self._told: set[str] = set()
        self._stopped = runtime.env.signal()
        self._worker = Worker(
            runtime,
            functions,
            roots=None,
            concurrency=concurrency,
            failed=self._failed,
            gives_up=False,
            serves=serves,
        )

    def start(self) -> None:
        """Claim and run from here on, on threads of its own."""
        self._worker.start()
        self._runtime.env.spawn("perdure-unknown-names", self._look_for_unknown_names)

    def stop(self, timeout: float) -> bool:
        """After `runtime.stopping` was set: wait for attempts to let go; False if time was up."""
        self._stopped.set()
        return self._worker.join(timeout)

    def _failed(self, error: PerdureError, root: InvocationKey | None) -> None:
        """A state backend failed. An attempt has told so itself; what ends the worker is told here.

        The lease of the attempt is given back, or runs out.
        """
        if root is None:
            logger.error("the worker has stopped: %s", error)
            if self._ended is not None:
                self._ended(error)

    def _look_for_unknown_names(self) -> None:
        """Tell, once per name, of work that is left to others because its code is not here."""
        while not (self._stopped.is_set() or self._runtime.stopping.is_set()):
            try:
                self.report_unknown_names()
            except BackendError as error:
                logger.debug("could not look for unknown names: %s", error)
            self._stopped.wait(LOOK_SECONDS)

    def report_unknown_names(self) -> Counter[str]:
        """Count the newest ready rows of unknown names; each name is logged once."""
        runtime = self._runtime
        ready = InvocationQuery(
            app=runtime.app_name, states=(InvocationState.READY,), limit=LOOK_ROWS
        )
        found = Counter(
            record.name
            for record in runtime.backend.query(ready)
            if record.name not in self._functions
            and (self._queues is None or record.queue in self._queues)
        )
        for name, count in found.items():
            if name not in self._told:
                self._told.add(name)
                logger.warning(
                    "%d ready invocation(s) of %r are left to other workers: no task or workflow "
                    "of this name is registered here. Import its module, or give the old name as "
                    "aliases=[...].",
                    count,
                    name,
                )
        return found
