"""What reaches a SQLite file while something runs: statements and commits."""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter
from collections.abc import Callable, Generator
from typing import Any, Protocol
from unittest import mock

_connect = sqlite3.connect


class Trace(Protocol):
    """Counts what reaches one store."""

    def listening(self) -> contextlib.AbstractContextManager[None]:
        """For connections that are opened in this with block."""
        ...

    def of(self, step: Callable[[], object]) -> Counter[str]:
        """Run it; the counts by name."""
        ...


class SQLiteTrace:
    """By SQLite's own trace. BEGIN and COMMIT are statements too.

    A PRAGMA is none: those of a checkpoint come once in thousands of changes, at any of them.
    """

    def __init__(self) -> None:
        self._connections: list[sqlite3.Connection] = []
        self._counts: Counter[str] = Counter()

    @contextlib.contextmanager
    def listening(self) -> Generator[None]:
        def connect(*args: Any, **settings: Any) -> sqlite3.Connection:
            connection: sqlite3.Connection = _connect(*args, **settings)
            self._connections.append(connection)
            return connection

        with mock.patch.object(sqlite3, "connect", connect):
            yield

    def of(self, step: Callable[[], object]) -> Counter[str]:
        self._counts = Counter()
        for connection in self._connections:
            connection.set_trace_callback(self._heard)
        try:
            step()
        finally:
            for connection in self._connections:
                connection.set_trace_callback(None)
        return self._counts

    def _heard(self, statement: str) -> None:
        self._counts["statements"] += not statement.startswith("PRAGMA")
        self._counts["commits"] += statement.startswith("COMMIT")
