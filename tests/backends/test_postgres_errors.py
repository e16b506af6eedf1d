"""Bad input and bad luck on PostgreSQL: one clear error each, and nothing lost or half done."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import socket
import sys
import threading
from functools import partial
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import errors

from perdure import Perdure
from perdure.backends.base import Committed, Finish
from perdure.backends.postgres import PostgresBackend, connections, schema, sql, store
from perdure.backends.postgres.connections import Session, parse
from perdure.backends.postgres.failures import masked, translate
from perdure.core.lifecycle import InvocationState
from perdure.errors import (
    BackendError,
    BackendFull,
    BackendUnavailable,
    CommitUnknown,
    ConfigurationError,
    ForeignDatabase,
    InternalError,
    SchemaMismatch,
)
from perdure.testing.contract.world import Clock, World
from tests.chaos.wire import Wire
from tests.support.postgres import free_port
from tests.support.proxy import CommitCutter
from tests.support.stores import in_threads

SECRET = "s3cret-pass"


@pytest.fixture
def backend(postgres_url):
    made = PostgresBackend(postgres_url)
    yield made
    made.close()


@pytest.fixture
def world(backend):
    return World(backend, Clock())


def execute(url, statement, *parameters):
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(statement, parameters or None)


def altered(url, **changes):
    return urlunsplit(urlsplit(url)._replace(**changes))


# --- reaching a server -------------------------------------------------------------------------


def test_nobody_listens():
    port = free_port()
    url = f"postgresql://me:{SECRET}@127.0.0.1:{port}/shop"
    with pytest.raises(BackendUnavailable, match="cannot be reached") as caught:
        PostgresBackend(url).store_id()
    assert f"127.0.0.1:{port}" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "?" not in str(caught.value), "hints of libpq are left out; ours follow"
    assert SECRET not in repr(caught.value)
    assert caught.value.__cause__ is None


def test_somebody_listens_who_is_no_postgres():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def hang_up():
            with contextlib.suppress(OSError):  # the test is over
                while True:
                    server.accept()[0].close()

        threading.Thread(target=hang_up, daemon=True).start()
        with pytest.raises(BackendUnavailable, match="cannot be reached"):
            PostgresBackend(f"postgresql://me@127.0.0.1:{port}/shop").store_id()


def test_an_unknown_database_and_an_unknown_user(postgres_url):
    with pytest.raises(BackendUnavailable, match="nowhere"):
        PostgresBackend(altered(postgres_url, path="/nowhere")).store_id()
    netloc = f"nobody_here:{SECRET}@{urlsplit(postgres_url).netloc.rpartition('@')[2]}"
    with pytest.raises(BackendUnavailable, match="nobody_here") as caught:
        PostgresBackend(altered(postgres_url, netloc=netloc)).store_id()
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://me:{SECRET}@host/db?nonsense=1",
        f"postgresql://me:{SECRET}@host/db?pooler=session",
        f"postgresql://me@host/db?pooler=transaction,postgresql://me:{SECRET}@other/db",
        f"postgresql://me:{SECRET}@host:five/db",
        f"postgresql://me:an@{SECRET}@host/db",
        f"postgresql://me:{SECRET}@[::1/db",
        f"postgresql://me:/{SECRET}@host/db",
        f"postgresql://me:{SECRET}%ca@host/db",
        f"{SECRET}@host:5432/db",
        f"mysql/{SECRET}@host/db-sql://me:there@host/db",
    ],
)
def test_a_url_that_cannot_be_used_is_told_without_its_password(url):
    with pytest.raises(ConfigurationError) as caught:
        Perdure(url)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"postgres://me:{SECRET}@[::1]:5433/db", "'db' on ::1:5433"),
        (f"postgresql://me:?{SECRET}@host/db", "'db' on host"),
        ("postgresql:///db?host=/run/pg&port=5433", "'db' on /run/pg:5433"),
        ("postgresql:///db", "'db' on the local socket"),
        # Where a standby takes over, libpq itself looks for the primary server.
        (
            "postgresql://me@a:1,b:2/db?target_session_attrs=read-write&pooler=transaction",
            "'db' on a,b:1,2",
        ),
    ],
)
def test_what_libpq_takes_is_taken(url, shown):
    target = parse(url)
    assert target.shown == shown
    said = url.replace("&pooler=transaction", "").replace("postgres:", "postgresql:")
    assert (target.conninfo, target.pooled) == (said, "pooler" in url)


def test_parameters_reach_the_server_as_they_were_written(postgres_url):
    written = "options=-c%20work_mem%3D1234kB%20-c%20perdure.mark%3Da+b"
    target = parse(altered(postgres_url, query=f"{written}&pooler=transaction"))
    assert target.pooled
    with psycopg.connect(target.conninfo) as connection:
        shown = connection.execute(
            "SELECT current_setting('work_mem'), current_setting('perdure.mark')"
        )
        assert shown.fetchone() == ("1234kB", "a+b")


def test_a_password_is_shown_nowhere(postgres_url, caplog):
    caplog.set_level(logging.DEBUG)
    address = urlsplit(postgres_url).netloc.rpartition("@")[2]
    url = altered(postgres_url, netloc=f"perdure:{SECRET}@{address}")
    app = Perdure(url, name="shop")
    told = [repr(app), str(app.health()), parse(url).shown]
    app.close()
    assert not any(SECRET in text for text in [*told, caplog.text])
    for text in (f"x password={SECRET} y", f"postgresql://me:{SECRET}@host/db refused"):
        assert SECRET not in masked(text)


def test_without_the_driver_the_extra_is_named(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("perdure.backends.postgres")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigurationError, match=r"perdure\[postgres\]"):
        Perdure("postgresql://me@host/db")


# --- the wrong server -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("server", "says"),
    [
        ((130000, "13.9", False, "PostgreSQL 13.9"), "PostgreSQL 13.9.*14 or newer"),
        ((150000, "15.1", True, "PostgreSQL 15.1"), "takes no writes"),
        (
            (130000, "13.0.0", False, "CockroachDB CCL v23.1.11 (built 2023)"),
            "on CockroachDB CCL v23.1.11.*advisory locks do nothing.*Use PostgreSQL",
        ),
    ],
)
def test_a_server_that_will_not_do_is_refused(postgres_url, monkeypatch, server, says):
    number, version, read_only, name = server
    monkeypatch.setitem(
        sql._TEXTS,
        "server",
        f"SELECT {number}, '{version}', {read_only}, '{name}'".encode(),
    )
    backend = PostgresBackend(postgres_url)
    with pytest.raises(BackendUnavailable, match=says):
        backend.store_id()
    with pytest.raises(BackendUnavailable, match=says):
        backend.owners()


def test_a_standby_is_refused_whenever_it_is_met(postgres_url, world, monkeypatch):
    """After a failover, say: what it gives may be older than what was acknowledged."""
    record = world.running()
    monkeypatch.setitem(sql._TEXTS, "session", b"SELECT pg_backend_pid(), true")
    with pytest.raises(BackendUnavailable, match="standby"):
        PostgresBackend(postgres_url).store_id()
    cut(postgres_url)
    with pytest.raises(BackendUnavailable, match="standby"):
        world.backend.read_journal(record.key)
    monkeypatch.undo()
    assert world.backend.read_journal(record.key) == []


def test_a_user_who_may_not_write(postgres_url):
    PostgresBackend(postgres_url).store_id()
    role = f"reader_{os.getpid()}"
    execute(postgres_url, f"CREATE ROLE {role} LOGIN")
    try:
        address = urlsplit(postgres_url).netloc.rpartition("@")[2]
        url = altered(postgres_url, netloc=f"{role}@{address}")
        reader = PostgresBackend(url)
        with pytest.raises(BackendUnavailable, match="permission denied") as caught:
            reader.store_id()
        reader.close()
        assert "LINE" not in str(caught.value)
        # The rights that the message asks for are enough.
        for right in (
            "USAGE ON SCHEMA perdure",
            "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA perdure",
            "USAGE ON ALL SEQUENCES IN SCHEMA perdure",
        ):
            kinds, _, rest = right.rpartition(" ON ")
            assert kinds.rpartition(" ")[2] in str(caught.value)
            execute(postgres_url, f"GRANT {kinds} ON {rest} TO {role}")
        with Perdure(url) as app:
            assert (
                app.workflow(name="flow", key="account")(lambda account: account)
                .start(7)
                .result(60)
                == 7
            )
    finally:
        execute(postgres_url, f"DROP OWNED BY {role}")
        execute(postgres_url, f"DROP ROLE {role}")


def test_settings_that_can_lose_commits_are_told(fresh_postgres_url, caplog):
    name = urlsplit(fresh_postgres_url).path[1:]
    execute(fresh_postgres_url, f"ALTER DATABASE {name} SET synchronous_commit = off")
    backend = PostgresBackend(fresh_postgres_url)
    backend.store_id()
    assert "synchronous_commit=off" in caplog.text
    assert any("synchronous_commit=off" in each for each in backend.health().problems)
    backend.close()


# --- the schema -------------------------------------------------------------------------


def test_a_schema_of_somebody_else_is_left_alone(fresh_postgres_url):
    execute(fresh_postgres_url, "CREATE SCHEMA perdure")
    with pytest.raises(ForeignDatabase, match="schema named 'perdure'"):
        PostgresBackend(fresh_postgres_url).store_id()
    found = execute(fresh_postgres_url, "SELECT count(*) FROM pg_tables WHERE schemaname='perdure'")
    assert found.fetchone() == (0,)


def test_a_schema_from_the_future(fresh_postgres_url):
    PostgresBackend(fresh_postgres_url).store_id()
    execute(fresh_postgres_url, "UPDATE perdure.meta SET schema_version = 99, min_writer = 99")
    with pytest.raises(SchemaMismatch, match="Upgrade perdure"):
        PostgresBackend(fresh_postgres_url).store_id()
    assert PostgresBackend(fresh_postgres_url, read_only=True).owners() == frozenset()
    execute(fresh_postgres_url, "UPDATE perdure.meta SET min_reader = 99")
    with pytest.raises(SchemaMismatch, match="Upgrade perdure"):
        PostgresBackend(fresh_postgres_url, read_only=True).owners()


def test_an_empty_database_is_neither_made_by_a_reader_nor_against_the_will(fresh_postgres_url):
    for backend in (
        PostgresBackend(fresh_postgres_url, read_only=True),
        PostgresBackend(fresh_postgres_url, migrates=False),
    ):
        with pytest.raises(SchemaMismatch, match="perdure db upgrade"):
            backend.owners()
    found = execute(fresh_postgres_url, "SELECT to_regnamespace('perdure')").fetchone()
    assert found == (None,)


def test_eight_that_open_a_new_database_at_once_make_it_once(fresh_postgres_url):
    backends = [PostgresBackend(fresh_postgres_url) for _ in range(8)]
    store_ids = in_threads(8, lambda number: backends[number].store_id())
    assert len(set(store_ids)) == 1
    for backend in backends:
        backend.close()


def test_a_migration_that_fails_leaves_nothing(fresh_postgres_url, monkeypatch):
    (first, *rest) = schema.load_migrations()
    bad = first._replace(script=first.script + "\nSELECT no_such_column;")
    monkeypatch.setattr(schema, "load_migrations", lambda: (bad, *rest))
    with pytest.raises(InternalError, match="no_such_column"):
        PostgresBackend(fresh_postgres_url).store_id()
    monkeypatch.undo()
    backend = PostgresBackend(fresh_postgres_url)
    assert len(backend.store_id()) == 16
    backend.close()


# --- connections that die -------------------------------------------------------------------------


def cut(url, *, state="%"):
    """End every other session in this database, as an administrator or a crash would."""
    return execute(
        url,
        "SELECT count(pg_terminate_backend(pid, 30000)) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid() AND state LIKE %s",
        state,
    )


def test_connections_that_died_while_idle_are_replaced_unseen(postgres_url, world):
    record = world.running()
    for _ in range(3):
        cut(postgres_url)
        record = world.step(record, b"1")
        assert world.backend.renew("worker-1", [world.holding(record)], 1_000_000)
    assert record.head == 3


def test_a_connection_that_dies_in_a_commit_leaves_nothing(postgres_url, world, monkeypatch):
    record = world.running()
    original = Session.call
    cuts: list[bool] = []

    def call(self, *asked):
        if not cuts:
            cuts.append(True)
            execute(postgres_url, "SELECT pg_terminate_backend(%s, 30000)", self.info.backend_pid)
        return original(self, *asked)

    monkeypatch.setattr(Session, "call", call)
    with pytest.raises(CommitUnknown, match="may or may not"):
        world.try_commit(record, b"1")
    # What the caller does then: read under the lock, and try again.
    again = world.backend.read(*record.key, locked=True)
    assert again == record
    assert isinstance(world.try_commit(record, b"1"), Committed)


def test_an_abandoned_transaction_holds_nobody_up_for_long(postgres_url, world, monkeypatch):
    record = world.running()
    monkeypatch.setitem(store._LIMITS, "idle_ms", "200")
    stopped, go_on = threading.Event(), threading.Event()

    other = PostgresBackend(postgres_url)

    def stop(transaction):
        transaction.rows("lock_id", {"id": "a"})
        stopped.set()
        assert go_on.wait(30)

    failures = []

    def abandon():
        try:
            other._store.write(stop)
        except (BackendUnavailable, CommitUnknown) as error:
            failures.append(error)

    thread = threading.Thread(target=abandon)
    thread.start()
    assert stopped.wait(30)
    assert world.step(record, b"1").head == 1
    go_on.set()
    thread.join(30)
    other.close()
    assert [type(each) for each in failures] == [CommitUnknown]


@pytest.mark.parametrize("words", [b"FOR UPDATE", b"SET lease_until"])
def test_a_process_that_is_stopped_in_any_trip_holds_nobody_up_for_long(
    postgres_url, world, monkeypatch, words
):
    """The server has its locks and has answered; nothing more comes, and nobody hangs up."""
    record = world.running()
    monkeypatch.setitem(store._LIMITS, "idle_ms", "200")
    world.backend.close()  # so that it waits no longer than this for a lock
    monkeypatch.setitem(store._LIMITS, "lock_ms", "8000")
    with CommitCutter(postgres_url, lambda _what: "pass", freezes=words) as proxy:
        other = PostgresBackend(proxy.url)
        held = [world.holding(record)]
        work = {
            b"FOR UPDATE": lambda: other.read("a", locked=True),
            b"SET lease_until": lambda: other.renew(record.owner, held, 10**9),
        }[words]
        thread = threading.Thread(target=lambda: suppressed(work))
        thread.start()
        assert proxy.frozen.wait(30)
        assert world.step(record, b"1").head == 1
    thread.join(30)
    other.close()


@pytest.mark.parametrize("what", ["read", "called", "transaction"])
def test_who_gets_no_answer_gives_up(postgres_url, monkeypatch, what):
    """A pooler that hangs: its machine lives, so that no keepalive would ever notice it."""
    with Wire(postgres_url, seed=1) as wire:
        silent = PostgresBackend(wire.url)
        world = World(silent, Clock())
        record = world.running("a")
        monkeypatch.setattr(connections, "ANSWER_SECONDS", 0.2)
        monkeypatch.setattr(connections, "CONNECT_SECONDS", 2)  # libpq takes no less
        wire.become("hole")
        no_answer = "no answer within 0.2 seconds"
        ask, error, told = {
            # Asked again on a new connection, as after any that died while it was idle.
            "read": (lambda: silent.read("a", 1), BackendUnavailable, "timeout expired"),
            "called": (lambda: world.step(record, b"1"), CommitUnknown, no_answer),
            "transaction": (lambda: world.start("b"), CommitUnknown, no_answer),
        }[what]
        with pytest.raises(error, match=told):
            ask()
        wire.heal()
        monkeypatch.undo()
        assert silent.read("a", 1) is not None, "it has connected anew"
        silent.close()


def suppressed(work):
    with contextlib.suppress(BackendError):
        work()


def commit_one(world, transitions, which):
    (result,) = world.backend.commit([transitions[which]])
    return result


def test_two_ends_that_wait_for_each_other_do_not_deadlock(world):
    """Parent and child lock each other's rows; the order of the locks keeps them apart."""
    for number in range(20):
        parent = world.start(f"p{number}")
        child = world.start(f"c{number}", parent=parent.key, root=parent.key)
        parent, child = world.claim().records
        ended = Finish(state=InvocationState.COMPLETED, outcome=b"1")
        transitions = [
            world.transition(parent, watches=(child.key,)),
            world.transition(child, disposition=ended),
        ]
        results = in_threads(2, partial(commit_one, world, transitions))
        assert all(isinstance(each, Committed) for each in results), results
        assert world.sources(parent.key) == [child.key]
        world.finish(parent)


def in_child(backend, results):
    results.put(backend.read("a") is not None)


def test_a_forked_child_leaves_the_connections_of_its_parent_alone(world):
    record = world.running()
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    child = context.Process(target=in_child, args=(world.backend, results))
    child.start()
    assert results.get(timeout=30) is True
    child.join(30)
    assert child.exitcode == 0
    assert world.step(record, b"1").head == 1


# --- what the server says -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "becomes"),
    [
        (errors.DiskFull("could not extend file"), BackendFull),
        (errors.LockNotAvailable("canceling statement due to lock timeout"), BackendUnavailable),
        (errors.ReadOnlySqlTransaction("cannot execute INSERT"), BackendUnavailable),
        (errors.DeadlockDetected("deadlock detected"), BackendUnavailable),
        (errors.AdminShutdown("terminating connection"), BackendUnavailable),
        (errors.UndefinedColumn("no such column"), InternalError),
    ],
)
def test_each_error_has_one_meaning(error, becomes):
    found = translate(error, "'shop' on db")
    assert type(found) is becomes
    assert "'shop' on db" in str(found)
    assert "othing was recorded" in str(found)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE perdure.entry SET body = 'x'",
        "DELETE FROM perdure.entry",
        "DELETE FROM perdure.invocation",
        "UPDATE perdure.call SET seed = 'x'",
        "UPDATE perdure.invocation SET state = 'ready', outcome = NULL, finished_at = NULL",
    ],
)
def test_the_belts_hold(postgres_url, world, statement):
    world.finish(world.step(world.running(), b"1"))
    with pytest.raises(psycopg.Error, match="perdure: "):
        execute(postgres_url, statement)


def test_damage_is_told_by_the_doctor(postgres_url, world):
    world.step(world.running(), b"1")
    execute(postgres_url, "ALTER TABLE perdure.entry DISABLE TRIGGER ALL")
    try:
        execute(postgres_url, "UPDATE perdure.entry SET body = 'x'")
    finally:
        execute(postgres_url, "ALTER TABLE perdure.entry ENABLE TRIGGER ALL")
    assert any("checksum" in each for each in world.backend.health().problems)


def test_a_batch_costs_one_trip_whatever_its_size(world, monkeypatch):
    world.step(world.running(), b"1")  # prepares the statement
    for number in range(50):
        world.start(f"i{number}")
    records = world.claim().records
    trips = []

    def counted(original):
        def send(self, *args):
            trips.append(threading.current_thread())
            return original(self, *args)

        return send

    for kind, name in (
        (psycopg.Pipeline, "sync"),
        (psycopg.Pipeline, "__exit__"),
        (psycopg.Connection, "wait"),
    ):
        monkeypatch.setattr(kind, name, counted(getattr(kind, name)))
    results = world.backend.commit([world.transition(record, b"1") for record in records])
    assert all(isinstance(each, Committed) for each in results)
    # Hints are told on a thread of their own, after it.
    assert trips.count(threading.current_thread()) == 1
    batch = [
        world.transition(
            world.read(record.key), b"2", children=(world.new(f"child of {record.key[0]}"),)
        )
        for record in records
    ]
    trips.clear()
    results = world.backend.commit(batch)
    assert all(isinstance(each, Committed) for each in results)
    assert trips.count(threading.current_thread()) == 2, "one of them prepares the statement"
