"""The SQL itself: names, migrations, the lists of states, the belts, and what a claim costs."""

from __future__ import annotations

import re
import sqlite3
from importlib.resources import files

import pytest

from perdure.backends.audit import CHECKS
from perdure.backends.sqlite import schema, sql
from perdure.backends.sqltext import load, parse
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import RESUMABLE, STOPPED, TERMINAL, InvocationState
from perdure.errors import InternalError
from perdure.testing.contract.world import SECOND

PACKAGE = files("perdure.backends.sqlite")
MIGRATIONS = {
    file.name: file.read_text(encoding="utf-8") for file in (PACKAGE / "migrations").iterdir()
}
STORED = (
    "id, kind, scope, ordinal, key, name, digest, body, meta, at, epoch, token, checksum, codec,"
    " key_id"
)
STATES = {state.value for state in InvocationState}


def constants():
    return {
        name: text for name, text in vars(sql).items() if name.isupper() and name != "STATEMENTS"
    }


def test_every_statement_is_described_and_used_under_its_name():
    named_by_the_auditor = {check.name for check in CHECKS}
    for name, statement in sql.STATEMENTS.items():
        assert statement.description.endswith("."), name
        assert name in named_by_the_auditor or constants()[name.upper()] == statement.text
    names = {name.lower() for name in constants()}
    assert names | named_by_the_auditor == sql.STATEMENTS.keys()


def test_every_statement_can_be_prepared(world):
    world.start()
    connection = world.backend._store._writer.connection
    for statement in sql.STATEMENTS.values():
        marks = statement.text.count("?")
        names = set(re.findall(r":([a-z_]+)", statement.text))
        values = [None] * marks if marks else dict.fromkeys(names)
        connection.execute(f"EXPLAIN {statement.text}", values)


def test_statements_hold_no_values_of_users():
    for statement in sql.STATEMENTS.values():
        assert "{" not in statement.text
        assert "%" not in statement.text


@pytest.mark.parametrize("text", [*sql.STATEMENTS.values(), *MIGRATIONS.values()], ids=str)
def test_every_state_in_sql_is_a_state(text):
    source = text if isinstance(text, str) else text.text
    for list_ in re.findall(r"state(?:\)? IN|\) = \(state IN) \(([^)]*')\s*\)", source):
        names = set(re.findall(r"'([a-z]+)'", list_))
        assert names <= STATES
    for name in re.findall(r"state = '([a-z]+)'", source):
        assert name in STATES


def lists_of_states(source):
    return [
        frozenset(re.findall(r"'([a-z]+)'", list_))
        for list_ in re.findall(r"state IN \(([^()]*)\)", source)
    ]


def test_the_lists_of_states_are_those_of_the_lifecycle():
    terminal = frozenset(state.value for state in TERMINAL)
    resumable = frozenset(state.value for state in RESUMABLE)
    stopped = frozenset(state.value for state in STOPPED)
    (first,) = (text for name, text in MIGRATIONS.items() if name.startswith("0001"))
    found = lists_of_states(first)
    assert found.count(frozenset(STATES)) == 1
    assert found.count(terminal) == 2
    assert found.count(stopped) == 1
    assert set(found) == {frozenset(STATES), terminal, stopped, frozenset({"ready", "waiting"})}
    assert lists_of_states(sql.RESUME) == [resumable]
    assert lists_of_states(sql.STOPPED) == [stopped]


def test_migrations_are_numbered_without_a_gap():
    migrations = schema.load_migrations()
    assert [each.version for each in migrations] == list(range(1, len(MIGRATIONS) + 1))
    for each in migrations:
        assert each.min_reader <= each.min_writer <= each.version
        assert each.statements


def test_a_migration_is_applied_once_and_moves_the_version(path, world, open_backend, monkeypatch):
    world.start()
    world.backend.close()
    number = len(MIGRATIONS) + 1
    another = schema.Migration(number, 1, 2, ("CREATE TABLE later (x INTEGER) STRICT",))
    newer = (*schema.load_migrations(), another)
    monkeypatch.setattr(schema, "load_migrations", lambda: newer)
    for _ in range(2):
        backend = open_backend()
        assert backend.read("a") is not None
        assert backend.health().facts["schema"] == f"{number} (readers from 1, writers from 2)"
        backend.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM later").fetchone() == (0,)
    connection.close()


def test_a_database_of_the_first_schema_gets_queues(path, world, open_backend):
    connection = sqlite3.connect(path, isolation_level=None)
    schema.migrate(connection, schema.inspect(connection, str(path)), ONE[:1], bytes(16))
    for id_, state, wake_at, ended in (
        ("live", "ready", None, None),
        ("timer", "waiting", 5, None),
        ("ended", "completed", None, 7),
    ):
        outcome = None if ended is None else b"1"
        (seq,) = connection.execute(
            "INSERT INTO invocation (invocation_id, generation, app, kind, name, root_id,"
            " root_generation, queue, priority, state, epoch, owner, wake_at, ready_since, head,"
            " head_hash, last_token, attempts, crashes, created_at, finished_at, reason, outcome)"
            " VALUES (?, 1, 'app', 'workflow', 'shop.order', ?, 1, '', 0, ?, 0, '', ?, 1, 0, x'',"
            " x'', 0, 0, 1, ?, '', ?) RETURNING seq",
            (id_, id_, state, wake_at, ended, outcome),
        ).fetchone()
        connection.execute(
            "INSERT INTO call VALUES (?, x'5b5d', zeroblob(16), 'c', NULL, NULL, x'7b7d', '',"
            " zeroblob(32), 1, 0)",
            (seq,),
        )
    connection.close()
    backend = open_backend()
    rows = {id_: backend.read(id_) for id_ in ("live", "timer", "ended")}
    assert {(row.queue, row.limit_key, row.arguments) for row in rows.values()} == {
        ("default", "", b"[]")
    }
    assert (rows["ended"].outcome, rows["ended"].finished_at) == (b"1", 7)
    claimed = backend.claim(world.request()).records
    assert [record.key.invocation_id for record in claimed] == ["live", "timer"]


def test_the_script_of_an_upgrade_does_what_opening_does(path, open_backend):
    connection = sqlite3.connect(path, isolation_level=None)
    schema.migrate(connection, schema.inspect(connection, str(path)), ONE[:1], bytes(16))
    backend = open_backend()
    status = backend.schema_status()
    assert (status.fit, status.found.schema_version) == ("old", 1)
    connection.executescript(status.script)
    connection.close()
    assert backend.schema_status() == (ONE_AS_STORED, len(ONE), "")
    assert backend.store_id() == bytes(16)


def test_a_migration_that_fails_leaves_the_old_schema(world, open_backend, monkeypatch):
    store_id = world.backend.store_id()
    world.start()
    world.backend.close()
    bad = schema.Migration(2, 2, 2, ("CREATE TABLE later (x)", "CREATE TABLE later (x)"))
    monkeypatch.setattr(schema, "load_migrations", lambda: (*ONE, bad))
    with pytest.raises(InternalError, match="later"):
        open_backend().read("a")
    monkeypatch.setattr(schema, "load_migrations", lambda: ONE)
    again = open_backend()
    assert again.store_id() == store_id
    assert again.read("a") is not None


ONE = schema.load_migrations()
ONE_AS_STORED = ONE[-1][:3]


def test_the_first_migration_that_fails_leaves_a_file_that_may_be_taken(open_backend, monkeypatch):
    bad = schema.Migration(1, 1, 1, (*ONE[0].statements, "CREATE TABLE meta (x)"))
    monkeypatch.setattr(schema, "load_migrations", lambda: (bad,))
    with pytest.raises(InternalError, match="meta"):
        open_backend().read("a")
    monkeypatch.setattr(schema, "load_migrations", lambda: ONE)
    assert open_backend().read("a") is None


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE entry SET body = x'00'", "journal entry never changes"),
        ("DELETE FROM entry", "journal entry is never deleted"),
        ("UPDATE invocation SET state = 'ready' WHERE invocation_id = 'ended'", "never changes"),
        ("UPDATE invocation SET outcome = x'' WHERE invocation_id = 'ended'", "never changes"),
        ("UPDATE invocation SET epoch = 9 WHERE invocation_id = 'ended'", "never changes"),
        ("DELETE FROM invocation", "never deleted"),
        ("UPDATE call SET arguments = x''", "call never changes"),
        ("DELETE FROM call", "never deleted"),
        ("UPDATE invocation SET state = 'asleep'", "CHECK constraint"),
        ("UPDATE invocation SET state = 'running'", "CHECK constraint"),
        ("UPDATE invocation SET outcome = x''", "CHECK constraint"),
        ("UPDATE invocation SET owner = 'w'", "CHECK constraint"),
        ("UPDATE invocation SET reason = 'r'", "CHECK constraint"),
        ("UPDATE invocation SET head = -1", "CHECK constraint"),
        ("UPDATE invocation SET head = 'x'", "cannot store TEXT"),
        ("UPDATE invocation SET invocation_id = ''", "CHECK constraint"),
        ("UPDATE meta SET store_id = x'00'", "CHECK constraint"),
        ("INSERT INTO meta VALUES (2, 1, 1, 1, randomblob(16))", "CHECK constraint"),
        (f"INSERT INTO entry ({STORED}) SELECT {STORED} FROM entry", "UNIQUE.*entry.id"),
    ],
)
def test_belts(world, statement, message):
    ended = world.running("ended")
    world.commit(ended, b"1")
    world.finish(world.read(ended.key))
    world.start("live")
    connection = world.backend._store._writer.connection
    if "never changes" not in message:
        connection.execute("DROP TRIGGER invocation_terminal_is_final")
    with pytest.raises(sqlite3.IntegrityError, match=message):
        connection.execute(statement)


def steps_of(connection, text, parameters):
    """How many steps of SQLite's machine a statement takes: its cost, without a clock."""
    steps = 0

    def count():
        nonlocal steps
        steps += 1
        return 0

    connection.set_progress_handler(count, 1)
    connection.execute(text, parameters).fetchall()
    connection.set_progress_handler(None, 1)
    return steps


def test_a_claim_costs_the_same_beside_many_finished_and_waiting_rows(world):
    def cost(timed):
        asked = {
            "app": "app",
            "names": '["shop.order"]',
            "queue": "default",
            "after": "",
            "after_due": 0,
            "after_seq": 0,
            "limit_key": "",
            "full_keys": "[]",
            "owner": "nobody",
            "dead_owners": "[]",
            "since": 0,
            "priority": 0,
            "highest": 2**63 - 1,
            "now": world.clock.at,
            "limit": 5,
            "timed": timed,
            "root_id": "ready-0",
            "root_generation": 1,
            "owners": '["nobody"]',
        }
        connection = world.backend._store._writer.connection
        texts = (
            sql.NEXT_QUEUE, sql.QUEUE_USAGE, sql.KEY_USAGE, sql.RECENT_CLAIMS,
            sql.NEXT_QUEUE_IN_TREE,
            sql.NEXT_PRIORITY, sql.DUE, sql.NEXT_DUE, sql.ABANDONED, sql.OWNERS,
            sql.NEXT_PRIORITY_IN_TREE, sql.DUE_IN_TREE, sql.NEXT_DUE_IN_TREE,
        )  # fmt: skip
        return [steps_of(connection, text, asked) for text in texts]

    for number in range(10):
        world.start(f"ready-{number}")
    for root in (None, InvocationKey("ready-0", 1)):
        world.start(f"later-{root}", delay=10 * SECOND, root=root)
    few = [cost(0), cost(1)]
    connection = world.backend._store._writer.connection
    connection.execute("BEGIN")
    columns = (
        "generation, app, kind, name, root_id, root_generation, queue, epoch, owner,"
        " ready_since, head, head_hash, last_token, attempts, crashes, created_at, reason"
    )
    for id_, state, wake_at, ended in (
        ("'done-' || value", "'completed'", "NULL", "1"),
        ("'waiting-' || value", "'waiting'", "NULL", "NULL"),
        ("'timer-' || value", "'waiting'", f"{world.clock.at + 99 * SECOND} + value", "NULL"),
        ("'parked-' || value", "'parked'", "NULL", "NULL"),
    ):
        connection.execute(
            "INSERT INTO invocation"
            f" (invocation_id, state, wake_at, priority, outcome, finished_at, {columns})"
            f" SELECT {id_}, {state}, {wake_at}, iif({wake_at}, 0, 1 + value % 9),"
            f" iif({ended}, x'', NULL), {ended}, {columns}"
            " FROM invocation, json_each(?) WHERE invocation_id = 'ready-0'",
            (str(list(range(2_000))),),
        )
    connection.execute("COMMIT")
    assert connection.execute("SELECT count(*) FROM invocation").fetchone() == (8_012,)
    assert [cost(0), cost(1)] == few


def test_a_commit_is_two_statements_and_a_look_in_an_immediate_transaction(world):
    record = world.running()
    seen: list[str] = []
    world.backend._store._writer.connection.set_trace_callback(seen.append)
    world.commit(record, b"x" * 200)
    world.backend._store._writer.connection.set_trace_callback(None)
    assert seen[0] == "BEGIN IMMEDIATE"
    assert [text.split()[0] for text in seen] == ["BEGIN", "SELECT", "UPDATE", "INSERT", "COMMIT"]


def test_named_statements_are_parsed():
    found = parse("-- About.\n\n-- name: one\n-- First.\n-- Line.\nSELECT 1;\n\n", "f.sql")
    assert [tuple(each) for each in found.values()] == [("one", "First. Line.", "SELECT 1")]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("SELECT 1;\n-- name: a\n-- D.\nSELECT 1;", "before the first"),
        ("-- name: a\nSELECT 1;", "needs a description"),
        ("-- name: a\n-- D.\n", "and a statement"),
        ("-- name: a\n-- D.\nSELECT 1;\n-- name: a\n-- D.\nSELECT 2;", "two statements"),
    ],
)
def test_badly_named_statements_are_refused(source, message):
    with pytest.raises(InternalError, match=message):
        parse(source, "f.sql")


def test_one_name_in_two_files_is_refused(tmp_path):
    for name in ("a.sql", "b.sql"):
        (tmp_path / name).write_text("-- name: one\n-- D.\nSELECT 1;")
    (tmp_path / "notes.txt").write_text("not SQL")
    with pytest.raises(InternalError, match=r"b\.sql.*one"):
        load(tmp_path)
