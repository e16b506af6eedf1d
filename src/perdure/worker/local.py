"""The local worker: runs, in this process, the trees that somebody here waits for.

It starts with the first wait and claims nothing else, so a script needs no second process and
never takes work that was not its own.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping

from perdure.backends.limits import QueueLimits
from perdure.core.identity import InvocationKey
from perdure.engine.effects import Function
from perdure.engine.runtime import Runtime
from perdure.errors import PerdureError
from perdure.worker.worker import Serving, Worker


class LocalWorker:
    """At most one worker thread group per runtime. Thread-safe."""

    def __init__(
        self,
        runtime: Runtime,
        functions: Mapping[str, Function],
        concurrency: int,
        failed: Callable[[PerdureError, InvocationKey | None], None],
        *,
        limits: Callable[[], Mapping[str, QueueLimits]],
    ) -> None:
        """Start nothing yet.

        Args:
            failed: told when the state backend fails, and for which tree (None: for all).
            limits: gives the limits by queue; 0 for what is left to workers.
        """
        self._limits = limits
        self._runtime = runtime
        self._functions = functions
        self._concurrency = concurrency
        self._tell = failed
        self._lock = threading.Lock()
        self._waits: Counter[InvocationKey] = Counter()
        self._worker: Worker | None = None

    def hold(self, root: InvocationKey, *, begins: bool = False) -> None:
        """Somebody waits for something in this tree: run it here.

        Args:
            begins: the tree is about to be started, so there is nothing to look for yet.
        """
        with self._lock:
            self._waits[root] += 1
            worker = self._worker
            if worker is None or not worker.alive:
                self._worker = Worker(
                    self._runtime,
                    self._functions,
                    roots=self._roots,
                    concurrency=self._concurrency,
                    failed=self._tell,
                    serves=Serving(self._limits),
                )
                self._worker.start()
                return
        if not begins:
            worker.poke()

    def drop(self, root: InvocationKey) -> None:
        """One wait less for this tree; what runs of it goes on to its next wait."""
        with self._lock:
            self._waits[root] -= 1
            if self._waits[root] <= 0:
                del self._waits[root]

    def _roots(self) -> frozenset[InvocationKey]:
        with self._lock:
            return frozenset(self._waits)

    def stop(self, timeout: float) -> bool:
        """After `runtime.stopping` was set: wait for attempts to let go; False if time was up."""
        with self._lock:
            worker = self._worker
        return worker is None or worker.join(timeout)
