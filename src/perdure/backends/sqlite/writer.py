"""One writing connection with its own descriptor on the lock file. It knows no table.

The order is fixed: lock file, BEGIN IMMEDIATE, the caller's statements, COMMIT, checkpoint, lock
file. So writers of all processes queue fairly on the lock file, and no checkpoint ever runs beside
a writer, which is what SQLite before 3.51.3 needs.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from perdure.backends.hints import NOTHING, Hint
from perdure.backends.sqlite.bell import Bell
from perdure.backends.sqlite.connections import Settings, connect
from perdure.backends.sqlite.failures import FAILURES, translate, translate_commit
from perdure.backends.sqlite.lockfile import LockFile
from perdure.errors import CommitUnknown

CHECKPOINT_CHANGES = 1_000
"""Row changes of this process between two checkpoints, near the 1,000 pages that SQLite itself
takes: often enough that reads stay fast, seldom enough that its two fsyncs do not show."""

WAL_LOOK_EVERY = 16
"""Transactions between two looks at the size of the log (one `stat`)."""

WAL_BYTES_MAX = 16 * 1024 * 1024
"""A log larger than this is cut to nothing at the next look, if no reader is in the way."""


class TransactionClock:
    """The backend's clock, read at most once per transaction, so that one has one "now"."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._read: int | None = None

    def forget(self) -> None:
        """A new transaction begins."""
        self._read = None

    def __call__(self) -> int:
        if self._read is None:
            self._read = self._clock()
        return self._read


class Writer:
    """Write transactions: `with writer as connection`, one at a time; `Gate` sees to that.

    Args:
        bell: told what others may wait for, as soon as it is committed.
        check: raises, in each transaction, if this program must not write any more.
        checkpoints: False for the renewals: a lease must not wait for a checkpoint.

    Attributes:
        hint: for others, when this transaction is committed.
    """

    def __init__(
        self,
        settings: Settings,
        bell: Bell,
        check: Callable[[sqlite3.Connection], None],
        *,
        checkpoints: bool,
    ) -> None:
        self.lock = LockFile(lock_path(settings))
        self.hint: Hint = NOTHING
        self._bell = bell
        self._check = check
        self.clock = TransactionClock(settings.clock)
        self.connection: sqlite3.Connection | None = None
        self._settings = settings
        self._checkpoints = checkpoints
        self._changes_before = 0
        self._until_look = WAL_LOOK_EVERY

    def __enter__(self) -> sqlite3.Connection:
        """Begin a transaction. What the block does is durable together, or undone together.

        Raises:
            BackendError: it did not begin.
            SchemaMismatch: another program migrated the database, and this one is too old for it.
        """
        try:
            self.lock.acquire(self._settings.timeout)
            connection = self.connection or self.open()
            self.clock.forget()
            self.hint = NOTHING
            connection.execute("BEGIN IMMEDIATE")
            self._check(connection)
        except BaseException as error:
            self.give_up()
            if isinstance(error, FAILURES):
                raise translate(error, self._settings.path) from error
            raise
        return connection

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        """Commit, or undo all of it after an exception.

        Raises:
            CommitUnknown: it may or may not have happened.
            BackendError: it did not happen.
        """
        try:
            if error is None:
                self._commit()
            elif isinstance(error, FAILURES):
                raise translate(error, self._settings.path) from error
        except CommitUnknown:
            self._replace()
            raise
        finally:
            self.give_up()

    def open(self) -> sqlite3.Connection:
        """Connect. The lock file is held."""
        self.connection = connect(self._settings, self.clock, writes=True)
        self._changes_before = 0
        return self.connection

    def _commit(self) -> None:
        connection = self.connection
        assert connection is not None
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise translate_commit(error, self._settings.path) from error
        if self.hint != NOTHING and (descriptor := self.lock.descriptor) is not None:
            self._bell.ring(descriptor, self.hint)
        if self._checkpoints:
            self._checkpoint_if_due(connection)

    def give_up(self) -> None:
        """No transaction is left open and the lock is free, whatever happened."""
        try:
            if self.connection is not None and self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._replace()
        finally:
            self.lock.release()

    def _replace(self) -> None:
        """Close a connection in doubt, under the lock; the next transaction opens another."""
        connection, self.connection = self.connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def _checkpoint_if_due(self, connection: sqlite3.Connection) -> None:
        """After a commit. A checkpoint that fails loses nothing: the log just stays longer."""
        self._until_look -= 1
        if self._until_look <= 0:
            self._until_look = WAL_LOOK_EVERY
            if wal_bytes(self._settings.path) > WAL_BYTES_MAX:
                self._checkpoint(connection, "TRUNCATE")
                return
        if connection.total_changes - self._changes_before >= CHECKPOINT_CHANGES:
            self._checkpoint(connection, "PASSIVE")

    def _checkpoint(self, connection: sqlite3.Connection, mode: str) -> None:
        self._changes_before = connection.total_changes
        with suppress(sqlite3.Error):
            connection.execute("PRAGMA busy_timeout = 0")
            connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchall()
            milliseconds = int(self._settings.timeout * 1_000)
            connection.execute(f"PRAGMA busy_timeout = {milliseconds}")


def lock_path(settings: Settings) -> str:
    """The lock file of a database."""
    return f"{settings.path}-lock"


def wal_bytes(path: str) -> int:
    """Size of the write-ahead log file, 0 when there is none."""
    try:
        return Path(f"{path}-wal").stat().st_size
    except OSError:
        return 0
