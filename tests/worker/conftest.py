"""What the tests of this folder get."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.stores import memory_store, sqlite_store, store
from tests.worker.fleet import Fleet

__all__ = ["memory_store", "sqlite_store", "store"]


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """A shop without workers; those that a test starts end with it."""
    made = Fleet(tmp_path)
    yield made
    made.close()
