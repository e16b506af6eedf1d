"""What the tests of this folder get."""

from __future__ import annotations

from tests.support.stores import fresh_postgres_url

__all__ = ["fresh_postgres_url"]
