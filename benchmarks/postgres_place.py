"""A database of its own on a PostgreSQL server: a given one, or one with stock settings."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator
from typing import Any

import psycopg
from psycopg import sql

from benchmarks.places import AT_ONCE, Delay, Place, Rows
from benchmarks.processes import cpu_seconds, family, parent_of
from benchmarks.rates import rate
from benchmarks.statements import statements
from tests.support.postgres import (
    URL_VARIABLE,
    PostgresServer,
    drop_database,
    make_database,
)

_SQL = statements("postgres")
_BATCH = 100
_HURRY = "options=-csynchronous_commit%3Doff"


@contextlib.contextmanager
def server() -> Generator[str]:
    """The URL of a server where databases may be made, for as long as the with block lasts."""
    given = os.environ.get(URL_VARIABLE)
    if given is not None:
        yield given
        return
    own = PostgresServer()
    try:
        own.start()
        yield own.url()
    finally:
        own.remove()


def facts(server_url: str) -> dict[str, str]:
    """Version and the settings that decide about speed and durability."""
    names = (
        "server_version", "fsync", "synchronous_commit", "full_page_writes", "wal_sync_method",
        "shared_buffers", "max_wal_size", "checkpoint_timeout", "wal_compression",
    )  # fmt: skip
    with psycopg.connect(server_url, autocommit=True) as connection:
        found = connection.execute(
            "SELECT name, current_setting(name) FROM pg_settings WHERE name = ANY(%s)",
            (list(names),),
        )
        return {str(name): str(value) for name, value in found}


class PostgresPlace(Place):
    """A store whose commits are as durable as the server's settings say."""

    def __init__(self, server_url: str) -> None:
        super().__init__()
        self._server = server_url
        self._url = make_database(server_url)

    @property
    def url(self) -> str:
        if not self._hurries:
            return self._url
        return f"{self._url}{'&' if '?' in self._url else '?'}{_HURRY}"

    def _connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(self._url, autocommit=True)

    @contextlib.contextmanager
    def _raw_table(self) -> Generator[psycopg.Connection[tuple[Any, ...]]]:
        with self._connect() as connection:
            connection.execute(_text("make_raw"))
            yield connection
            connection.execute("DROP TABLE raw")

    def raw_commits(self, seconds: float) -> float:
        asked, text = {"body": b"x" * 200}, _text("insert_raw")
        with self._raw_table() as connection:
            return rate(lambda _: connection.execute(text, asked, prepare=True), seconds)

    def raw_rows(self, seconds: float) -> float:
        asked, text = {"bodies": [b"x" * 200] * _BATCH}, _text("insert_raws")
        with self._raw_table() as connection:
            return _BATCH * rate(lambda _: connection.execute(text, asked, prepare=True), seconds)

    def stored_bytes(self) -> int:
        with self._connect() as connection:
            connection.execute("VACUUM")
            return _number(connection, "stored_bytes")

    def log_bytes(self) -> int:
        with self._connect() as connection:
            return _number(connection, "log_bytes")

    def server_cpu_seconds(self) -> float | None:
        with self._connect() as connection:
            backend = connection.info.backend_pid
            try:
                postmaster = parent_of(backend)
            except FileNotFoundError:
                return None
            return cpu_seconds(family(postmaster))

    def copy_rows(self, kind: Rows, count: int, delay: Delay = AT_ONCE) -> int:
        with self._connect() as connection:
            first = _number(connection, "now") + delay.lead
            after = _number(connection, "take_seqs", count=count)
            asked = {
                "count": count,
                "kind": kind,
                "first": first,
                "step": delay.step,
                "after": after,
            }
            if kind == "delayed":
                calls = self.own_calls(kind, count, after)
                connection.cursor().executemany(_text("copy_call"), calls)
            else:  # they never run
                connection.execute(_text("copy_calls"), asked)
            connection.execute(_text("copy_invocations"), asked)
            connection.execute("ANALYZE" if kind == "delayed" else "VACUUM ANALYZE")
        return first

    def close(self) -> None:
        super().close()
        drop_database(self._server, self._url)


def _text(name: str) -> sql.SQL:
    return sql.SQL(_SQL[name])


def _number(connection: psycopg.Connection[tuple[Any, ...]], name: str, **asked: object) -> int:
    row = connection.execute(_text(name), asked).fetchone()
    assert row is not None
    return int(row[0])
