"""A newer program migrates the database under a running one: that one writes nothing any more."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from perdure import Perdure
from perdure.backends.base import Finish, InvocationQuery
from perdure.backends.postgres import PostgresBackend, schema
from perdure.backends.postgres.connections import connect, parse
from perdure.backends.server import Server
from perdure.backends.sqlite import SQLiteBackend
from perdure.backends.versions import HasSchema
from perdure.core.lifecycle import InvocationState
from perdure.errors import DatabaseUnavailable, PerdureError, SchemaMismatch
from perdure.testing.contract import Clock, World
from perdure.testing.contract.world import APP, LEASE
from tests.support.stores import LONG

AHEAD = "has schema 99, which needs a perdure that knows schema 99 to write it; this one knows"


class Database:
    """One database, how to open it, and how a newer program changes what it says of itself."""

    def __init__(self, kind: str, folder: Path, postgres: Callable[[], str]) -> None:
        self.path = folder / "perdure.db"
        self.url = f"sqlite:///{self.path}"
        if kind != "sqlite":
            self.url = postgres() + ("?pooler=transaction" if kind == "pooled" else "")
        self.is_sqlite = kind == "sqlite"
        self.is_ahead = False

    def open(self, clock: Clock | None = None) -> Server:
        if self.is_sqlite:
            return SQLiteBackend(self.path, now=clock or Clock())
        return PostgresBackend(self.url, now=clock)

    def migrated(self, **versions: int) -> None:
        self.is_ahead = True
        changes = ", ".join(f"{name} = {number}" for name, number in versions.items())
        if self.is_sqlite:
            connection = sqlite3.connect(self.path, isolation_level=None)
            connection.execute(f"UPDATE meta SET {changes}")
            connection.close()
        else:
            with psycopg.connect(self.url.partition("?")[0], autocommit=True) as session:
                session.execute(f"UPDATE perdure.meta SET {changes}".encode())


@pytest.fixture(params=["sqlite", "postgres", "pooled"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    return Database(request.param, tmp_path, lambda: request.getfixturevalue("fresh_postgres_url"))


@pytest.fixture
def world(database: Database) -> Iterator[World]:
    clock = Clock()
    backend = database.open(clock)
    yield World(backend, clock)
    backend.close()


CALLS: dict[str, Callable[[World, Any], object]] = {
    "start": lambda world, _: world.start("b"),
    "claimed start": lambda world, _: world.backend.start(
        world.new("b"), "raise", claim=world.claim_at_start()
    ),
    "claim": lambda world, _: world.claim(),
    "commit": lambda world, taken: world.backend.commit([world.transition(taken, b"entry")]),
    "end": lambda world, taken: world.backend.commit(
        [world.transition(taken, disposition=Finish(InvocationState.COMPLETED, b"1"))]
    ),
    "renew": lambda world, taken: world.backend.renew("worker-1", [world.holding(taken)], LEASE),
}


@pytest.mark.parametrize("name", CALLS)
def test_nothing_is_written_by_a_program_that_is_too_old(
    database: Database, world: World, name: str
) -> None:
    taken = world.running()
    world.start("free")
    before = world.backend.query(InvocationQuery(app=APP))
    database.migrated(schema_version=99, min_writer=99)
    for _ in range(2):
        with pytest.raises(SchemaMismatch, match=f"{AHEAD}.*Upgrade perdure"):
            CALLS[name](world, taken)
    assert world.backend.query(InvocationQuery(app=APP)) == before, "it may still be read"
    assert world.backend.read_journal(taken.key) == []


def test_a_schema_that_older_programs_may_write_disturbs_nobody(
    database: Database, world: World
) -> None:
    taken = world.running()
    database.migrated(schema_version=99)
    for call in CALLS.values():
        if call is not CALLS["claimed start"]:  # the same id as that of "start"
            call(world, taken)
            taken = world.read(taken.key)
    assert taken.state is InvocationState.COMPLETED


def test_a_standing_worker_stops_and_tells_why(database: Database) -> None:
    told: list[PerdureError] = []
    stopped = threading.Event()

    def on_stop(error: PerdureError) -> None:
        told.append(error)
        stopped.set()

    with Perdure(database.url, local_worker=False) as app:
        app.task(name="nothing")(lambda: None)
        app.start_worker(on_stop=on_stop)
        database.migrated(schema_version=99, min_writer=99)
        assert stopped.wait(LONG)
    (error,) = told
    assert isinstance(error, SchemaMismatch)


def test_who_waits_here_hears_of_it(database: Database) -> None:
    with Perdure(database.url) as app:

        @app.workflow
        def main() -> str:
            database.migrated(schema_version=99, min_writer=99)
            return "done"

        with pytest.raises(SchemaMismatch, match=AHEAD):
            main()


def test_a_transaction_of_the_user_is_still_made_once(database: Database) -> None:
    """Whether it was refused or its outcome only could not be recorded."""
    with Perdure(database.url, lease=2.0) as app:

        @app.transaction(app.database())
        def pay(connection: Any) -> str:
            connection.execute("CREATE TABLE paid (amount INTEGER)")
            return "paid"

        @app.workflow
        def main() -> str:
            if not database.is_ahead:
                database.migrated(schema_version=99, min_writer=99)
            return pay()

        handle = main.start()
        with pytest.raises((SchemaMismatch, DatabaseUnavailable), match=AHEAD):
            handle.result()
        database.migrated(schema_version=known(app), min_writer=1)
        assert settled(handle) == "paid"


def settled(handle: Any) -> Any:
    """Its result, as soon as no try that was refused before is told any more."""
    deadline = time.monotonic() + LONG
    while time.monotonic() < deadline:
        with contextlib.suppress(SchemaMismatch, DatabaseUnavailable):
            return handle.result(LONG)
    raise AssertionError("it was refused to the end")


def known(app: Perdure) -> int:
    """The newest schema that this program knows."""
    backend = app.runtime.backend
    assert isinstance(backend, HasSchema)
    return backend.schema_status().known


class Migration:
    """A newer program's migration of a PostgreSQL database, on a thread of its own."""

    def __init__(self, url: str) -> None:
        known = schema.load_migrations()
        number = len(known) + 1
        script = "CREATE TABLE perdure.later (x integer);"
        self._newer = (*known, schema.Migration(number, number, number, "later", script))
        self._url = url
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        with connect(parse(self._url)) as session:
            schema.migrate(session, "here", self._newer, bytes(16))


def blocked(session: psycopg.Connection[Any], count: int) -> None:
    """Wait until so many sessions on this database wait for a lock."""
    deadline = time.monotonic() + LONG
    asked = (
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    while session.execute(asked).fetchone() != (count,):
        assert time.monotonic() < deadline, f"{count} never waited"


def test_a_migration_waits_for_who_writes_and_no_write_slips_past_it(
    fresh_postgres_url: str,
) -> None:
    """A statement that waits while the schema changes is checked against the new one."""
    clock = Clock()
    backend = PostgresBackend(fresh_postgres_url, now=clock)
    world = World(backend, clock)
    kept = world.start("kept")
    migration = Migration(fresh_postgres_url)
    refused: list[BaseException] = []

    def write() -> None:
        try:
            world.start("late")
        except SchemaMismatch as error:
            refused.append(error)

    late = threading.Thread(target=write, daemon=True)
    with (
        psycopg.connect(fresh_postgres_url, autocommit=True) as looking,
        psycopg.connect(fresh_postgres_url) as writing,
    ):
        writing.execute("UPDATE perdure.invocation SET attempts = 7")
        migration.thread.start()
        blocked(looking, 1)
        late.start()
        blocked(looking, 2)
        writing.commit()
        for thread in (migration.thread, late):
            thread.join(LONG)
            assert not thread.is_alive()
    assert len(refused) == 1
    assert world.read(kept.key).attempts == 7
    assert backend.read("late") is None
    backend.close()
