"""What a claim costs beside a crowd: counted, not timed, and the same beside ten times as many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import psycopg
import pytest

from benchmarks.statements import statements
from perdure.backends.postgres import PostgresBackend
from perdure.backends.postgres.sql import text
from perdure.backends.postgres.store import Store
from perdure.backends.sqlite import SQLiteBackend
from perdure.testing.contract import Clock, World
from perdure.testing.contract.world import SECOND

Kind = Literal["waiting", "finished"]
KINDS: list[Kind] = ["waiting", "finished"]
FEW, MANY = 2_000, 20_000
FLAT = 1.2
"""Indexes get a level deeper now and then; more than that is growth."""
SMALL = 8
"""Rows taken by the claim that is counted."""


def crowd(kind: Kind, count: int, after: int, first: int) -> dict[str, Any]:
    """Parameters of `copy_invocations`. The sleepers wait for a day."""
    return {"kind": kind, "count": count, "after": after, "first": first, "step": 0}


def prepare(world: World) -> None:
    world.finish(world.running("sample"))
    for number in range(SMALL):
        world.start(f"ready-{number}")
    world.start("later", delay=SECOND)


def sqlite_steps(backend: SQLiteBackend, clock: Clock, kind: Kind, count: int) -> list[int]:
    """Steps of SQLite's machine in a claim that takes something, and in one that does not."""
    world = World(backend, clock)
    prepare(world)
    store = backend._store
    with store.write() as connection:
        copy = statements("sqlite")["copy_invocations"]
        connection.execute(copy, crowd(kind, count, 1_000, world.clock.at))
    taken = [0]

    def step() -> int:
        taken[0] += 1
        return 0

    with store.read() as reader, store.write() as writer:
        connections = [reader, writer]
    for connection in connections:
        connection.set_progress_handler(step, 1)
    found = []
    for claimed in (SMALL, 0):
        taken[0] = 0
        assert len(world.claim(limit=16).records) == claimed
        found.append(taken[0])
    for connection in connections:
        connection.set_progress_handler(None, 1)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_sqlite_claims_cost_the_same_beside_a_bigger_crowd(
    kind: Kind, open_backend: Callable[..., Any], tmp_path, clock
) -> None:
    few, many = (
        sqlite_steps(open_backend(path=tmp_path / f"{count}.db"), clock, kind, count)
        for count in (FEW, MANY)
    )
    assert all(few)
    assert [each <= before * FLAT for before, each in zip(few, many, strict=True)] == [True] * 2


def pages_of(plan: dict[str, Any]) -> int:
    return int(plan["Shared Hit Blocks"]) + int(plan["Shared Read Blocks"])


def postgres_pages(clock: Clock, url: str, kind: Kind, count: int, monkeypatch) -> list[int]:
    """Pages that a claim looks at which takes something, and one that does not."""
    asked: list[dict[str, Any]] = []
    change = Store.change

    def noted(self, name, parameters):
        if name == "claim":  # another thread of the backend writes its hints meanwhile
            asked.append(parameters)
        return change(self, name, parameters)

    backend = PostgresBackend(url, now=clock)
    world = World(backend, clock)
    prepare(world)
    with monkeypatch.context() as patch:
        patch.setattr(Store, "change", noted)
        world.claim(limit=0)
    backend.close()
    (one,) = asked
    where = one | {"limit": 16}
    found = []
    with psycopg.connect(url) as connection:
        copy = statements("postgres")["copy_invocations"].encode()
        connection.execute(copy, crowd(kind, count, 1_000, clock.at))
        connection.execute("ANALYZE perdure.invocation")
        connection.execute(text("set_clock"), {"now": str(clock.at)})
        connection.execute(text("plans"), {"local": True})
        explain = b"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + text("claim")
        for _ in range(2):
            row = connection.execute(explain, where).fetchone()
            assert row is not None
            found.append(pages_of(row[0][0]["Plan"]))
        (running,) = connection.execute(
            "SELECT count(*) FROM perdure.invocation WHERE state = 'running'"
        ).fetchone() or (0,)
        assert running == SMALL
        connection.rollback()
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_postgres_claims_cost_the_same_beside_a_bigger_crowd(
    kind: Kind, postgres_url, fresh_postgres_url, clock, monkeypatch
) -> None:
    few = postgres_pages(clock, postgres_url, kind, FEW, monkeypatch)
    many = postgres_pages(clock, fresh_postgres_url, kind, MANY, monkeypatch)
    # Together: the second one is a dozen pages, where a level more of the index is a third.
    assert all(few)
    assert sum(many) <= sum(few) * FLAT
