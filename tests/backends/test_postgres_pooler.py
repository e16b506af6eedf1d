"""PostgreSQL behind a real PgBouncer that gives each transaction another session of the server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from perdure.backends.base import Backend
from perdure.backends.postgres import PostgresBackend
from perdure.testing.contract import BackendContract
from tests.support.pgbouncer import PgBouncer
from tests.support.stores import postgres_url, server_url

__all__ = ["postgres_url"]

# One process of the run starts one PgBouncer.
pytestmark = pytest.mark.xdist_group("pgbouncer")


@pytest.fixture(scope="module")
def pgbouncer() -> Iterator[PgBouncer]:
    """The pooler in front of the PostgreSQL of this run."""
    made = PgBouncer(server_url())
    yield made
    made.remove()


class TestContractBehindPgBouncer(BackendContract):
    @pytest.fixture(autouse=True)
    def database(self, pgbouncer: PgBouncer, postgres_url: str) -> None:
        self.url = pgbouncer.url(postgres_url)

    def make_backend(self, now: Callable[[], int], folder: Path) -> Backend:
        return PostgresBackend(f"{self.url}?pooler=transaction", now=now)
