"""Transactions through psycopg, sync and async. Imported only where such a database is used."""

from __future__ import annotations

import os
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, cast

import psycopg
from psycopg import AsyncConnection, Connection, errors
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from perdure.errors import ConfigurationError, OperationRefused
from perdure.transactions.ports import Door, Rows, Values, Verdict, refuse_if_ended
from perdure.transactions.sqlite import away
from perdure.transactions.statements import MAKING, POSTGRES, for_psycopg

CONNECT_SECONDS = 10
"""How long one try to connect may take."""
IDLE_MAX = 4
"""Idle connections that one process keeps for its next transactions."""

_CONFLICTS = (errors.SerializationFailure, errors.DeadlockDetected)

_TEXTS = {name: for_psycopg(text) for name, text in POSTGRES.items()}


def parameters_of(url: str) -> dict[str, Any]:
    """What a URL says of where to connect.

    Raises:
        ConfigurationError: it is no such URL. It may hold a password, so it is not shown.
    """
    try:
        found = conninfo_to_dict(url)
    except (psycopg.ProgrammingError, UnicodeError):
        raise ConfigurationError(
            "The database URL of a transaction is no URL of PostgreSQL. Expected "
            "'postgresql://user:password@host/database', with the special characters of a password "
            "percent-encoded."
        ) from None
    found.setdefault("connect_timeout", CONNECT_SECONDS)
    return dict(found)


def shown_of(parameters: dict[str, Any]) -> str:
    """Server and database for people: no user, password or option."""
    host, database = parameters.get("host", "localhost"), parameters.get("dbname", "(default)")
    return f"postgresql://{host}/{database}"


def _verdict(connection: Any, error: BaseException) -> Verdict:
    if isinstance(error, OperationRefused):
        return Verdict.REFUSED
    if not isinstance(error, psycopg.Error):
        return Verdict.FOREIGN
    if connection.broken:
        return Verdict.LOST
    return Verdict.CONFLICT if isinstance(error, _CONFLICTS) else Verdict.REFUSED


def _is_open(connection: Any) -> bool:
    """Whether its transaction is neither over nor begun anew behind our back."""
    if connection.closed:
        return False
    status: TransactionStatus = connection.info.transaction_status
    return status in {TransactionStatus.INTRANS, TransactionStatus.INERROR}


class PostgresSession:
    """One connection for one try."""

    def __init__(self, connection: Connection[Any], close: Callable[[], object]) -> None:
        self.tx = connection
        self._close = close
        self._block: Any = None

    def begin(self) -> None:
        """See `Session.begin`. In such a block psycopg itself refuses commit and rollback."""
        self._block = self.tx.transaction()
        self._block.__enter__()

    def seal(self) -> None:
        """See `Session.seal`."""
        refuse_if_ended(is_open=_is_open(self.tx))

    def fetch(self, name: str, values: Values) -> Rows:
        """See `Session.fetch`."""
        return self._cursor().execute(_TEXTS[name], values).fetchall()

    def change(self, name: str, values: Values) -> int:
        """See `Session.change`."""
        return self._cursor().execute(_TEXTS[name], values).rowcount

    def commit(self) -> None:
        """See `Session.commit`."""
        block, self._block = self._block, None
        block.__exit__(None, None, None)

    def roll_back(self) -> None:
        """See `Session.roll_back`."""
        block, self._block = self._block, None
        if block is not None:
            with suppress(psycopg.Error):
                block.__exit__(psycopg.Rollback, psycopg.Rollback(), None)

    def close(self) -> None:
        """See `Session.close`."""
        self.roll_back()
        self._close()

    def verdict(self, error: BaseException) -> Verdict:
        """See `Session.verdict`."""
        return _verdict(self.tx, error)

    def _cursor(self) -> psycopg.Cursor[Any]:
        return self.tx.cursor(row_factory=tuple_row)  # the user's may have another one


class AsyncPostgresSession:
    """The same with awaits."""

    def __init__(
        self, connection: AsyncConnection[Any], close: Callable[[], Awaitable[object]]
    ) -> None:
        self.tx = connection
        self._close = close
        self._block: Any = None

    async def begin(self) -> None:
        """See `Session.begin`."""
        self._block = self.tx.transaction()
        await self._block.__aenter__()

    async def seal(self) -> None:
        """See `Session.seal`."""
        refuse_if_ended(is_open=_is_open(self.tx))

    async def fetch(self, name: str, values: Values) -> Rows:
        """See `Session.fetch`."""
        return await (await self._cursor().execute(_TEXTS[name], values)).fetchall()

    async def change(self, name: str, values: Values) -> int:
        """See `Session.change`."""
        return (await self._cursor().execute(_TEXTS[name], values)).rowcount

    async def commit(self) -> None:
        """See `Session.commit`."""
        block, self._block = self._block, None
        await block.__aexit__(None, None, None)

    async def roll_back(self) -> None:
        """See `Session.roll_back`."""
        block, self._block = self._block, None
        if block is not None:
            with suppress(psycopg.Error):
                await block.__aexit__(psycopg.Rollback, psycopg.Rollback(), None)

    async def close(self) -> None:
        """See `Session.close`."""
        await self.roll_back()
        await self._close()

    def verdict(self, error: BaseException) -> Verdict:
        """See `Session.verdict`."""
        return _verdict(self.tx, error)

    def _cursor(self) -> psycopg.AsyncCursor[Any]:
        return self.tx.cursor(row_factory=tuple_row)


def doors(url: str) -> tuple[Door, Door, str]:
    """The sync and the async way to the database of a URL, and its name for people."""
    parameters = parameters_of(url)
    shown = shown_of(parameters)
    return (
        cast("Door", PostgresDoor(lambda: Connection.connect(**parameters), shown)),
        cast("Door", AsyncPostgresDoor(lambda: AsyncConnection.connect(**parameters), shown)),
        shown,
    )


def sync_door(connect: Callable[[], Any]) -> Door:
    """The way to what a function connects to."""
    return cast("Door", PostgresDoor(connect, "of a function"))


def async_door(connect: Callable[[], Any]) -> Door:
    """The way to what a function connects to, which is awaited."""
    return cast("Door", AsyncPostgresDoor(connect, "of a function"))


class PostgresDoor:
    """Opens sync connections, and keeps idle ones for the next transactions. Thread-safe."""

    def __init__(self, connect: Callable[[], Connection[Any]], shown: str) -> None:
        self._connect = connect
        self._shown = shown
        self._lock = threading.Lock()
        self._idle: list[Connection[Any]] = []
        self._pid = os.getpid()
        self._is_made = False
        self._is_closed = False

    def open(self) -> PostgresSession:
        """See `Door.open`."""
        connection = self._take()
        try:
            if connection is None:
                connection = self._connect()
                connection.autocommit = True
            if not self._is_made:
                _make(connection)
                self._is_made = True
        except psycopg.Error as error:
            if connection is not None:
                connection.close()
            raise away(self._shown, error) from error
        opened = connection
        return PostgresSession(opened, lambda: self._give(opened))

    def _take(self) -> Connection[Any] | None:
        """An idle one that the server has not hung up on."""
        while True:
            with self._lock:
                if self._pid != os.getpid():
                    # Closing them here would end the sessions of the parent.
                    _inherited.extend(self._idle)
                    self._idle, self._pid = [], os.getpid()
                if not self._idle:
                    return None
                connection = self._idle.pop()
            with suppress(psycopg.Error):
                connection.pgconn.consume_input()
                connection.pgconn.consume_input()  # the first may read the server's last words
                return connection
            connection.close()

    def _give(self, connection: Connection[Any]) -> None:
        at_rest = (
            not connection.closed and connection.info.transaction_status == TransactionStatus.IDLE
        )
        with self._lock:
            has_room = len(self._idle) < IDLE_MAX and not self._is_closed
            if at_rest and has_room and self._pid == os.getpid():
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Let go of the idle ones, and keep none from here on."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
        if self._pid == os.getpid():
            for connection in idle:
                connection.close()


_inherited: list[Connection[Any]] = []
"""Connections of a parent process. They must not be closed here, and garbage would be."""


class AsyncPostgresDoor:
    """Opens async connections, one for each try: one belongs to the loop that made it."""

    def __init__(self, connect: Callable[[], Awaitable[AsyncConnection[Any]]], shown: str) -> None:
        self._connect = connect
        self._shown = shown
        self._is_made = False

    async def open(self) -> AsyncPostgresSession:
        """See `Door.open`."""
        connection: AsyncConnection[Any] | None = None
        try:
            connection = await self._connect()
            await connection.set_autocommit(True)
            if not self._is_made:
                await _make_async(connection)
                self._is_made = True
        except psycopg.Error as error:
            if connection is not None:
                await connection.close()
            raise away(self._shown, error) from error
        return AsyncPostgresSession(connection, connection.close)


def _make(connection: Connection[Any]) -> None:
    """Make the tables, if they are not there."""
    row = connection.cursor(row_factory=tuple_row).execute(_TEXTS["is_made"]).fetchone()
    if row is None or not row[0]:
        with connection.transaction():
            for name in ("queue_up", *MAKING):
                connection.execute(_TEXTS[name])


async def _make_async(connection: AsyncConnection[Any]) -> None:
    done = await connection.cursor(row_factory=tuple_row).execute(_TEXTS["is_made"])
    row = await done.fetchone()
    if row is None or not row[0]:
        async with connection.transaction():
            for name in ("queue_up", *MAKING):
                await connection.execute(_TEXTS[name])
