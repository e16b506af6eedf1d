"""Two real PostgreSQL servers: one app, and the same id before and after the second one joins."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from perdure import Perdure
from perdure.errors import ServerListMismatch
from tests.support.postgres import PostgresServer
from tests.support.stores import in_threads


@pytest.fixture
def urls(fresh_postgres_url: str) -> Iterator[list[str]]:
    second = PostgresServer()
    try:
        second.start()
        yield [fresh_postgres_url, second.url()]
    finally:
        second.remove()


def with_square(url: str | list[str]) -> tuple[Perdure, list[int]]:
    app, ran = Perdure(url, grace=0.0), []

    @app.workflow(name="square")
    def square(n: int) -> int:
        ran.append(n)
        return n * n

    @app.workflow(name="sums")
    def sums(ids: list[str]) -> int:
        handles = [square.options(id=each).start(n) for n, each in enumerate(ids)]
        return sum(handle.result() for handle in handles)

    return app, ran


def test_the_same_id_before_during_and_after_a_server_is_added_runs_once(urls):
    ids = [f"order-{n}" for n in range(16)]
    old, ran_old = with_square(urls[0])
    for n, id_ in enumerate(ids[:5]):
        old.named("square").options(id=id_).start(n)

    def start(number: int) -> int:
        app = old if number == 0 else with_square(urls)[0]
        refused = 0
        for n, id_ in enumerate(ids):
            try:
                app.named("square").options(id=id_).start(n)
            except ServerListMismatch:
                assert number == 0
                refused += 1
        return refused

    in_threads(2, start)
    new, ran = with_square(urls)
    for n, id_ in enumerate(ids):
        assert new.named("square").options(id=id_).start(n).result(60) == n * n
    assert sorted(ran_old + ran) == list(range(16))
    top = new.named("sums").options(id="top").start(ids)
    assert top.result(60) == sum(n * n for n in range(16))
    assert sorted(ran_old + ran) == list(range(16))
    with pytest.raises(ServerListMismatch):
        old.named("square").options(id="late").start(1)
    for app in (old, new):
        app.close()
