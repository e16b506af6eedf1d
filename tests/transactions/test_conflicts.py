"""What a real PostgreSQL does to transactions: it cuts them off, and lets others go first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from tests.support.stores import Store
from tests.transactions.places import Orders, for_alchemy, postgres_of, run

DRIVERS = ["psycopg", "SQLAlchemy"]


def orders_of(store: Store, folder: Path, driver: str) -> Orders:
    url = postgres_of(folder)
    if driver == "SQLAlchemy":
        return Orders(store.app().database(create_engine(for_alchemy(url), poolclass=NullPool)))
    return Orders(store.app().database(url))


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_connection_that_is_cut_is_no_failure(
    memory_store: Store, tmp_path: Path, driver: str
) -> None:
    orders = orders_of(memory_store, tmp_path, driver)
    app, tries = memory_store._apps[0], []

    @app.transaction(orders.database)
    def pay(tx: Any) -> str:
        orders.write(tx, "pen")
        tries.append(run(tx, "SELECT pg_backend_pid()").fetchone()[0])
        if len(tries) == 1:
            with psycopg.connect(postgres_of(tmp_path), autocommit=True) as other:
                other.execute("SELECT pg_terminate_backend(%s, 10000)", (tries[0],))
            run(tx, "SELECT 1")
        return "paid"

    @app.workflow
    def buy() -> str:
        return pay()

    assert buy() == "paid"
    assert len(set(tries)) == 2
    assert orders.committed() == ["pen"]


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_serialization_failure_runs_the_body_again(
    memory_store: Store, tmp_path: Path, driver: str
) -> None:
    orders = orders_of(memory_store, tmp_path, driver)
    app, seen = memory_store._apps[0], []
    with orders.database.transaction() as tx:
        orders.write(tx, "pen")
    change = f"UPDATE {orders.table} SET what = what || '!'"

    @app.transaction(orders.database)
    def add(tx: Any) -> str:
        run(tx, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
        seen.append(run(tx, f"SELECT what FROM {orders.table}").fetchone()[0])
        if len(seen) == 1:
            with psycopg.connect(postgres_of(tmp_path)) as other:
                other.execute(change.encode())
        run(tx, change)
        return str(seen[-1])

    @app.workflow
    def main() -> str:
        return add()

    assert main() == "pen!", "what the try that was committed has seen"
    assert seen == ["pen", "pen!"]
    assert orders.committed() == ["pen!!"]
