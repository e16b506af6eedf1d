"""Programs whose tasks run in transactions of a database: of the state backend, or of a user.

Each ends by looking at what was committed: what its tasks have written is there once, and is what
they gave.
"""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from perdure import Perdure, wf
from perdure.backends.lending import HasDatabase
from perdure.testing.faults import FaultyBackend, Mode
from perdure.transactions.database import Database, Doors
from tests.programs import RETRY, differs, program

_folder = tempfile.TemporaryDirectory(prefix="perdure-transacting-")

LOOK = "SELECT what, gave FROM effects WHERE store = '{}'"


class MortalSession:
    """A session of one process, whose steps are boundaries of its life."""

    def __init__(self, inner: Any, backend: FaultyBackend, *, lent: bool) -> None:
        self._inner = inner
        self._backend = backend
        # Of a file that is lent nobody else could do anything while it is.
        self._begin = frozenset(Mode) - ({Mode.STOLEN} if lent else set())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def begin(self) -> None:
        self._backend.elsewhere(self._inner.begin, self._begin)

    def commit(self) -> None:
        self._backend.elsewhere(self._inner.commit, frozenset(Mode) - {Mode.STOLEN})

    def close(self) -> None:
        self._inner.close()
        self._backend._lock.release()


class MortalDoor:
    def __init__(self, inner: Any, app: Perdure, *, lent: bool) -> None:
        self._inner = inner
        self._app = app
        self._lent = lent

    def close(self) -> None:
        if hasattr(self._inner, "close"):
            self._inner.close()

    def open(self) -> Any:
        backend = self._app.runtime.backend
        if not isinstance(backend, FaultyBackend):
            return self._inner.open()
        if self._lent:
            backend.elsewhere(lambda: None, {Mode.BEFORE, Mode.STOLEN})
        # First this one and then the file, as every call of the backend does. Held until the end
        # of the session: who took all over meanwhile would wait for the file in vain.
        backend._lock.acquire()
        try:
            return MortalSession(self._inner.open(), backend, lent=self._lent)
        except BaseException:
            backend._lock.release()
            raise


def mortal(app: Perdure, database: Database) -> Database:
    """Let the steps in this database be boundaries of the crash suite."""
    real = database.doors

    def doors() -> Doors:
        found = real()
        lent = type(found.sync).__name__ == "LentDoor"
        return found._replace(sync=MortalDoor(found.sync, app, lent=lent))

    database.doors = doors  # type: ignore[method-assign]
    return database


def file_of(app: Perdure) -> Callable[[], sqlite3.Connection]:
    """What connects to a file of a user; each state backend has its own."""

    def connect() -> sqlite3.Connection:
        path = Path(_folder.name) / f"{app.runtime.store_id.hex()}.db"
        connection = sqlite3.connect(path, check_same_thread=False)
        connection.execute("PRAGMA synchronous = OFF")
        return connection

    return connect


def forget_files() -> None:
    """Let a state backend that has the id of an earlier one begin with no file of a user."""
    for path in Path(_folder.name).iterdir():
        path.unlink()


class Charging:
    """The tasks of these programs, on the database of the state backend or on one of a user."""

    def __init__(self, app: Perdure, *, own: bool) -> None:
        failing = [0]
        backend = app._backend
        has_one = isinstance(backend, HasDatabase) and backend.own_database().kind != "none"
        database = mortal(app, app.database(None if own and has_one else file_of(app)))

        def write(tx: Any, what: str) -> str:
            gave = differs(what, wf.idempotency_key())
            store, safe = app.runtime.store_id.hex(), gave.replace("'", "''")
            tx.execute(f"INSERT INTO effects VALUES ('{store}', '{what}', '{safe}')")
            return gave

        @app.transaction(database, name="prepare")
        def prepare(tx: Any) -> str:
            tx.execute("CREATE TABLE IF NOT EXISTS effects (store TEXT, what TEXT, gave TEXT)")
            return differs()

        @app.transaction(database, name="charge")
        def charge(tx: Any, what: str) -> str:
            return write(tx, what)

        @app.transaction(database, name="flaky", retry=RETRY)
        def flaky(tx: Any, what: str) -> str:
            failing[0] += 1
            gave = write(tx, what)
            if failing[0] % 2:
                raise ConnectionError(differs(what))
            return gave

        @app.transaction(database, name="refused")
        def refused(tx: Any, what: str) -> str:
            write(tx, what)
            raise ValueError(differs(what))

        @app.task(name="look", retry=RETRY)
        def look(gave: list[str]) -> str:
            asked = LOOK.format(app.runtime.store_id.hex())
            with database.transaction() as tx:
                rows = tx.execute(asked).fetchall()
            assert sorted(row[1] for row in rows) == sorted(gave), (rows, gave)
            return differs()

        self.prepare, self.charge, self.flaky, self.refused = prepare, charge, flaky, refused
        self.look = look


def _blocking(app: Perdure, *, own: bool) -> None:
    tasks = Charging(app, own=own)

    @app.workflow(name="main")
    def main() -> list[Any]:
        tasks.prepare()
        seen = [tasks.charge(wf.uuid()), tasks.flaky("b")]
        with contextlib.suppress(ValueError):
            tasks.refused("c")
        seen.append(tasks.charge.start("d").result())
        return [*seen, tasks.look(seen)]


def _awaiting(app: Perdure, *, own: bool) -> None:
    tasks = Charging(app, own=own)

    @app.workflow(name="main")
    async def main() -> list[Any]:
        await tasks.prepare.acall()
        seen = [await tasks.charge.acall(wf.uuid()), await tasks.flaky.acall("b")]
        with contextlib.suppress(ValueError):
            await tasks.refused.acall("c")
        seen.append(await tasks.charge.start("d"))
        return [*seen, await tasks.look.acall(seen)]


@program(twin="acharging")
def charging(app: Perdure) -> None:
    _blocking(app, own=False)


@program(twin="charging")
def acharging(app: Perdure) -> None:
    _awaiting(app, own=False)


@program(twin="acharging_here")
def charging_here(app: Perdure) -> None:
    """In the database of the state backend, where there is one."""
    _blocking(app, own=True)


@program(twin="charging_here")
def acharging_here(app: Perdure) -> None:
    _awaiting(app, own=True)
