"""The command line on a list of servers: each is told of, and what belongs together is one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from perdure.api.settings import Settings
from perdure.backends.server import Server
from perdure.backends.sharded import ShardedBackend
from perdure.backends.sqlite import SQLiteBackend
from perdure.cli.locate import Source
from tests.cli.conftest import Shop, shop
from tests.servers.apps import id_on, make_app
from tests.support.stores import run_until_idle

__all__ = ["shop"]

NAMES = ("one.db", "two.db")
LIST = " ".join(f"sqlite:///{name}" for name in NAMES)


@pytest.fixture
def written(shop: Shop) -> Iterator[list[str]]:
    """A parent on the first server that has waited for its child on the second; both ids."""
    del shop  # its directory is the current one
    servers: list[Server] = [SQLiteBackend(Path(name), synchronous="normal") for name in NAMES]
    backend = ShardedBackend(list(zip(NAMES, servers, strict=True)))
    ids = [id_on(backend, servers, 1, "top"), id_on(backend, servers, 2, "kid")]
    app, _, (_, parent) = make_app(backend)
    parent.options(id=ids[0]).start(ids[1:])
    run_until_idle(app)
    yield ids
    app.close()


def change(name: str, statement: str) -> None:
    with closing(sqlite3.connect(name, isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        assert connection.execute(statement).rowcount


def test_the_schema_of_each_server(shop: Shop) -> None:
    before = shop("db", "status", "--url", LIST)
    assert (before.code, before.out.count("there is no schema yet")) == (1, 2)
    assert shop("db", "upgrade", "--url", "sqlite:///one.db").code == 0
    assert [each["status"] for each in shop("db", "status", "--url", LIST, "--json").json] == [
        "fits",
        "missing",
    ]
    script = shop("db", "sql", "--url", LIST)
    assert script.out.startswith("-- sqlite:///two.db\n")
    made = shop("db", "upgrade", "--url", LIST)
    assert "Nothing to do: sqlite:///one.db" in made.err
    assert "sqlite:///two.db went from schema 0 to" in made.err
    assert shop("db", "status", "--url", LIST).code == 0


def test_what_lives_on_any_server_is_listed_and_shown(shop: Shop, written: list[str]) -> None:
    listed = shop("workflow", "list", "--url", LIST, "--json").json
    assert {*written} < {each["id"] for each in listed}
    for each in written:
        shown = shop("workflow", "show", each, "--url", LIST)
        assert shown.code == 0
        assert "completed" in shown.out
    doctor = shop("doctor", "--url", LIST)
    assert doctor.code == 0
    assert "2 servers" in doctor.out


def test_the_audit_looks_across_servers(shop: Shop, written: list[str]) -> None:
    good = shop("doctor", "--verify", "--url", LIST, "--json", "--baseline", "seen")
    assert good.json["violations"] == []
    assert good.json["facts"]["invocations"] == 4
    again = shop("doctor", "--verify", "--url", LIST, "--json", "--baseline", "seen")
    assert again.json["facts"]["compared with the baseline"] == 4
    change("one.db", f"UPDATE invocation SET generation = 2 WHERE invocation_id = '{written[0]}'")
    bad = shop("doctor", "--verify", "--url", LIST)
    assert bad.code == 1
    assert f"I11 {written[1]}#1: found a parent {written[0]}#1 and no such invocation" in bad.out


def test_the_audit_finds_an_end_that_no_other_server_will_be_told_of(
    shop: Shop, written: list[str]
) -> None:
    change(
        "two.db",
        "INSERT INTO foreign_watcher (target_id, target_generation, server, ended)"
        f" VALUES ('{written[1]}', 1, 1, 0)",
    )
    change(
        "one.db",
        "INSERT INTO foreign_watch (target_id, target_generation, server, watcher)"
        " VALUES ('x', 1, 2, 99)",
    )
    bad = shop("doctor", "--verify", "--url", LIST)
    assert "watch 2 by server 1, which is not told of the end" in bad.out
    assert "watch 2 of another server by nobody" in bad.out


def test_one_server_of_a_list_looked_at_alone_has_no_orphans(
    shop: Shop, written: list[str]
) -> None:
    del written
    assert shop("doctor", "--verify", "--url", "sqlite:///two.db").code == 0


def test_a_list_without_a_server_is_refused(shop: Shop, written: list[str]) -> None:
    del written
    wrong = shop("workflow", "list", "--url", "sqlite:///two.db sqlite:///one.db")
    assert wrong.code == 5
    assert "in the order in which they were added" in wrong.err


def test_no_password_of_a_list_is_shown() -> None:
    urls = "postgresql://u:p1@one/db postgresql://u:p@2@two/db?password=p3 postgresql://three/db"
    shown = Source(Settings(database_url=urls), "a test").url
    assert shown == (
        "postgresql://u:***@one/db postgresql://u:***@two/db?password=*** postgresql://three/db"
    )
