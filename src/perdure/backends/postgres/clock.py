"""The server's clock, read without a trip to the server."""

from __future__ import annotations

import threading
import time

FRESH_SECONDS = 10.0
"""How long a reading is carried on by this process's own clock; two clocks drift apart by less than
a millisecond in that time."""


class ServerClock:
    """Carries the newest reading on. It never runs backwards. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._reading = 0
        self._told = 0

    def learn(self, reading: int) -> None:
        """The server said so just now."""
        with self._lock:
            self._reading, self._read_at = reading, time.monotonic()

    def now(self) -> int | None:
        """Microseconds since 1970 UTC by the server's clock; None if the reading is too old."""
        with self._lock:
            passed = time.monotonic() - self._read_at
            if passed > FRESH_SECONDS:
                return None
            self._told = max(self._told, self._reading + int(passed * 1e6))
            return self._told
