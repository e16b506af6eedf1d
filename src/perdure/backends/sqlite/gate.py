"""The order of writers within one process: renewals first. It knows neither SQLite nor files."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager

from perdure.errors import BackendUnavailable


class Gate:
    """One ordinary writer at a time, one renewal at a time; a pending renewal goes first.

    The two kinds do not exclude each other here (the lock file does that): a renewal must be able
    to queue there while an ordinary writer of this process still waits for other processes.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._writer: int | None = None
        self._renewals = 0
        self._renewing = threading.Lock()

    @contextmanager
    def ordinary(self, timeout: float) -> Generator[None, None, None]:
        """`enter` and `leave` around a block."""
        self.refuse_nested()
        try:
            self.enter(timeout)
            yield
        finally:
            self.leave()

    @contextmanager
    def renewal(self, timeout: float) -> Generator[None, None, None]:
        """Wait up to `timeout` seconds for other renewals; ordinary writers wait for this one.

        Raises:
            BackendUnavailable: another renewal took too long.
        """
        with self._changed:
            self._renewals += 1
        try:
            if not self._renewing.acquire(timeout=timeout):
                raise BackendUnavailable(late("renewal", timeout))
            try:
                yield
            finally:
                self._renewing.release()
        finally:
            with self._changed:
                self._renewals -= 1
                self._changed.notify_all()

    def refuse_nested(self) -> None:
        """Call this before a block whose `finally` leaves: a nested one would end the outer turn.

        Raises:
            BackendUnavailable: this thread is in a write already.
        """
        if self._writer == threading.get_ident():
            raise nested()

    def enter(self, timeout: float) -> None:
        """Wait up to `timeout` seconds for a turn as an ordinary writer.

        Raises:
            BackendUnavailable: another thread of this process kept its turn for too long.
        """
        me = threading.get_ident()
        deadline: float | None = None
        with self._lock:
            while self._writer is not None or self._renewals:
                now = time.monotonic()
                deadline = now + timeout if deadline is None else deadline
                if now >= deadline:
                    raise BackendUnavailable(late("write", timeout))
                self._changed.wait(deadline - now)
            self._writer = me

    def leave(self) -> None:
        """End this thread's turn. Harmless when it has none."""
        with self._lock:
            if self._writer == threading.get_ident():
                self._writer = None
                self._changed.notify()


def late(what: str, timeout: float) -> str:
    """The message for whoever waited too long for a thread of this process."""
    return (
        f"Another thread of this process is in a {what} for more than {timeout:g} s. If the disk "
        "is this slow, raise lock_timeout; otherwise look where that thread is stuck."
    )


def nested() -> BackendUnavailable:
    """The error for a write inside a write."""
    return BackendUnavailable(
        "A write was begun inside a write of the same thread (from the clock, a signal handler or "
        "a fork hook). Do it after the first one."
    )
