"""The PostgreSQL state backend."""

from __future__ import annotations

from perdure.backends.postgres.backend import PostgresBackend

__all__ = ["PostgresBackend"]
