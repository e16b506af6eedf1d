"""What the tests of this folder get."""

from __future__ import annotations

from typing import Any

import pytest

from perdure import Perdure
from perdure.backends.memory import MemoryBackend
from tests.support.stores import memory_store, sqlite_store, store

__all__ = ["memory_store", "sqlite_store", "store"]


@pytest.fixture
def backend() -> MemoryBackend:
    return MemoryBackend()


@pytest.fixture
def app(backend: MemoryBackend) -> Any:
    with Perdure(backend=backend, local_worker=False, grace=0.0) as made:
        yield made
