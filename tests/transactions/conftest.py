"""What the tests of this folder get."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from perdure import Perdure
from tests.support.stores import Store, memory_store, postgres_url, sqlite_store, store
from tests.transactions.places import SOURCES, Orders

__all__ = ["memory_store", "postgres_url", "sqlite_store", "store"]


@pytest.fixture(params=sorted(SOURCES))
def orders(request: pytest.FixtureRequest, memory_store: Store, tmp_path: Path) -> Iterator[Orders]:
    app = memory_store.app()
    source = SOURCES[request.param](tmp_path)
    yield Orders(app.database(source))
    if isinstance(source, Engine):
        source.dispose()


@pytest.fixture
def app(memory_store: Store, orders: Orders) -> Perdure:
    return memory_store._apps[0]
