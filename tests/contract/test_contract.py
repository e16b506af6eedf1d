"""The shipped contract, run on every backend that we ship, and on two objects on one file."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from perdure.backends.base import Backend
from perdure.backends.memory import MemoryBackend
from perdure.backends.postgres import PostgresBackend
from perdure.backends.sqlite import SQLiteBackend
from perdure.testing.contract import BackendContract


class TestMemory(BackendContract):
    def make_backend(self, now: Callable[[], int], folder: Path) -> Backend:
        return MemoryBackend(now)


class TestSQLite(BackendContract):
    def make_backend(self, now: Callable[[], int], folder: Path) -> Backend:
        return SQLiteBackend(folder / "perdure.db", now=now)


class TestSQLiteNormal(BackendContract):
    """The weaker mode, which loses nothing but the newest commits at a loss of power."""

    def make_backend(self, now: Callable[[], int], folder: Path) -> Backend:
        return SQLiteBackend(folder / "perdure.db", now=now, synchronous="normal")


class TestPostgres(BackendContract):
    @pytest.fixture(autouse=True)
    def database(self, postgres_url: str) -> None:
        self.url = postgres_url

    def make_backend(self, now: Callable[[], int], folder: Path) -> Backend:
        return PostgresBackend(self.url, now=now)


class Alternating:
    """Sends each call to the next of several backends on one file, like so many processes."""

    def __init__(self, *backends: Backend) -> None:
        self._backends = backends
        self._turns = cycle(backends)

    def __getattr__(self, name: str) -> Any:
        if name == "close":
            return self._close
        return lambda *args, **kwargs: getattr(next(self._turns), name)(*args, **kwargs)

    def _close(self) -> None:
        for backend in self._backends:
            backend.close()


class TestTwoSQLiteObjectsOnOneFile(BackendContract):
    def make_backend(self, now: Callable[[], int], folder: Path) -> Backend:
        path = folder / "perdure.db"
        backend: Any = Alternating(SQLiteBackend(path, now=now), SQLiteBackend(path, now=now))
        result: Backend = backend
        return result


class TestTwoPostgresObjectsOnOneDatabase(TestPostgres):
    def make_backend(self, now: Callable[[], int], folder: Path) -> Backend:
        backend: Any = Alternating(*(PostgresBackend(self.url, now=now) for _ in range(2)))
        result: Backend = backend
        return result
