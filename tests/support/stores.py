"""One store and the apps on it; a clock that tests move; attempts run on the test's own thread.

`Store.app()` gives any number of apps on one store, which is what other processes are. `step` runs
what is claimable now on the calling thread, so a test decides between which two attempts the world
changes, and nothing depends on which thread is faster.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from perdure import Perdure
from perdure.backends.base import Backend, ClaimBatch, ClaimRequest
from perdure.backends.memory import MemoryBackend
from perdure.backends.postgres import PostgresBackend
from perdure.backends.sqlite import SQLiteBackend
from perdure.engine.env import SystemEnv
from perdure.worker.worker import make_attempt
from tests.support.postgres import URL_VARIABLE, drop_database, empty_database, make_database

FIRST_MOMENT = 1_700_000_000_000_000
PG_FAILURE = "PERDURE_TEST_PG_FAILURE"
"""Why this run has no PostgreSQL; see `tests/conftest.py`."""
LONG = 60.0
"""Seconds until a wait that should have ended long before is a failure."""


def server_url() -> str:
    """The PostgreSQL of this run; a test that cannot have one fails."""
    url = os.environ.get(URL_VARIABLE)
    if url is None:
        pytest.fail(os.environ.get(PG_FAILURE, "No PostgreSQL was started for this run."))
    return url


@pytest.fixture
def postgres_url() -> str:
    """A database without rows on the PostgreSQL of this run; its schema may be there already."""
    return empty_database(server_url())


@pytest.fixture
def fresh_postgres_url() -> Iterator[str]:
    """A database of its own, without any schema, for tests that change what others rely on."""
    server = server_url()
    url = make_database(server)
    yield url
    drop_database(server, url)


class VirtualEnv(SystemEnv):
    """The world, but for the time of day, which stands still until a test moves it."""

    def __init__(self) -> None:
        self.moment = FIRST_MOMENT

    def now(self) -> int:
        return self.moment

    def advance(self, seconds: float) -> None:
        self.moment += int(seconds * 1_000_000)


class Store:
    """A place of one kind ("memory", "sqlite", "postgres") where apps of one test meet."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.path = folder / "perdure.db"
        self.env = VirtualEnv()
        self._memory = {False: MemoryBackend(SystemEnv().now), True: MemoryBackend(self.env.now)}
        self._apps: list[Perdure] = []
        self.url = f"sqlite:///{self.path}"
        if kind == "postgres":
            self.url = empty_database(server_url())

    def backend(self, *, virtual: bool) -> Backend:
        if self.kind == "memory":
            return self._memory[virtual]
        if self.kind == "postgres":
            return PostgresBackend(self.url, now=self.env.now if virtual else None)
        now = self.env.now if virtual else SystemEnv().now
        return SQLiteBackend(self.path, synchronous="normal", now=now)

    def app(self, *, virtual: bool = False, grace: float = 0.0, **settings: Any) -> Perdure:
        """A new app on this store. `virtual`: by the store's own clock."""
        app = Perdure(
            backend=self.backend(virtual=virtual),
            env=self.env if virtual else None,
            grace=grace,
            **settings,
        )
        self._apps.append(app)
        return app

    def close(self) -> None:
        for app in self._apps:
            app.close(0.1)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty store: in memory, on SQLite, on PostgreSQL."""
    made = Store(request.param, tmp_path)
    yield made
    made.close()


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[Store]:
    """An empty store on SQLite, for what needs a file."""
    made = Store("sqlite", tmp_path)
    yield made
    made.close()


@pytest.fixture
def memory_store(tmp_path: Path) -> Iterator[Store]:
    """An empty store in memory, for what does not depend on the backend."""
    made = Store("memory", tmp_path)
    yield made
    made.close()


LEASE = 30.0


def claim(app: Perdure, **changes: Any) -> ClaimBatch:
    """What a worker of this app takes now."""
    request = ClaimRequest(
        app=app.runtime.app_name,
        owner="a test",
        names=frozenset(app.registry),
        limits=app.declared_queues.limits(),
        limit=100,
        lease=int(LEASE * 1e6),
    )
    return app.runtime.backend.claim(msgspec.structs.replace(request, **changes))


def step(app: Perdure, limit: int = 1) -> list[Any]:
    """Claim up to `limit` invocations and run an attempt of each, here and now.

    Gives the attempts, whose `error` says what stopped them.
    """
    runtime = app.runtime
    asked_at = runtime.env.monotonic()
    attempts = []
    for record in claim(app, limit=limit).records:
        runtime.leases.add(record.key, record.epoch, asked_at, LEASE)
        attempt = make_attempt(runtime, record, app.registry[record.name])
        attempt.run()
        runtime.leases.remove(record.key, record.epoch)
        attempts.append(attempt)
    return attempts


def run_until_idle(app: Perdure, rounds: int = 200) -> int:
    """Step until nothing is claimable; gives how many attempts that took."""
    for count in range(rounds):
        if not step(app):
            return count
    raise AssertionError(f"still claimable after {rounds} attempts")


def in_threads(count: int, work: Callable[[int], Any]) -> list[Any]:
    """Run `work(number)` on `count` threads that start together; results in order."""
    barrier = threading.Barrier(count)
    results: list[Any] = [None] * count
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            barrier.wait(LONG)
            results[number] = work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(n,), daemon=True) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
        assert not thread.is_alive()
    if errors:
        raise errors[0]
    return results
