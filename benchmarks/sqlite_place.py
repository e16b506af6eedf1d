"""A SQLite file in a folder of its own."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any, Literal

from benchmarks.places import AT_ONCE, Delay, Place, Rows
from benchmarks.rates import rate
from benchmarks.statements import statements
from perdure.backends.sqlite.lockfile import LockFile
from perdure.errors import BackendUnavailable

_SQL = statements("sqlite")
_BATCH = 100


class SQLitePlace(Place):
    """A store whose commits survive a loss of power ("full"), or the death of a process."""

    def __init__(self, synchronous: Literal["full", "normal"]) -> None:
        super().__init__()
        self._synchronous: Literal["full", "normal"] = synchronous
        self._raw = 0

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / "perdure.db"

    @property
    def url(self) -> str:
        return f"sqlite:///{self.path}"

    def settings(self) -> dict[str, Any]:
        return {"synchronous": "normal" if self._hurries else self._synchronous}

    def _raw_file(self) -> sqlite3.Connection:
        self._raw += 1
        connection = sqlite3.connect(self.folder / f"raw-{self._raw}.db", isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        connection.execute(_SQL["make_raw"])
        return connection

    def raw_commits(self, seconds: float) -> float:
        connection = self._raw_file()
        body = b"x" * 200
        found = rate(lambda _: connection.execute(_SQL["insert_raw"], (body,)), seconds)
        connection.close()
        return found

    def raw_rows(self, seconds: float) -> float:
        connection = self._raw_file()
        rows = [(b"x" * 200,)] * _BATCH

        def batch(_: int) -> None:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(_SQL["insert_raw"], rows)
            connection.execute("COMMIT")

        found = rate(batch, seconds) * _BATCH
        connection.close()
        return found

    def is_held(self) -> bool:
        lock = LockFile(f"{self.path}-lock")
        try:
            lock.acquire(0.0)
        except BackendUnavailable:
            return True
        lock.close()
        return False

    def stored_bytes(self) -> int:
        connection = sqlite3.connect(self.path, isolation_level=None)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        return self.path.stat().st_size

    def copy_rows(self, kind: Rows, count: int, delay: Delay = AT_ONCE) -> int:
        connection = sqlite3.connect(self.path, isolation_level=None)
        connection.execute("PRAGMA synchronous = OFF")
        first = time.time_ns() // 1_000 + delay.lead
        (after,) = connection.execute(_SQL["take_seqs"]).fetchone()
        asked = {"count": count, "kind": kind, "first": first, "step": delay.step, "after": after}
        connection.execute("BEGIN IMMEDIATE")
        if kind == "delayed":
            connection.executemany(_SQL["copy_call"], self.own_calls(kind, count, after))
        else:  # they never run
            connection.execute(_SQL["copy_calls"], asked)
        connection.execute(_SQL["copy_invocations"], asked)
        connection.execute("COMMIT")
        if kind != "delayed":  # else a worker is there, and no checkpoint may run beside a writer
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        return first
