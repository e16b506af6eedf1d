"""The server's clock, read without a trip to the server."""

from __future__ import annotations

import threading
import time

from perdure.backends.forks import watch_forks

FRESH_SECONDS = 10.0
"""How long a reading is carried on by this process's own clock; two clocks drift apart by less than
a millisecond in that time."""
TRIP_SECONDS = 1.0
"""A reading that took longer to arrive is no use: nobody knows when it was taken. That is a process
that was stopped, or a transaction that waited for its turn."""

_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Counts while the machine sleeps, as the server's clock does."""


def moment() -> float:
    """Seconds of this machine's own clock, which never jumps back."""
    return time.clock_gettime(_BOOT_CLOCK)


class ServerClock:
    """Carries the newest reading on. It never runs backwards. Thread-safe, and usable in forks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._reading = 0
        self._told = 0
        watch_forks(self)

    def learn(self, reading: int, asked_at: float) -> None:
        """The server said so, when it was asked at `asked_at` (by `moment`)."""
        with self._lock:
            read_at = moment()
            if read_at - asked_at <= TRIP_SECONDS:
                self._reading, self._read_at = reading, read_at

    def now(self) -> int | None:
        """Microseconds since 1970 UTC by the server's clock; None if the reading is too old."""
        with self._lock:
            passed = moment() - self._read_at
            if passed > FRESH_SECONDS:
                return None
            self._told = max(self._told, self._reading + int(passed * 1e6))
            return self._told

    # --- forks -----------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """No thread is half way when the process is copied."""
        self._lock.acquire()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """Go on."""
        self._lock.release()
