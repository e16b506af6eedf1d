"""What the tests of this folder get."""

from __future__ import annotations

from tests.support.stores import memory_store, postgres_url, sqlite_store, store

__all__ = ["memory_store", "postgres_url", "sqlite_store", "store"]
