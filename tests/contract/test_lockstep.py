"""The SQLite backend and the memory backend, driven in lockstep over random programs of calls."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hypothesis import settings

from perdure.backends.base import Backend
from perdure.backends.memory import MemoryBackend
from perdure.backends.sqlite import SQLiteBackend
from perdure.testing.contract.lockstep import Lockstep


class SQLiteLockstep(Lockstep):
    def make_backend(self, now: Callable[[], int], store_id: bytes, folder: Path) -> Backend:
        return SQLiteBackend(folder / "db", now=now, store_id=store_id, synchronous="normal")


class MemoryLockstep(Lockstep):
    """The model against itself: the machine must not find differences of its own making."""

    def make_backend(self, now: Callable[[], int], store_id: bytes, folder: Path) -> Backend:
        return MemoryBackend(now, store_id)


TestSQLite = SQLiteLockstep.TestCase
TestSQLite.settings = settings(max_examples=150, stateful_step_count=40)
TestMemory = MemoryLockstep.TestCase
TestMemory.settings = settings(max_examples=10)
