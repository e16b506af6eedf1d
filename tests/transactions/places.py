"""The databases that transactions are tested on, and what is committed there."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import create_engine

from perdure.transactions.database import Database
from tests.support.postgres import make_database
from tests.support.stores import server_url

Source = Callable[[Path], Any]

_databases: list[str] = []


def postgres_of(_: Path) -> str:
    """One database for all of these tests; each has a table of its own."""
    if not _databases:
        _databases.append(make_database(server_url()))
    return _databases[0]


def for_alchemy(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://")


def run(tx: Any, text: str) -> Any:
    """Run a statement that is written out, on any driver's connection."""
    return tx.exec_driver_sql(text) if hasattr(tx, "exec_driver_sql") else tx.execute(text)


SOURCES: dict[str, Source] = {
    "a file": lambda folder: f"sqlite:///{folder / 'orders.db'}",
    "a function of sqlite3": lambda folder: lambda: sqlite3.connect(folder / "orders.db"),
    "psycopg": postgres_of,
    "a function of psycopg": lambda folder: lambda: psycopg.connect(postgres_of(folder)),
    "SQLAlchemy on a file": lambda folder: create_engine(f"sqlite:///{folder / 'orders.db'}"),
    "SQLAlchemy on psycopg": lambda folder: create_engine(for_alchemy(postgres_of(folder))),
}
_tables = itertools.count(1)


class Orders:
    """A database with one table, and what of it is committed."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.table = f"orders_{next(_tables)}"
        with database.transaction() as tx:
            run(tx, f"CREATE TABLE {self.table} (what TEXT UNIQUE)")

    def write(self, tx: Any, what: str) -> None:
        run(tx, f"INSERT INTO {self.table} VALUES ('{what}')")

    def committed(self) -> list[str]:
        with self.database.transaction() as tx:
            return [row[0] for row in run(tx, f"SELECT what FROM {self.table}").fetchall()]

    def kept(self, task: str) -> int:
        with self.database.transaction() as tx:
            asked = f"SELECT count(*) FROM perdure_outcomes WHERE task = '{task}{self.table}'"
            return int(run(tx, asked).fetchone()[0])
