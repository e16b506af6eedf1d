"""`perdure db status|upgrade|sql`, on SQLite and PostgreSQL: nothing is written but by upgrade."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from perdure.backends.postgres import schema as postgres_schema
from perdure.backends.sqlite import schema as sqlite_schema
from perdure.cli.locate import Source
from tests.cli.conftest import Shop
from tests.support.stores import fresh_postgres_url

__all__ = ["fresh_postgres_url"]


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    """A database that is not there, or has nothing in it."""
    if request.param == "sqlite":
        return "sqlite:///new.db"
    # Tests name it before the shop, in whose environment no server is named.
    found: str = request.getfixturevalue("fresh_postgres_url")
    return found


def run_script(url: str, script: str) -> None:
    """What an administrator does with the output of `db sql`."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            connection.executescript(script)
    else:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(script.encode())


def set_versions(url: str, *versions: int) -> None:
    change = "SET schema_version = {}, min_reader = {}, min_writer = {};".format(*versions)
    table = "meta" if url.startswith("sqlite") else "perdure.meta"
    run_script(url, f"UPDATE {table} {change}")


def test_a_database_is_made_once(url: str, shop: Shop) -> None:
    before = shop("db", "status", "--url", url)
    assert before.code == 1
    assert "there is no schema yet" in before.out
    assert not Path("new.db").exists(), "a look makes nothing"

    made = shop("db", "upgrade", "--url", url)
    assert (made.code, made.out) == (0, "")
    assert "from schema 0 to" in made.err
    done = shop("db", "status", "--url", url, "--json")
    assert done.code == 0
    assert done.json["status"] == "fits"
    assert done.json["schema_version"] == done.json["known"] > 0

    again = shop("db", "upgrade", "--url", url)
    assert again.code == 0
    assert "Nothing to do" in again.err
    nothing = shop("db", "sql", "--url", url)
    assert (nothing.code, nothing.out) == (0, "")


def test_the_printed_sql_makes_the_same_database(url: str, shop: Shop) -> None:
    script = shop("db", "sql", "--url", url)
    assert script.code == 0
    assert shop("db", "status", "--url", url).code == 1, "printing changes nothing"
    run_script(url, script.out)
    assert shop("db", "status", "--url", url).code == 0
    assert "Nothing to do" in shop("db", "upgrade", "--url", url).err
    assert shop("doctor", "--url", url).code in {0, 1}  # 1: the server of the tests is not durable
    with pytest.raises((sqlite3.OperationalError, psycopg.errors.DuplicateSchema)):
        run_script(url, script.out)


def test_a_schema_from_the_future(url: str, shop: Shop) -> None:
    assert shop("db", "upgrade", "--url", url).code == 0
    known = shop("db", "status", "--url", url, "--json").json["known"]

    set_versions(url, 99, known, known)
    assert shop("db", "status", "--url", url).code == 0
    assert "Nothing to do" in shop("db", "upgrade", "--url", url).err

    set_versions(url, 99, known, 99)
    found = shop("db", "status", "--url", url)
    assert found.code == 5
    assert "too new to be written" in found.out
    refused = shop("db", "upgrade", "--url", url)
    assert refused.code == 5
    assert "Upgrade perdure" in refused.err

    set_versions(url, 99, 99, 99)
    assert shop("db", "status", "--url", url, "--json").json["status"] == "too new to read"
    nothing = shop("db", "sql", "--url", url)
    assert (nothing.code, nothing.out) == (0, "")


def test_another_program_s_database(url: str, shop: Shop) -> None:
    if url.startswith("sqlite"):
        run_script(url, "CREATE TABLE theirs (x)")
    else:
        run_script(url, "CREATE SCHEMA perdure; CREATE TABLE perdure.theirs (x int)")
    for command in ("status", "upgrade", "sql"):
        done = shop("db", command, "--url", url)
        assert (done.code, done.out) == (5, "")
        assert "not touched" in done.err


def test_an_old_schema_is_told_and_upgraded(
    url: str, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shop("db", "upgrade", "--url", url).code == 0
    known = shop("db", "status", "--url", url, "--json").json["known"]
    if url.startswith("sqlite"):
        newer: tuple[Any, ...] = (
            *sqlite_schema.load_migrations(),
            sqlite_schema.Migration(known + 1, 1, known, ("CREATE TABLE later (x) ;",)),
        )
        monkeypatch.setattr(sqlite_schema, "load_migrations", lambda: newer)
    else:
        newer = (
            *postgres_schema.load_migrations(),
            postgres_schema.Migration(
                known + 1, 1, known, "later", "CREATE TABLE perdure.later (x int);"
            ),
        )
        monkeypatch.setattr(postgres_schema, "load_migrations", lambda: newer)

    old = shop("db", "status", "--url", url)
    assert old.code == 1
    assert "perdure db upgrade" in old.out
    script = shop("db", "sql", "--url", url).out
    assert "later" in script
    assert "application_id" not in script
    assert "CREATE SCHEMA" not in script

    upgraded = shop("db", "upgrade", "--url", url)
    assert upgraded.code == 0
    assert f"from schema {known} to {known + 1}" in upgraded.err
    status = shop("db", "status", "--url", url, "--json").json
    assert (status["schema_version"], status["min_writer"]) == (known + 1, known)
    with pytest.raises((sqlite3.OperationalError, psycopg.errors.DuplicateTable)):
        run_script(url, script)


def test_memory_has_no_schema(shop: Shop) -> None:
    done = shop("db", "status", "--url", "memory://")
    assert done.code == 2
    assert "has no schema" in done.err


def test_a_server_that_is_away_and_a_password(shop: Shop) -> None:
    for url, code in (
        ("postgresql://someone:s3cr3t@127.0.0.1:1/shop", 5),
        ("postgresql://someone:s3/cr@3t@127.0.0.1:1/shop", 2),
        ("postgresql://someone:12/s3@127.0.0.1:1/shop", 2),
        ("postgresql://someone@127.0.0.1:1/shop?password=s3cr3t", 5),
        ("postgresql://someone@127.0.0.1:1/shop?password=s3cr3t&nonsense=1", 2),
    ):
        done = shop("db", "status", "--url", url, "--debug")
        assert done.code == code
        assert "s3" not in done.out + done.err
        assert "cr@" not in done.out + done.err


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:pw@h/db", "postgresql://me:***@h/db"),
        ("postgresql://me:p/w@x@h/db", "postgresql://me:***@h/db"),
        ("postgresql://me@h/db?password=pw&a=b", "postgresql://me@h/db?password=***&a=b"),
        ("sqlite:///a.db", "sqlite:///a.db"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    from perdure.api.settings import Settings

    assert Source(Settings(database_url=url), "a test").url == shown
