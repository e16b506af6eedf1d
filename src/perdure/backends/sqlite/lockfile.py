"""The lock file beside a database, on which the writers of all processes queue. It holds no data.

The lock is `flock` on an open description: it goes when the holder lets go, closes or dies, never
by time. Its content is the pid of the newest holder, for error messages only, and the counters of
`perdure.backends.sqlite.bell`, for hints only.

Waiting is done in the kernel's queue, by a helper thread, because a blocking `flock` cannot be
given a timeout and a polling one starves against busy writers (measured: seconds, not
milliseconds). The helper is started only when the lock is not free.
"""

from __future__ import annotations

import fcntl
import os
import threading

from perdure.errors import BackendUnavailable

MODE = 0o600
_PID_WIDTH = 11
"""Bytes of the pid line: fixed, so that a shorter pid leaves nothing of a longer one behind."""


class LockFile:
    """One descriptor on a lock file. Used by one thread at a time; two objects exclude each other.

    Args:
        path: the lock file; made on first use with mode 0600.

    Attributes:
        descriptor: of the open file; None before its first use.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.descriptor: int | None = None
        self._pid_line = b""

    def acquire(self, timeout: float) -> None:
        """Wait up to `timeout` seconds for the lock.

        Raises:
            BackendUnavailable: not free in time (the message names the holder's pid), or the file
                cannot be made or opened.
        """
        descriptor = self._open()
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._queue(descriptor, timeout)
        os.pwrite(descriptor, self._pid_line, 0)

    def release(self) -> None:
        """Let go. Harmless when it is not held."""
        if self.descriptor is not None:
            fcntl.flock(self.descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the descriptor. In a forked child this does not unlock the parent's lock."""
        descriptor, self.descriptor = self.descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def holder(self) -> str:
        """The pid in the file as text, or "" when nobody wrote one."""
        descriptor = self._open()
        return os.pread(descriptor, _PID_WIDTH, 0).decode("ascii", "replace").strip()

    def _open(self) -> int:
        if self.descriptor is None:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            try:
                self.descriptor = os.open(self.path, flags, MODE)
            except OSError as error:
                raise BackendUnavailable(
                    f"The lock file {self.path!r} cannot be opened: {error.strerror}. Writers "
                    "queue on it, so its directory must exist and be writable for this user. "
                    "Create or mend the directory, or name another path."
                ) from error
            self._pid_line = f"{os.getpid()}".ljust(_PID_WIDTH - 1).encode() + b"\n"
        return self.descriptor

    def _queue(self, descriptor: int, timeout: float) -> None:
        """Wait in the kernel's queue. Whoever gives up leaves the descriptor to the helper."""
        attempt = _Attempt(descriptor)
        try:
            attempt.start()
        except RuntimeError as error:
            raise BackendUnavailable(
                f"The lock file {self.path!r} is held by process {self.holder() or 'unknown'}, "
                f"and no thread can be started to wait for it ({error})."
            ) from error
        try:
            attempt.granted.wait(timeout)
        finally:
            kept = attempt.settle()
            if not kept:
                self.descriptor = None
        if not kept:
            raise BackendUnavailable(
                f"The lock file {self.path!r} was not free within {timeout:g} s. Process "
                f"{self.holder() or 'unknown'} holds it. If that process is stopped (SIGSTOP, a "
                "debugger), continue or kill it; if it is busy, raise lock_timeout."
            )


class _Attempt:
    """One blocking `flock` on a thread of its own, which may be given up."""

    def __init__(self, descriptor: int) -> None:
        self.granted = threading.Event()
        self._descriptor = descriptor
        self._settling = threading.Lock()
        self._given_up = False

    def start(self) -> None:
        threading.Thread(target=self._wait, name="perdure-lock", daemon=True).start()

    def _wait(self) -> None:
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        with self._settling:
            if self._given_up:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
                os.close(self._descriptor)
            else:
                self.granted.set()

    def settle(self) -> bool:
        """True when the lock was granted; else the helper closes the descriptor at its turn."""
        with self._settling:
            self._given_up = not self.granted.is_set()
            return not self._given_up
