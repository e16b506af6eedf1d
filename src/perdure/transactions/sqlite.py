"""Transactions through sqlite3: on a file of the user, or on the file of the state backend."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress

from perdure.errors import BackendError, DatabaseUnavailable, OperationRefused
from perdure.transactions.ports import Rows, Values, Verdict, ended_by_body, refuse_if_ended
from perdure.transactions.statements import MAKING, SQLITE

BUSY_SECONDS = 5.0
"""How long a statement waits for another writer before the try is given up, and made again."""

PRIMARY = 0xFF
"""The low byte of an extended result code is the primary one."""
BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})
_DOUBTFUL = frozenset({sqlite3.SQLITE_IOERR, sqlite3.SQLITE_INTERRUPT})
"""A COMMIT that failed with these may be found done when the file is opened again."""

Connection = sqlite3.Connection


class SQLiteSession:
    """One connection for one try."""

    def __init__(self, connection: sqlite3.Connection, close: Callable[[], object]) -> None:
        self.tx = connection
        self._close = close

    def begin(self) -> None:
        """See `Session.begin`. A writer from the start: no look of the body can be outdated."""
        self.tx.execute("BEGIN IMMEDIATE")
        self.tx.set_authorizer(_refuse_ends)

    def seal(self) -> None:
        """See `Session.seal`."""
        try:
            self.tx.set_authorizer(None)
        except sqlite3.ProgrammingError as error:  # it has closed the connection
            raise ended_by_body() from error
        refuse_if_ended(is_open=self.tx.in_transaction)

    def fetch(self, name: str, values: Values) -> Rows:
        """See `Session.fetch`."""
        return self._done(name, values).fetchall()

    def change(self, name: str, values: Values) -> int:
        """See `Session.change`."""
        return self._done(name, values).rowcount

    def commit(self) -> None:
        """See `Session.commit`."""
        self.tx.set_authorizer(None)
        self.tx.commit()

    def roll_back(self) -> None:
        """See `Session.roll_back`."""
        with suppress(sqlite3.Error):
            self.tx.set_authorizer(None)
            self.tx.rollback()

    def close(self) -> None:
        """See `Session.close`."""
        self.roll_back()
        self._close()

    def verdict(self, error: BaseException) -> Verdict:
        """See `Session.verdict`."""
        if isinstance(error, OperationRefused):
            return Verdict.REFUSED
        if not isinstance(error, sqlite3.Error):
            return Verdict.FOREIGN
        code = getattr(error, "sqlite_errorcode", 0) & PRIMARY
        if code in BUSY:
            return Verdict.CONFLICT
        if code == sqlite3.SQLITE_AUTH:  # by `_refuse_ends`
            return Verdict.ENDED
        return Verdict.LOST if code in _DOUBTFUL else Verdict.REFUSED

    def _done(self, name: str, values: Values) -> sqlite3.Cursor:
        cursor = self.tx.cursor()
        cursor.row_factory = None  # the user's connection may have one
        return cursor.execute(SQLITE[name], values)


def _refuse_ends(action: int, *_: object) -> int:
    """Let no statement of a body end its transaction; savepoints in it are its own."""
    return sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_TRANSACTION else sqlite3.SQLITE_OK


class SQLiteDoor:
    """Opens a file of the user, a connection for each try."""

    def __init__(self, connect: Callable[[], sqlite3.Connection], shown: str) -> None:
        self._connect = connect
        self._shown = shown
        self._is_made = False

    def open(self) -> SQLiteSession:
        """See `Door.open`."""
        try:
            connection = self._connect()
        except sqlite3.Error as error:
            raise away(self._shown, error) from error
        return self.session(connection, connection.close)

    def session(self, connection: sqlite3.Connection, close: Callable[[], object]) -> SQLiteSession:
        """A session on this connection; it is closed if there can be none."""
        try:
            connection.isolation_level = None
            if not self._is_made:
                for name in MAKING:
                    connection.execute(SQLITE[name])
                self._is_made = True
        except sqlite3.Error as error:
            close()
            raise away(self._shown, error) from error
        return SQLiteSession(connection, close)


class LentDoor(SQLiteDoor):
    """Borrows connections to the file of the state backend."""

    def __init__(
        self, lend: Callable[[], AbstractContextManager[sqlite3.Connection]], shown: str
    ) -> None:
        super().__init__(_no_connection, shown)
        self._lend = lend

    def open(self) -> SQLiteSession:
        """See `Door.open`. Until the session is closed, nobody else writes to the file."""
        lent = self._lend()
        try:
            connection = lent.__enter__()
        except BackendError as error:
            raise away(self._shown, error) from error
        return self.session(connection, lambda: lent.__exit__(None, None, None))


def _no_connection() -> sqlite3.Connection:
    raise AssertionError("connections are lent here")


def away(shown: str, error: BaseException) -> DatabaseUnavailable:
    """What is said of a database that gives no session."""
    return DatabaseUnavailable(
        f"The database {shown} of a transaction cannot be used now: {type(error).__name__}: "
        f"{str(error).rstrip('.')}. Nothing is lost; it is tried again in some seconds. Check that "
        "it exists, and that this user may read and write it and make the tables "
        "perdure_outcomes and perdure_outbox in it."
    )


def file_of(connection: sqlite3.Connection) -> str:
    """The file that a connection has open, "" if there is none."""
    cursor = connection.cursor()
    cursor.row_factory = None
    rows = cursor.execute("PRAGMA database_list").fetchall()
    return str(rows[0][2] or "") if rows else ""


def connecting_to(path: str) -> Callable[[], sqlite3.Connection]:
    """What opens a file, and makes it if it is not there."""
    return lambda: sqlite3.connect(
        path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
