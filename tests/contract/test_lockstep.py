"""Every backend and the memory backend, driven in lockstep over random programs of calls."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from hypothesis import settings

from perdure.backends.base import Backend
from perdure.backends.memory import MemoryBackend
from perdure.backends.postgres import PostgresBackend
from perdure.backends.sqlite import SQLiteBackend
from perdure.testing.contract.lockstep import Lockstep
from perdure.testing.contract.lockstep_servers import LockstepServers
from tests.support.postgres import empty_database
from tests.support.stores import server_url

pytestmark = pytest.mark.timeout(600)  # Hypothesis would take a time limit for a flaky test.


class SQLiteLockstep(Lockstep):
    def make_backend(self, now: Callable[[], int], store_id: bytes, folder: Path) -> Backend:
        return SQLiteBackend(folder / "db", now=now, store_id=store_id, synchronous="normal")


class PostgresLockstep(Lockstep):
    """Each example has the emptied database, and the store id of the model."""

    def make_backend(self, now: Callable[[], int], store_id: bytes, folder: Path) -> Backend:
        url = empty_database(server_url())
        PostgresBackend(url).store_id()
        with psycopg.connect(url) as connection:
            connection.execute("UPDATE perdure.meta SET store_id = %s", (store_id,))
        return PostgresBackend(url, now=now)


class MemoryLockstep(Lockstep):
    """The model against itself: the machine must not find differences of its own making."""

    def make_backend(self, now: Callable[[], int], store_id: bytes, folder: Path) -> Backend:
        return MemoryBackend(now, store_id)


class SQLiteServers(LockstepServers, SQLiteLockstep):
    """One of several servers."""


class PostgresServers(LockstepServers, PostgresLockstep):
    """The same on PostgreSQL."""


TestSQLite = SQLiteLockstep.TestCase
TestSQLite.settings = settings(max_examples=150, stateful_step_count=40)
TestPostgres = PostgresLockstep.TestCase
TestPostgres.settings = settings(max_examples=15, stateful_step_count=30)
TestMemory = MemoryLockstep.TestCase
TestMemory.settings = settings(max_examples=10)
TestSQLiteServers = SQLiteServers.TestCase
TestSQLiteServers.settings = settings(max_examples=60, stateful_step_count=40)
TestPostgresServers = PostgresServers.TestCase
TestPostgresServers.settings = settings(max_examples=8, stateful_step_count=30)
