"""PostgreSQL behind a real PgBouncer that gives each transaction another session of the server."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from perdure import Perdure
from perdure.backends.base import Backend
from perdure.backends.hints import Hint
from perdure.backends.postgres import PostgresBackend, hints, store
from perdure.testing.contract import BackendContract
from tests.support.pgbouncer import PgBouncer
from tests.support.stores import LONG, in_threads, postgres_url, server_url

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


@pytest.fixture
def pooled_url(pgbouncer: PgBouncer, postgres_url: str) -> str:
    """The tests' database through the pooler, without a word about it in the URL."""
    return pgbouncer.url(postgres_url)


def test_a_pooler_is_recognised(pooled_url: str, postgres_url: str) -> None:
    for url, pooled in ((pooled_url, True), (postgres_url, False)):
        backend = PostgresBackend(url)
        assert backend._store.is_pooled() is pooled
        backend.close()


def test_sessions_do_change_hands(pooled_url: str) -> None:
    """What the tests of this file are worth: a client meets several sessions, and prepares none."""

    def look(number: int) -> set[int]:
        with psycopg.connect(pooled_url, autocommit=True, prepare_threshold=None) as connection:
            seen: set[int] = set()
            for _ in range(30):
                row = connection.execute("SELECT pg_backend_pid()").fetchone()
                assert row is not None
                seen.add(row[0])
            return seen

    assert len(set().union(*in_threads(6, look))) > 1


def test_work_is_found_by_polling(pooled_url: str, caplog: pytest.LogCaptureFixture) -> None:
    here, there = Perdure(pooled_url), Perdure(pooled_url, local_worker=False)

    @here.task(name="double")
    def double(number: int) -> int:
        return 2 * number

    def sum_up(numbers: list[int]) -> int:
        return sum(each.result() for each in [double.start(number) for number in numbers])

    here.workflow(name="sum_up")(sum_up)
    started = there.workflow(name="sum_up")(sum_up)
    try:
        with caplog.at_level(logging.INFO, "perdure.postgres"):
            here.start_worker()
            asked = [started.options(id=f"a{n}").start([n, n + 1]) for n in range(10)]
            assert [each.result(LONG) for each in asked] == [2 * (2 * n + 1) for n in range(10)]
    finally:
        here.close()
        there.close()
    told = [each.message for each in caplog.records if "polling" in each.message]
    assert len(told) == 2, "once for the worker and once for who waits"


def test_a_pooler_that_hides_itself_is_found_by_a_note_to_ourselves(
    pooled_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(store, "_is_behind_a_pooler", lambda *_: False)
    # Bounds would stay behind in the pooler's sessions, which other tests get, too.
    monkeypatch.setattr(store, "_LIMITS", dict.fromkeys(store._LIMITS, "0"))
    monkeypatch.setattr(hints, "PROOF_SECONDS", 0.2)
    heard: list[Hint] = []
    # Prepared statements would fail here, and are not what this is about.
    backend = PostgresBackend(pooled_url)
    with caplog.at_level(logging.INFO, "perdure.postgres"):
        end = backend.hints(heard.append)
        backend._hints._listeners[0]._thread.join(LONG)
        end.close()
    backend.close()
    assert heard == []
    assert [each for each in caplog.records if "polling" in each.message]


def test_nothing_is_set_for_sessions_of_a_pooler(pooled_url: str, postgres_url: str) -> None:
    found = {}
    for url in (pooled_url, postgres_url):
        backend = PostgresBackend(url)
        backend.store_id()
        with psycopg.connect(url, autocommit=True) as connection:
            assert connection.execute("SHOW lock_timeout").fetchone() == ("0",)
        pooled = backend._store._pool.take(LONG)[0]
        found[url] = pooled.execute("SHOW lock_timeout").fetchone()
        backend._store._pool.give(pooled)
        backend.close()
    assert found == {pooled_url: ("0",), postgres_url: (f"{store.LOCK_SECONDS}s",)}
