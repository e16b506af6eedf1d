"""A path for a database, a clock, and backends that are closed at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from perdure.backends.sqlite import SQLiteBackend
from perdure.testing.contract import Clock, World
from tests.support.stores import fresh_postgres_url, postgres_url

__all__ = ["fresh_postgres_url", "postgres_url"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "perdure.db"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def open_backend(path: Path, clock: Clock) -> Iterator[Callable[..., SQLiteBackend]]:
    """Open the database at `path`, or at another one, as often as wanted."""
    opened: list[SQLiteBackend] = []

    def open_one(**changes: Any) -> SQLiteBackend:
        where = changes.pop("path", path)
        arguments: dict[str, Any] = {"now": clock, "lock_timeout": 5.0} | changes
        backend = SQLiteBackend(where, **arguments)
        opened.append(backend)
        return backend

    yield open_one
    for backend in opened:
        backend.close()


@pytest.fixture
def backend(open_backend: Callable[..., SQLiteBackend]) -> SQLiteBackend:
    return open_backend()


@pytest.fixture
def world(backend: SQLiteBackend, clock: Clock) -> World:
    return World(backend, clock)
