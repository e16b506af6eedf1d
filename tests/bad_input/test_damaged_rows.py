"""Rows of an SQLite file changed behind the back of the library: typed errors, no wrong value."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest

from perdure import InvocationState, Perdure, wf
from perdure.backends.letters import Letter, Sent
from perdure.errors import ForeignDatabase, JournalCorrupted
from tests.support.stores import LONG, Store, run_until_idle


def change(store: Store, statement: str) -> None:
    """The belts of the schema are taken off for it."""
    with sqlite3.connect(store.path) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        triggers = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'")
        for (name,) in triggers.fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        assert connection.execute(statement).rowcount == 1
    connection.close()


def app_of(store: Store) -> Perdure:
    app = store.app(local_worker=False)

    @app.task(name="double")
    def double(number: int) -> int:
        return 2 * number

    @app.workflow(name="flow")
    def flow(number: int) -> int:
        wf.publish("seen", number)
        return double(number)

    @app.workflow(name="aflow")
    async def aflow(number: int) -> int:
        return await double.acall(number)

    return app


@pytest.mark.parametrize("name", ["flow", "aflow", "double"])
def test_arguments_that_were_changed_are_not_used(sqlite_store: Store, name: str) -> None:
    app = app_of(sqlite_store)
    kind: Any = "task" if name == "double" else "workflow"
    handle = app.named(name, kind).options(id="f").start(7)
    change(sqlite_store, """UPDATE call SET arguments = CAST('{"number":8}' AS BLOB)""")
    run_until_idle(app)
    assert handle.status is InvocationState.PARKED
    with pytest.raises(JournalCorrupted, match=r"arguments of 'f'.*not match their fingerprint"):
        _ = handle.call
    change(sqlite_store, "UPDATE call SET arguments = CAST('{\"number\":7}' AS BLOB)")
    assert handle.resume()
    run_until_idle(app)
    assert handle.result(LONG) == 14


def test_arguments_that_are_no_json_any_more(sqlite_store: Store) -> None:
    app = app_of(sqlite_store)
    handle = app.start("flow", 7)
    change(sqlite_store, "UPDATE call SET arguments = x'7b00ff'")
    run_until_idle(app)
    assert handle.status is InvocationState.PARKED


def test_a_stream_does_not_end_before_its_journal(sqlite_store: Store) -> None:
    app = app_of(sqlite_store)
    handle = app.start("flow", 7)
    run_until_idle(app)
    assert list(handle.stream("seen")) == [7]
    with sqlite3.connect(sqlite_store.path) as connection:
        connection.execute("DROP TRIGGER entry_is_kept")
        connection.execute("DELETE FROM entry")
    connection.close()
    with pytest.raises(JournalCorrupted, match=r"has 0 entries, and its row says \d+"):
        list(handle.stream("seen"))


def test_a_state_that_is_none(sqlite_store: Store) -> None:
    app = app_of(sqlite_store)
    handle = app.named("flow").options(id="f").start(7)
    change(sqlite_store, "UPDATE invocation SET state = 'reedy'")
    with pytest.raises(JournalCorrupted, match=r"'f'.*has the state 'reedy', which is none"):
        _ = handle.status


def test_text_that_is_no_text(sqlite_store: Store) -> None:
    app = app_of(sqlite_store)
    handle = app.start("flow", 7)
    change(sqlite_store, "UPDATE invocation SET queue = CAST(x'ff' AS TEXT)")
    with pytest.raises(ForeignDatabase, match="damaged"):
        _ = handle.status


def test_a_schema_that_is_no_number(sqlite_store: Store) -> None:
    app_of(sqlite_store).start("flow", 7)
    with sqlite3.connect(sqlite_store.path) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_schema SET sql = replace(sql, 'STRICT', '') WHERE name = 'meta'"
        )
    connection.close()
    change(sqlite_store, "UPDATE meta SET schema_version = '5 or so'")
    with pytest.raises(ForeignDatabase, match="versions are numbers"):
        sqlite_store.app(local_worker=False).workflows()


WORDS = [
    pytest.param("message", b'1,"error":2', id="a message that says more"),
    pytest.param("message", b"{", id="a message cut off"),
    pytest.param("message", b"", id="an empty message"),
    pytest.param("cycle", b"null", id="a cycle of nothing"),
    pytest.param("cancel", b'{"reason":1}', id="a cancellation without a text"),
]


@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize(("kind", "body"), WORDS)
def test_a_damaged_letter_is_no_part_of_the_journal(
    store: Store, colour: str, kind: str, body: bytes
) -> None:
    """It was recorded as it was, and the journal could not be read by anybody from then on."""
    app = store.app(local_worker=False)

    @app.workflow(name="sync")
    def waits() -> object:
        return wf.receive("word", object)

    @app.workflow(name="async")
    async def awaits() -> object:
        return await wf.receive_async("word", object)

    handle = app.named(colour).start()
    run_until_idle(app)
    letter = Letter(kind=kind, name="word", letter_id="m1", body=body)
    backend = app.runtime.backend
    assert backend.send(handle.key, letter) is Sent.ACCEPTED
    run_until_idle(app)
    assert handle.status is InvocationState.PARKED
    record = backend.read(*handle.key)
    assert record is not None
    assert "JournalCorrupted" in record.reason
    kinds = {entry.kind for entry in backend.read_journal(handle.key)}
    assert not kinds & {"message", "done", "cancel"}
    assert len(backend.read_inbox(handle.key)) == 1
