"""Database files that are damaged, foreign, newer, read-only or full: a typed error each."""

from __future__ import annotations

import sqlite3

import pytest

from perdure import DeterministicExecutor, InvocationState, Perdure, WorkflowIdentity, wf
from perdure.backends.base import RegisterPut
from perdure.errors import (
    BackendError,
    BackendFull,
    BackendUnavailable,
    ForeignDatabase,
    InvocationParked,
    JournalCorrupted,
    SchemaMismatch,
)
from tests.support.permissions import without_root
from tests.support.stores import LONG, in_threads


def declare(app):
    ran = []

    @app.task(name="task")
    def task(n: int) -> int:
        ran.append(n)
        return n

    @app.workflow(name="flow")
    def flow(n: int) -> list[int]:
        return [task(k) for k in range(n)]

    return flow, ran


def uses(path):
    """Everything that a script may do first with a database."""
    app = Perdure(f"sqlite:///{path}")
    flow, _ = declare(app)
    identity = WorkflowIdentity("a", "b")
    return app, {
        "start": lambda: flow.options(id="x").start(1),
        "run": lambda: flow(1),
        "list": app.workflows,
        "look": lambda: app.invocation("x"),
        "draw": DeterministicExecutor(identity, app).random,
        "health": app.health,
    }


@pytest.mark.parametrize("use", ["start", "run", "list", "look", "draw"])
@pytest.mark.parametrize(
    "content", [b"this is a text file\n" * 100, b"SQLite format 3\0" + b"\xff" * 5000]
)
def test_a_file_that_is_no_database(tmp_path, use, content):
    path = tmp_path / "notes.db"
    path.write_bytes(content)
    app, calls = uses(path)
    with pytest.raises(ForeignDatabase, match=r"notes\.db"):
        calls[use]()
    app.close()
    assert path.read_bytes() == content


@pytest.mark.parametrize("use", ["start", "run", "list", "look", "draw"])
def test_the_database_of_another_program(tmp_path, use):
    path = tmp_path / "other.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE customer (id INTEGER)")
    connection.execute("INSERT INTO customer VALUES (7)")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    app, calls = uses(path)
    with pytest.raises(ForeignDatabase, match="customer"):
        calls[use]()
    app.close()
    assert path.read_bytes() == before


@pytest.mark.parametrize("use", ["start", "run", "list", "draw"])
def test_a_newer_schema(tmp_path, use):
    path = tmp_path / "newer.db"
    app, calls = uses(path)
    calls["run"]()
    app.close()
    connection = sqlite3.connect(path)
    handshake = "SELECT schema_version, min_reader, min_writer FROM meta"
    before = connection.execute(handshake).fetchone()
    connection.execute("UPDATE meta SET schema_version = 99, min_reader = 99, min_writer = 99")
    connection.commit()
    connection.close()
    app, calls = uses(path)
    with pytest.raises(SchemaMismatch, match="Upgrade perdure"):
        calls[use]()
    app.close()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE meta SET schema_version = ?, min_reader = ?, min_writer = ?", before)
    connection.commit()
    connection.close()
    app, calls = uses(path)
    assert len(app.workflows()) == 1
    assert calls["run"]() == [0]
    app.close()


@pytest.mark.parametrize("place", ["missing folder", "folder"])
def test_a_place_where_no_file_can_be(tmp_path, place):
    path = tmp_path / "missing" / "x.db" if place == "missing folder" else tmp_path
    app, calls = uses(path)
    for use in ("start", "list", "draw"):
        with pytest.raises(BackendUnavailable, match="director"):
            calls[use]()
    app.close()


def test_a_read_only_file(tmp_path):
    app, calls = uses(tmp_path / "rehearsal.db")
    calls["run"]()
    app.close()
    with without_root() as folder:
        path = folder / "kept.db"
        app, calls = uses(path)
        calls["run"]()
        app.close()
        path.chmod(0o400)
        app, calls = uses(path)
        with pytest.raises(BackendUnavailable, match="writable"):
            calls["start"]()
        app.close()
        for file in folder.iterdir():  # SQLite gave the files beside it the same permissions
            file.chmod(0o600)
        assert calls["run"]() == [0]
        app.close()


class Failing:
    """A backend in front of another one: some of its methods fail while `error` is set."""

    def __init__(self, inner, methods):
        self.inner, self.methods, self.error = inner, methods, None

    def __getattr__(self, name):
        found = getattr(self.inner, name)
        if name not in self.methods:
            return found

        def call(*args, **kwargs):
            if self.error is not None:
                raise self.error
            return found(*args, **kwargs)

        return call


WRITES = ("start", "claim", "commit", "renew", "register_put", "resume")
READS = ("read", "read_journal", "read_inbox", "read_data", "query", "register_get", "owners")


def settled(handle):
    """Its result, once the backend works again: what ran then may still report the failure."""
    for _ in range(10):
        try:
            return handle.result(LONG)
        except BackendError:
            continue
    raise AssertionError("the failure is reported again and again")


@pytest.mark.parametrize("methods", [WRITES, WRITES + READS], ids=["writes", "everything"])
@pytest.mark.parametrize(
    "error", [BackendFull("No space is left. Free some."), BackendUnavailable("Gone.")]
)
def test_a_backend_that_fails_in_the_middle_and_comes_back(store, methods, error):
    failing = Failing(store.backend(virtual=False), methods)
    app = Perdure(backend=failing, grace=0.0)
    ran = []

    @app.task(name="task")
    def task(n: int) -> int:
        ran.append(n)
        if n == 2 and len(ran) == 3:
            failing.error = error
        return n

    @app.workflow(name="flow")
    def flow():
        return [task(n) + wf.random() for n in range(4)]

    handle = flow.options(id="f").start()
    with pytest.raises(type(error)) as caught:
        handle.result(LONG)
    assert str(caught.value) == str(error)
    failing.error = None
    values = settled(handle)
    assert [int(value) for value in values] == [0, 1, 2, 3]
    assert ran == [0, 1, 2, 3]  # the outcome of the third was kept until it could be recorded
    assert app.verify("f").finished
    app.close(0.1)


def test_everyone_who_waits_is_told_that_the_backend_fails(store):
    failing = Failing(store.backend(virtual=False), ("claim",))
    app = Perdure(backend=failing)
    flow, _ = declare(app)
    failing.error = BackendUnavailable("Gone.")
    handles = [flow.start(1) for _ in range(4)]

    def wait(number):
        try:
            return handles[number].result(LONG)
        except BackendError as error:
            return str(error)

    assert in_threads(4, wait) == ["Gone."] * 4
    failing.error = None
    assert [settled(handle) for handle in handles] == [[0]] * 4
    app.close(0.1)


def test_a_draw_that_failed_gives_its_number_back(store):
    failing = Failing(store.backend(virtual=False), ("register_put", "register_get"))
    app = Perdure(backend=failing)
    identity = WorkflowIdentity("a", "b")
    executor = DeterministicExecutor(identity, app)
    got: list[object] = [executor.random()]
    for method in (
        executor.random,
        executor.uuid,
        executor.utc_now,
        lambda: executor.record("x", int),
    ):
        failing.error = BackendFull("Full.")
        with pytest.raises(BackendFull):
            method()
        failing.error = None
    got += [executor.random(), executor.uuid(), executor.record("x", lambda: 1)]
    again = DeterministicExecutor(identity, app)
    assert [again.random(), again.random(), again.uuid(), again.record("x", int)] == got
    app.close(0.1)


def test_a_full_database(tmp_path):
    """`max_page_count` makes a disk that is full for this database alone."""
    app = Perdure(f"sqlite:///{tmp_path / 'full.db'}", grace=0.0)
    flow, _ = declare(app)
    assert flow(1) == [0]
    backend = app.runtime.backend
    put = RegisterPut(app="perdure", workflow_type="t", workflow_id="w", key="k:1", body=b"1")
    backend.register_put(put)
    writer = backend._store._writer.connection  # type: ignore[attr-defined]
    (pages,) = writer.execute("PRAGMA page_count").fetchone()
    writer.execute(f"PRAGMA max_page_count = {pages}")
    executor = DeterministicExecutor(WorkflowIdentity("big", "t"), app)
    with pytest.raises(BackendFull, match="Free space"):
        executor.record("x", lambda: "x" * 1_000_000)
    assert executor.get_operation_count("x") == 0
    writer.execute("PRAGMA max_page_count = 1000000")
    assert executor.record("x", lambda: "y") == "y"
    assert flow(2) == [0, 1]
    app.close()


@pytest.mark.parametrize("column", ["body", "key", "meta", "at"])
def test_a_damaged_entry_is_never_used(sqlite_store, column):
    app = sqlite_store.app(virtual=True, local_worker=False)

    @app.workflow(name="flow")
    def flow() -> int:
        value = wf.record("x", lambda: 1234)
        wf.sleep(50)
        return value

    from tests.support.stores import run_until_idle, step

    handle = flow.options(id="f").start()
    run_until_idle(app)
    app.close()
    connection = sqlite3.connect(sqlite_store.path)
    connection.execute("DROP TRIGGER entry_is_immutable")
    changed = {"body": "replace(body, '1234', '1235')", "at": "at + 1"}.get(
        column, f"{column} || ' '"
    )
    if column in ("body", "meta"):
        changed = f"CAST({changed} AS BLOB)"
    count = connection.execute(
        f"UPDATE entry SET {column} = {changed} WHERE kind = 'record'"
    ).rowcount
    assert count == 1
    connection.commit()
    connection.close()
    sqlite_store.env.advance(100)
    (attempt,) = step(app)
    assert isinstance(attempt.error, JournalCorrupted)
    assert handle.status is InvocationState.PARKED
    with pytest.raises(InvocationParked, match="checksum"):
        handle.result(1)
    with pytest.raises(JournalCorrupted, match="backup"):
        app.state_backend.get_workflow_deterministic_value(handle.identity, "x:1")
    with pytest.raises(JournalCorrupted):
        app.verify("f")
