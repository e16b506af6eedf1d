"""Hears what other processes did, for all in this one who wait. It decides nothing.

There is one listener for a runtime, however many wait: it may be a connection or a thread.
"""

from __future__ import annotations

import logging
import threading

from perdure.backends.base import Backend
from perdure.backends.hints import Ear
from perdure.engine.hub import Hub
from perdure.errors import BackendError

logger = logging.getLogger("perdure.engine")


class Hearing:
    """Listens from the first time that somebody waits until it is closed. Thread-safe."""

    def __init__(self, backend: Backend, hub: Hub) -> None:
        """Listen to nothing yet."""
        self._backend = backend
        self._hub = hub
        self._lock = threading.Lock()
        self._began = False
        self._ear: Ear | None = None

    def begin(self) -> None:
        """Listen from here on, if there is anything to listen to.

        Raises:
            BackendError: it cannot be listened to now; the next call tries again.
        """
        if self._began:
            return
        with self._lock:
            if not self._began:
                self._ear = self._backend.hints(self._hub.heard)
                self._began = True

    def expect(self) -> None:
        """Somebody waits for something that another process may do; it polls, too."""
        try:
            self.begin()
        except (BackendError, RuntimeError) as error:  # the latter: no thread can be started
            logger.debug("hints of other processes are not heard: %s", error)
        if self._ear is not None:
            self._ear.expect()

    def close(self) -> None:
        """Listen no more."""
        with self._lock:
            ear, self._ear = self._ear, None
        if ear is not None:
            ear.close()
