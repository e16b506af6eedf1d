"""Opens SQLite connections with our settings, and keeps the readers. It writes no row.

Nobody but SQLite may open and close the database file in a process that uses it: closing any
descriptor on the file drops the POSIX locks of all of them.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import Literal, NamedTuple
from urllib.parse import quote

from perdure.errors import BackendUnavailable

Synchronous = Literal["full", "normal"]

READERS_MAX = 8
"""Read connections of one process. Reads are short; more of them would only cost descriptors."""

_STATEMENTS_CACHED = 256
"""Prepared statements kept per connection: more than we have, so none is prepared twice."""

SQLITE_MIN = (3, 37, 0)
"""STRICT tables came with 3.37."""


class Settings(NamedTuple):
    """What every connection of one backend shares. `timeout` is in seconds."""

    path: str
    synchronous: Synchronous
    timeout: float
    read_only: bool
    clock: Callable[[], int]


def connect(settings: Settings, clock: Callable[[], int], *, writes: bool) -> sqlite3.Connection:
    """A connection to an existing file; it never makes one.

    `perdure_now()` in SQL is `clock()`. Automatic checkpoints are off on every connection, because
    a checkpoint outside the lock file can damage the log of SQLite before 3.51.3.

    Raises:
        sqlite3.Error: the file cannot be opened or is no database.
    """
    if sqlite3.sqlite_version_info < SQLITE_MIN:
        raise BackendUnavailable(
            f"This Python has SQLite {sqlite3.sqlite_version}; perdure needs "
            f"{'.'.join(map(str, SQLITE_MIN))} or newer. Use another build of Python."
        )
    mode = "ro" if settings.read_only else "rw"
    connection = sqlite3.connect(
        f"file:{quote(settings.path)}?mode={mode}",
        uri=True,
        timeout=settings.timeout,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=_STATEMENTS_CACHED,
    )
    try:
        connection.create_function("perdure_now", 0, clock)
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("PRAGMA mmap_size = 0")
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute(f"PRAGMA synchronous = {settings.synchronous.upper()}")
        if not writes:
            connection.execute("PRAGMA query_only = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def create_file(path: str) -> None:
    """Make an empty file of mode 0600 if there is none. Of two processes, one makes it.

    Only a file that this call made is opened here; an existing one never is (see the module).

    Raises:
        BackendUnavailable: the directory is missing or not writable.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return
    except OSError as error:
        raise BackendUnavailable(
            f"The database {path!r} cannot be made: {error.strerror}. Its directory must exist and "
            "be writable for this user. Create or mend it, or name another path."
        ) from error


class Readers:
    """Idle read connections, newest used first. Each is used by one thread at a time."""

    def __init__(self, open_one: Callable[[], sqlite3.Connection]) -> None:
        self._open_one = open_one
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._all: list[sqlite3.Connection] = []
        self._idle: list[sqlite3.Connection] = []
        self._lent = 0

    @contextmanager
    def borrow(self) -> Generator[sqlite3.Connection, None, None]:
        """A connection outside of any transaction, given back in the same state."""
        connection = self.take()
        try:
            yield connection
        finally:
            self.give(connection)

    def hold_still(self, timeout: float) -> bool:
        """Wait until none is lent and lend none from here on; False if that took too long."""
        deadline = time.monotonic() + timeout
        self._changed.acquire()
        while self._lent:
            if not self._changed.wait(max(0.0, deadline - time.monotonic())):
                self._changed.release()
                return False
        return True

    def go_on(self) -> None:
        """Undo `hold_still`."""
        self._changed.release()

    def everyone(self) -> list[sqlite3.Connection]:
        """Every connection that was opened and not forgotten, lent ones too."""
        return list(self._all)

    def forget_all(self) -> None:
        """They are closed or given up; the caller called `hold_still`."""
        self._all, self._idle = [], []

    def take(self) -> sqlite3.Connection:
        """A connection outside of any transaction. It comes back by `give`."""
        with self._lock:
            while self._lent >= READERS_MAX:
                self._changed.wait()
            self._lent += 1
            if self._idle:
                return self._idle.pop()
        try:
            connection = self._open_one()
        except BaseException:
            with self._lock:
                self._lent -= 1
                self._changed.notify_all()
            raise
        with self._lock:
            self._all.append(connection)
        return connection

    def give(self, connection: sqlite3.Connection) -> None:
        """Back among the idle ones; one that cannot end its transaction is set aside for good."""
        with self._lock:
            with suppress(sqlite3.Error):
                if connection.in_transaction:
                    connection.rollback()
                self._idle.append(connection)
            self._lent -= 1
            self._changed.notify_all()
