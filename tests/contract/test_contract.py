"""The shipped contract, run on every backend that we ship, and on two objects on one file."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from perdure.backends.base import Backend
from perdure.backends.memory import MemoryBackend
from perdure.backends.memory_server import MemoryServer
from perdure.backends.postgres import PostgresBackend
from perdure.backends.server import Server
from perdure.backends.sharded import ShardedBackend
from perdure.backends.sqlite import SQLiteBackend
from perdure.testing.contract import BackendContract, ServerContract
from perdure.testing.contract.claiming import LeaseContract, NextDueContract, ResumeContract
from perdure.testing.contract.committing import DataContract, DispositionContract, FenceContract
from perdure.testing.contract.querying import QueryContract
from perdure.testing.contract.registering import RegisterContract


class TestMemory(BackendContract):
    def make_backend(self, now: Callable[[], int], folder: Path) -> Backend:
        return MemoryBackend(now)


class TestMemoryServer(ServerContract):
    def make_backend(self, now: Callable[[], int], folder: Path) -> Backend:
        return MemoryServer(now)


class TestSQLite(BackendContract, ServerContract):
    def make_backend(self, now: Callable[[], int], folder: Path) -> Backend:
        return SQLiteBackend(folder / "perdure.db", now=now)


class TestSQLiteNormal(BackendContract):
    """The weaker mode, which loses nothing but the newest commits at a loss of power."""

    def make_backend(self, now: Callable[[], int], folder: Path) -> Backend:
        return SQLiteBackend(folder / "perdure.db", now=now, synchronous="normal")


class TestPostgres(BackendContract, ServerContract):
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
        if name in ("close", "go_by"):
            return lambda *args: self._tell_all(name, *args)
        return lambda *args, **kwargs: getattr(next(self._turns), name)(*args, **kwargs)

    def _tell_all(self, name: str, *args: Any) -> None:
        for backend in self._backends:
            getattr(backend, name)(*args)


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


def sharded(*servers: Server) -> Backend:
    return ShardedBackend([(f"server-{n}", server) for n, server in enumerate(servers, 1)])


class TestShardedOverOne(BackendContract):
    """A list of one server is that server."""

    def make_backend(self, now: Callable[[], int], folder: Path) -> Backend:
        return sharded(MemoryServer(now))


class OverTwo(
    NextDueContract,
    LeaseContract,
    ResumeContract,
    FenceContract,
    DispositionContract,
    DataContract,
    RegisterContract,
    QueryContract,
):
    """What holds over several servers just as on one.

    The rest is the business of one server, and differs on purpose: the order of claims, limits of
    queues, children with given ids, ends that are told at once.
    """


class TestShardedOverTwoMemories(OverTwo):
    def make_backend(self, now: Callable[[], int], folder: Path) -> Backend:
        return sharded(*(MemoryServer(now, bytes([n]) * 16) for n in range(2)))


class TestShardedOverTwoFiles(OverTwo):
    def make_backend(self, now: Callable[[], int], folder: Path) -> Backend:
        return sharded(
            *(SQLiteBackend(folder / f"{n}", now=now, store_id=bytes([n]) * 16) for n in range(2))
        )
