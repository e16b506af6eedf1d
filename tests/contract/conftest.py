"""What the tests of this folder get."""

from __future__ import annotations

from tests.support.stores import postgres_url

__all__ = ["postgres_url"]
