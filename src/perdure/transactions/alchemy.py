"""Transactions through SQLAlchemy, sync and async. Imported only where an engine of it is given."""

from __future__ import annotations

import re
import sqlite3
from contextlib import suppress
from typing import Any, cast

from sqlalchemy import event, text
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from perdure.errors import ConfigurationError, OperationRefused
from perdure.transactions.ports import Door, Rows, Values, Verdict, refuse_if_ended
from perdure.transactions.sqlite import BUSY, PRIMARY, away
from perdure.transactions.statements import MAKING, POSTGRES, SQLITE

_DIALECTS = {"sqlite": SQLITE, "postgresql": POSTGRES}
_CONFLICTS = frozenset({"40001", "40P01"})
"""Serialization failure and deadlock, as PostgreSQL numbers them."""


def statements_of(dialect: str) -> dict[str, Any]:
    """Our statements for a dialect.

    Raises:
        ConfigurationError: there are none.
    """
    if dialect not in _DIALECTS:
        raise ConfigurationError(
            f"app.database(engine) with an engine for {dialect!r}: transactions are known for "
            f"{' and '.join(_DIALECTS)} only."
        )
    return {name: text(each) for name, each in _DIALECTS[dialect].items()}


def _verdict(connection: Any, error: BaseException) -> Verdict:
    if isinstance(error, OperationRefused):
        return Verdict.REFUSED
    if not isinstance(error, SQLAlchemyError):
        return Verdict.FOREIGN
    if connection.invalidated:
        return Verdict.LOST
    cause = error.orig if isinstance(error, DBAPIError) else None
    state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    if state in _CONFLICTS:
        return Verdict.CONFLICT
    is_busy = getattr(cause, "sqlite_errorcode", 0) & PRIMARY in BUSY
    return Verdict.CONFLICT if is_busy and isinstance(cause, sqlite3.Error) else Verdict.REFUSED


_ENDS = re.compile(
    r"\s*(COMMIT|END|ABORT|ROLLBACK(?!\s+(WORK\s+|TRANSACTION\s+)?TO\b))\b", re.IGNORECASE
)
"""A statement that would end the transaction; a rollback to a savepoint does not."""


class _Guard:
    """Keeps a body from ending its transaction."""

    def __init__(self, connection: Connection) -> None:
        self.is_up = False
        event.listen(connection, "commit", self._refuse)
        event.listen(connection, "rollback", self._refuse)
        event.listen(connection, "before_cursor_execute", self._look)

    def _refuse(self, _: object) -> None:
        refuse_if_ended(is_open=not self.is_up)

    def _look(self, _: object, __: object, statement: str, *___: object) -> None:
        if self.is_up and _ENDS.match(statement):
            refuse_if_ended(is_open=False)


def _undo(connection: Connection) -> None:
    """Roll back, also what SQLAlchemy takes to be over because the guard has refused its end."""
    block = connection.get_transaction()
    if block is not None:
        block.rollback()
    if not connection.invalidated:
        connection.connection.rollback()


class AlchemySession:
    """One connection for one try."""

    def __init__(self, connection: Connection, statements: dict[str, Any]) -> None:
        self.tx = connection
        self._statements = statements
        self._guard = _Guard(connection)
        self._block: Any = None

    def begin(self) -> None:
        """See `Session.begin`."""
        self._block = self.tx.begin()
        self._guard.is_up = True

    def seal(self) -> None:
        """See `Session.seal`."""
        self._guard.is_up = False
        refuse_if_ended(is_open=self._block.is_active)

    def fetch(self, name: str, values: Values) -> Rows:
        """See `Session.fetch`."""
        rows = self.tx.execute(self._statements[name], dict(values)).all()
        if self._block is None:
            self.tx.rollback()  # it has begun one by itself
        return cast("Rows", rows)

    def change(self, name: str, values: Values) -> int:
        """See `Session.change`."""
        return self.tx.execute(self._statements[name], dict(values)).rowcount

    def commit(self) -> None:
        """See `Session.commit`."""
        self._guard.is_up = False
        block, self._block = self._block, None
        block.commit()

    def roll_back(self) -> None:
        """See `Session.roll_back`."""
        self._guard.is_up = False
        begun, self._block = self._block is not None, None
        if begun:
            with suppress(SQLAlchemyError):
                _undo(self.tx)

    def close(self) -> None:
        """See `Session.close`."""
        self.roll_back()
        self.tx.close()

    def verdict(self, error: BaseException) -> Verdict:
        """See `Session.verdict`."""
        return _verdict(self.tx, error)


class AsyncAlchemySession:
    """The same with awaits."""

    def __init__(self, connection: AsyncConnection, statements: dict[str, Any]) -> None:
        self.tx = connection
        self._statements = statements
        self._guard = _Guard(cast("Connection", connection.sync_connection))
        self._block: Any = None

    async def begin(self) -> None:
        """See `Session.begin`."""
        self._block = await self.tx.begin()
        self._guard.is_up = True

    async def seal(self) -> None:
        """See `Session.seal`."""
        self._guard.is_up = False
        refuse_if_ended(is_open=self._block.is_active)

    async def fetch(self, name: str, values: Values) -> Rows:
        """See `Session.fetch`."""
        rows = (await self.tx.execute(self._statements[name], dict(values))).all()
        if self._block is None:
            await self.tx.rollback()
        return cast("Rows", rows)

    async def change(self, name: str, values: Values) -> int:
        """See `Session.change`."""
        return (await self.tx.execute(self._statements[name], dict(values))).rowcount

    async def commit(self) -> None:
        """See `Session.commit`."""
        self._guard.is_up = False
        block, self._block = self._block, None
        await block.commit()

    async def roll_back(self) -> None:
        """See `Session.roll_back`."""
        self._guard.is_up = False
        begun, self._block = self._block is not None, None
        if begun:
            with suppress(SQLAlchemyError):
                await self.tx.run_sync(_undo)

    async def close(self) -> None:
        """See `Session.close`."""
        await self.roll_back()
        await self.tx.close()

    def verdict(self, error: BaseException) -> Verdict:
        """See `Session.verdict`."""
        return _verdict(self.tx, error)


class AlchemyDoor:
    """Takes connections of an engine of the user, which pools them as it was told to."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._statements = statements_of(engine.dialect.name)
        self._is_made = False

    def open(self) -> AlchemySession:
        """See `Door.open`."""
        try:
            connection = self._engine.connect()
        except SQLAlchemyError as error:
            raise away(shown_of(self._engine), error) from error
        try:
            if not self._is_made:
                with connection.begin():
                    _make(connection, self._statements)
                self._is_made = True
        except SQLAlchemyError as error:
            connection.close()
            raise away(shown_of(self._engine), error) from error
        return AlchemySession(connection, self._statements)


class AsyncAlchemyDoor:
    """The same with awaits."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._statements = statements_of(engine.dialect.name)
        self._is_made = False

    async def open(self) -> AsyncAlchemySession:
        """See `Door.open`."""
        try:
            connection = await self._engine.connect()
        except SQLAlchemyError as error:
            raise away(shown_of(self._engine), error) from error
        try:
            if not self._is_made:
                async with connection.begin():
                    await connection.run_sync(_make, self._statements)
                self._is_made = True
        except SQLAlchemyError as error:
            await connection.close()
            raise away(shown_of(self._engine), error) from error
        return AsyncAlchemySession(connection, self._statements)


def _make(connection: Connection, statements: dict[str, Any]) -> None:
    """Make the tables, if they are not there."""
    if "is_made" in statements:
        if connection.execute(statements["is_made"]).scalar():
            return
        connection.execute(statements["queue_up"])
    for name in MAKING:
        connection.execute(statements[name])


def shown_of(engine: Engine | AsyncEngine) -> str:
    """Dialect, server and database for people: no user, password or option."""
    url = engine.url
    return f"{url.get_backend_name()}://{url.host or ''}/{url.database or ''}"


def file_of(engine: object) -> str:
    """The SQLite file of an engine, "" if it has none."""
    if not isinstance(engine, Engine | AsyncEngine) or engine.dialect.name != "sqlite":
        return ""
    return engine.url.database or ""


def doors(engine: object) -> tuple[Door | None, Door | None, str]:
    """The sync or the async way to the database of an engine, and its name for people.

    Raises:
        ConfigurationError: it is no engine, or one for another database.
    """
    if isinstance(engine, AsyncEngine):
        return None, cast("Door", AsyncAlchemyDoor(engine)), shown_of(engine)
    if isinstance(engine, Engine):
        return cast("Door", AlchemyDoor(engine)), None, shown_of(engine)
    raise ConfigurationError(
        f"app.database() got {type(engine).__name__} of SQLAlchemy: expected an Engine "
        "(create_engine) or AsyncEngine (create_async_engine)."
    )
