"""The SQLite state backend. Nothing else is exported; only the app names it."""

from __future__ import annotations

from perdure.backends.sqlite.backend import SQLiteBackend

__all__ = ["SQLiteBackend"]
