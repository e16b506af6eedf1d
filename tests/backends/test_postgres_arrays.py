"""Columns as binary arrays: what the server reads is what was given, whatever it is."""

from __future__ import annotations

import psycopg
import pytest

from perdure.backends.postgres.arrays import Blobs, Column, Numbers, Texts, teach

MOST, LEAST = 2**63 - 1, -(2**63)


@pytest.fixture
def connection(postgres_url: str):
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        teach(connection)
        yield connection


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("bigint", Numbers((0, None, MOST, LEAST))),
        ("bigint", Numbers()),
        ("int", Numbers((1, -1))),
        ("text", Texts(("", None, "plain", "quotes \" ' \\ {,}", "NULL", "Grüße 漢字 🎉"))),
        ("text", Texts()),
        ("bytea", Blobs((b"", None, bytes(range(256))))),
        ("bytea", Blobs()),
        ("bigint", Numbers((None, None))),
        ("bytea", Blobs((None,))),
    ],
)
@pytest.mark.parametrize("times", [1, 5], ids=["at once", "prepared"])
def test_columns_arrive_as_they_are(
    connection: psycopg.Connection, kind: str, values: Column, times: int
) -> None:
    for _ in range(times):
        query = f"SELECT coalesce(array_agg(each), '{{}}') FROM unnest(%s::{kind}[]) AS each"
        row = connection.execute(query.encode(), (values,)).fetchone()
        assert row == (list(values),)


@pytest.mark.parametrize("values", [Numbers((2**63,)), Numbers((-(2**63) - 1,)), Texts(("a\0b",))])
def test_what_the_database_cannot_hold_is_an_error_of_data(
    connection: psycopg.Connection, values: Column
) -> None:
    with pytest.raises(psycopg.DataError):
        connection.execute("SELECT %s", (values,))
