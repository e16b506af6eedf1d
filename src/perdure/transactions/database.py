"""A database of the user, as `app.database(...)` gives it."""

from __future__ import annotations

import inspect
import os
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, cast

from perdure.api.client import Client
from perdure.backends.lending import HasDatabase, OwnDatabase
from perdure.backends.urls import file_of
from perdure.core.retry import seconds
from perdure.engine.runtime import Runtime
from perdure.errors import ConfigurationError, RegistrationError
from perdure.transactions import carrying, forgetting
from perdure.transactions.around import Place
from perdure.transactions.carrying import SetAside
from perdure.transactions.ports import Door, Verdict, ended_by_body, roots_of
from perdure.transactions.registering import refuse_nested
from perdure.transactions.sessions import open_session


class AlchemyEngine(Protocol):
    """An `Engine` or `AsyncEngine` of SQLAlchemy, which may not be installed."""

    @property
    def dialect(self) -> Any:
        """Which database it speaks with."""
        ...

    def connect(self) -> Any:
        """A connection."""
        ...


Source = str | Callable[[], Any] | AlchemyEngine | None
"""Where a database is: a URL; a function that connects; an engine; None for that of the state
backend."""

_Kind = Literal["state", "sqlite", "postgres", "function", "engine"]


class Doors(NamedTuple):
    """The ways into a database: for sync code, for async code; and its name for people."""

    sync: Door | None
    later: Door | None
    shown: str


class _Async(Protocol):
    """A session of an async driver."""

    tx: Any

    async def begin(self) -> None: ...
    async def seal(self) -> None: ...
    async def commit(self) -> None: ...
    async def close(self) -> None: ...


class Database:
    """A database in which `@app.transaction(database)` tasks run, and keep what they gave.

    Made by `app.database(...)`. It touches nothing before its first use.
    """

    def __init__(self, source: Source, client: Client, runtime: Callable[[], Runtime]) -> None:
        self._source = source
        self._client = client
        self._runtime = runtime
        self._made: tuple[Runtime, Place] | None = None
        self._kind: _Kind = _kind_of(source)

    def __repr__(self) -> str:
        """Its kind; no URL, it may hold a password."""
        return f"<database {self._kind!r}>"

    @contextmanager
    def transaction(self) -> Generator[Any, None, None]:
        """A transaction for ordinary code: `with orders.transaction() as tx: tx.execute(...)`.

        Committed when the block ends, rolled back when it raises. Nothing is tried again, and
        nothing of it is kept: for that, write a task with `@app.transaction`.

        Raises:
            OperationRefused: in the body of a transaction task; or the block wants to end it.
            DatabaseUnavailable: the database cannot be reached.
        """
        refuse_nested("database.transaction()")
        with open_session(self.place.sync_door()) as session:
            session.begin()
            try:
                yield session.tx
            except Exception as error:
                if session.verdict(error) is Verdict.ENDED:
                    raise ended_by_body() from error
                raise
            session.seal()
            session.commit()

    @asynccontextmanager
    async def transaction_async(self) -> AsyncGenerator[Any, None]:
        """The same in async code: `async with orders.transaction_async() as tx`."""
        refuse_nested("database.transaction_async()")
        session = cast("_Async", await cast("Any", self.place.later_door()).open())
        try:
            await session.begin()
            yield session.tx
            await session.seal()
            await session.commit()
        finally:
            await session.close()

    # --- its tables -----------------------------------------------------------------------------

    def prepare(self) -> None:
        """Make the tables `perdure_outcomes` and `perdure_outbox`, if they are not there.

        The first use does so, too; this is for a user who may make tables where others may not.
        """
        with open_session(self.place.sync_door()):
            return

    def forget(self, older_than: float | timedelta) -> int:
        """Remove outcomes of workflows that have ended; gives how many. Call it now and then.

        Args:
            older_than: seconds or timedelta since they were kept. Longer than any transaction
                could still be under way in a process that was taken for dead: a day, say.
        """
        age = seconds(older_than, "older_than")
        return forgetting.forget(self.place, self._runtime().backend, age)

    def carry(self) -> int:
        """Carry what transactions have put into the outbox and committed; gives how many.

        A worker does so by itself for the databases of `app.relay(...)`.

        Raises:
            BackendError, DatabaseUnavailable: one of the two is away; nothing is lost.
        """
        return carrying.carry(self.place, self._client)

    def set_aside(self, limit: int = 100) -> list[SetAside]:
        """What could not be carried, and why, oldest first."""
        return carrying.aside(self.place, self._client, limit)

    def carry_again(self, id: int) -> bool:
        """Let one that was set aside be tried once more; False if there is none with this id."""
        return carrying.change_aside(self.place, self._client, "carry_again", id)

    def discard(self, id: int) -> bool:
        """Give up one that was set aside; False if there is none with this id."""
        return carrying.change_aside(self.place, self._client, "discard", id)

    def close(self) -> None:
        """Let go of idle connections; using it afterwards opens others."""
        made, self._made = self._made, None
        close = None if made is None else getattr(made[1].door, "close", None)
        if close is not None:
            close()

    # --- for the tasks that run in it -----------------------------------------------------------

    def refuse_colour(self, name: str, *, is_async: bool) -> None:
        """Refuse what its driver cannot run, as far as that is known before it is opened.

        Raises:
            RegistrationError: an async function on sqlite3.
        """
        if is_async and self._kind == "sqlite":
            raise RegistrationError(
                f"Transaction {name!r} is async, and sqlite3 has only connections that block. Make "
                f"it a plain def; async workflows call it as: await {name.rpartition('.')[2]}"
                ".acall(...)."
            )

    @property
    def place(self) -> Place:
        """How it is reached, from this runtime on.

        Raises:
            ConfigurationError: it cannot be used.
            DatabaseUnavailable: a function that connects could not.
        """
        runtime = self._runtime()
        made = self._made
        if made is None or made[0] is not runtime:
            doors, env = self.doors(), runtime.env
            place = Place(
                door=doors.sync,
                async_door=doors.later,
                store=runtime.store_id.hex(),
                shown=doors.shown,
                pause=lambda seconds: cast("None", env.signal().wait(seconds)),
            )
            made = self._made = (runtime, place)
        return made[1]

    def doors(self) -> Doors:
        """The ways into it, new ones.

        Raises:
            ConfigurationError, DatabaseUnavailable: as `place`.
        """
        source, backend = self._source, self._runtime().backend
        own = backend.own_database() if isinstance(backend, HasDatabase) else OwnDatabase("none")
        if source is None:
            return _of_state(own, type(backend).__name__)
        if self._kind == "engine":
            return _of_engine(source, own)
        if not isinstance(source, str):
            return _of_function(cast("Callable[[], Any]", source), own)
        if self._kind == "postgres":
            return _of_postgres(source)
        path = file_of(source, _OPENED_OTHERWISE)
        if own.kind == "sqlite" and _same_file(own.where, path):
            return _of_state(own, "")
        return _of_file(path)


def _kind_of(source: Source) -> _Kind:
    """What a source is.

    Raises:
        ConfigurationError: nothing that can be used.
    """
    if source is None:
        return "state"
    if type(source).__module__.partition(".")[0] == "sqlalchemy":
        return "engine"
    if roots_of(source) & {"sqlite3", "psycopg"}:
        raise ConfigurationError(
            f"app.database() got a {type(source).__name__}, in which one transaction at a time "
            "could run. Give a function that makes one: app.database(lambda: sqlite3.connect(...))."
        )
    if callable(source):
        _refuse_parameters(source)
        return "function"
    scheme, separator, rest = str(source).partition("://")
    if separator and scheme == "sqlite" and rest.startswith("/") and rest[1:] not in _NO_FILE:
        file_of(str(source), _OPENED_OTHERWISE)
        return "sqlite"
    if separator and scheme in {"postgresql", "postgres"}:
        return "postgres"
    shown = f"{scheme}://..." if separator and scheme != "sqlite" else repr(source)
    raise ConfigurationError(
        f"app.database({shown}): expected 'sqlite:///relative/path.db', "
        "'sqlite:////absolute/path.db', 'postgresql://user@host/database', a function without "
        "arguments that connects, an engine of SQLAlchemy, or nothing for the state backend's own."
    )


def _refuse_parameters(connect: Callable[..., Any]) -> None:
    try:
        inspect.signature(connect).bind()
    except TypeError as error:
        raise ConfigurationError(
            f"app.database({connect!r}) cannot call it: {error}. Give a function without "
            "arguments that connects: lambda: psycopg.connect(...)."
        ) from error
    except ValueError:  # it is of C, and does not tell
        return


_OPENED_OTHERWISE = "To open it in a way of your own, give a function that connects."
_NO_FILE = ("", ":memory:")
"""No file; each transaction would have a database of its own."""


def _same_file(own: str, path: str) -> bool:
    try:
        return os.path.samefile(own, path)  # noqa: PTH121 - either may be missing; Path says no more
    except OSError:
        return Path(own) == Path(path).absolute()


def _of_state(own: OwnDatabase, backend: str) -> Doors:
    if own.lend is not None:
        from perdure.transactions.sqlite import LentDoor  # noqa: PLC0415 - only who uses it pays

        shown = f"sqlite:///{own.where}"
        return Doors(cast("Door", LentDoor(own.lend, shown)), None, shown)
    if own.kind == "postgres":
        return _of_postgres(own.where)
    raise ConfigurationError(
        f"app.database() without a URL is the database of the state backend, and {backend} has "
        "none that a transaction could run in: memory has none, several servers have several. "
        "Name one, such as app.database('sqlite:///orders.db')."
    )


def _of_file(path: str) -> Doors:
    from perdure.transactions.sqlite import SQLiteDoor, connecting_to  # noqa: PLC0415 - likewise

    shown = f"sqlite:///{path}"
    return Doors(cast("Door", SQLiteDoor(connecting_to(path), shown)), None, shown)


def _of_postgres(url: str) -> Doors:
    try:
        from perdure.transactions import postgres  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "psycopg":
            raise
        raise ConfigurationError(
            "A postgresql:// URL needs the driver psycopg. Install it with: pip install "
            "'perdure[postgres]'"
        ) from error
    return Doors(*postgres.doors(url))


def _refuse_own_file(own: OwnDatabase, path: str) -> None:
    """Whether a file may be opened past the lock file of the state backend.

    Raises:
        ConfigurationError: it is the state backend's own.
    """
    if own.kind == "sqlite" and path and _same_file(own.where, path):
        raise ConfigurationError(
            f"The file {path!r} is that of the state backend, whose writers queue on a lock file. "
            "Name it by its URL, or write app.database() without anything."
        )


def _of_engine(engine: object, own: OwnDatabase) -> Doors:
    from perdure.transactions import alchemy  # noqa: PLC0415 - an extra

    _refuse_own_file(own, alchemy.file_of(engine))
    return Doors(*alchemy.doors(engine))


def _of_function(connect: Callable[[], Any], own: OwnDatabase) -> Doors:
    """The ways into what a function connects to; it is called once to see what it gives."""
    from perdure.transactions import sqlite  # noqa: PLC0415 - only who uses it pays

    given = connect()
    if isinstance(given, sqlite.Connection):
        path = sqlite.file_of(given)
        given.close()
        _refuse_own_file(own, path)
        return Doors(cast("Door", sqlite.SQLiteDoor(connect, "of a function")), None, "sqlite3")
    if inspect.iscoroutine(given):
        given.close()
    if inspect.iscoroutine(given) or type(given).__module__.startswith("psycopg"):
        from perdure.transactions import postgres  # noqa: PLC0415 - an extra

        if not inspect.iscoroutine(given):
            given.close()
            return Doors(postgres.sync_door(connect), None, "psycopg")
        return Doors(None, postgres.async_door(connect), "psycopg")
    raise ConfigurationError(
        f"app.database({connect!r}): it gave {type(given).__name__}. Expected a connection of "
        "sqlite3 or psycopg, or the coroutine of psycopg.AsyncConnection.connect(...)."
    )
