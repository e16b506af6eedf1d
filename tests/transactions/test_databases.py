"""Transactions on each kind of database: what is committed, undone, tried again and found again."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import create_engine, create_mock_engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from perdure import Perdure, Retry, wf
from perdure.errors import (
    ConfigurationError,
    InvocationNotFound,
    OperationRefused,
    RegistrationError,
    TaskError,
    WrongColour,
)
from tests.support.stores import Store, run_until_idle
from tests.transactions.places import Orders, for_alchemy, postgres_of, run


def test_rows_and_result_are_there_together(app: Perdure, orders: Orders) -> None:
    @app.transaction(orders.database, name="pay" + orders.table)
    def pay(tx: Any, what: str, cents: int = 5) -> dict[str, int]:
        orders.write(tx, what)
        return {what: cents}

    @app.workflow
    def buy() -> list[dict[str, int]]:
        return [pay("pen"), pay("ink", cents=7), pay.start("cap").result()]

    assert buy() == [{"pen": 5}, {"ink": 7}, {"cap": 5}]
    assert sorted(orders.committed()) == ["cap", "ink", "pen"]
    assert orders.kept("pay") == 3


def test_a_body_that_raises_is_undone_and_tried_again(app: Perdure, orders: Orders) -> None:
    seen: list[str] = []

    @app.transaction(orders.database, retry=Retry(attempts=3, wait_initial=0.001))
    def pay(tx: Any) -> int:
        seen.append(wf.uuid())
        orders.write(tx, f"attempt {len(seen)}")
        if len(seen) < 3:
            raise ConnectionError("busy")
        return len(seen)

    @app.workflow
    def buy() -> int:
        return pay()

    assert buy() == 3
    assert orders.committed() == ["attempt 3"]
    assert len(set(seen)) == 1, "every attempt draws the same"


def test_a_violated_constraint_is_a_failure_of_the_body(app: Perdure, orders: Orders) -> None:
    @app.transaction(orders.database)
    def pay(tx: Any, what: str) -> None:
        orders.write(tx, what)

    @app.workflow
    def buy() -> str:
        pay("pen")
        try:
            pay("pen")
        except TaskError as error:
            return error.type_name
        return ""

    assert buy().endswith(("IntegrityError", "UniqueViolation"))
    assert orders.committed() == ["pen"]


def test_a_body_that_swallowed_a_failure_is_told_what_is_there(
    app: Perdure, orders: Orders
) -> None:
    """PostgreSQL undoes a transaction in which a statement failed; SQLite keeps the rest."""

    @app.transaction(orders.database)
    def pay(tx: Any) -> str:
        orders.write(tx, "pen")
        with contextlib.suppress(sqlite3.Error, psycopg.Error, SQLAlchemyError):
            orders.write(tx, "pen")
        return "paid"

    @app.workflow
    def buy() -> str:
        try:
            return pay()
        except TaskError:
            return "not paid"

    assert (buy() == "paid") == (orders.committed() == ["pen"])


def test_a_result_that_cannot_be_recorded_undoes_the_rows(app: Perdure, orders: Orders) -> None:
    @app.transaction(orders.database)
    def pay(tx: Any) -> object:
        orders.write(tx, "pen")
        return object()

    @app.workflow
    def buy() -> str:
        try:
            pay()
        except Exception as error:
            return type(error).__name__
        return ""

    assert buy() == "SerializationError"
    assert orders.committed() == []


@pytest.mark.parametrize("how", ["commit", "rollback", "COMMIT", "close", "with"])
def test_a_body_that_ends_its_transaction_fails(app: Perdure, orders: Orders, how: str) -> None:
    @app.transaction(orders.database)
    def pay(tx: Any) -> None:
        orders.write(tx, "pen")
        if how == "COMMIT":
            run(tx, how)
        elif how == "with":
            with tx:
                pass
        else:
            getattr(tx, how)()

    @app.workflow
    def buy() -> str:
        try:
            pay()
        except Exception as error:
            return str(error)
        return ""

    told = buy()
    # A COMMIT that is sent as text psycopg cannot see before it happened; the others do.
    by_psycopg = type(orders.database.place.door).__name__ == "PostgresDoor"
    ends_here = "Call neither commit nor rollback in it: return to commit, raise to roll back"
    assert ends_here in told or (by_psycopg and "within a Transaction context" in told), told
    expected = ["pen"] if how == "COMMIT" and by_psycopg else []
    assert orders.committed() == expected


@pytest.mark.parametrize("how", ["commit", "rollback", "COMMIT", "close"])
def test_a_block_that_ends_its_transaction_is_refused(orders: Orders, how: str) -> None:
    def pay(tx: Any) -> None:
        orders.write(tx, "pen")
        if how == "COMMIT":
            run(tx, how)
        else:
            getattr(tx, how)()

    with (
        pytest.raises(Exception, match=r"neither commit nor|within a Transaction context"),
        orders.database.transaction() as tx,
    ):
        pay(tx)
    by_psycopg = type(orders.database.place.door).__name__ == "PostgresDoor"
    assert orders.committed() == (["pen"] if how == "COMMIT" and by_psycopg else [])


def test_savepoints_are_the_body_s_own(app: Perdure, orders: Orders) -> None:
    @app.transaction(orders.database)
    def pay(tx: Any) -> None:
        orders.write(tx, "pen")
        run(tx, "SAVEPOINT mine")
        orders.write(tx, "ink")
        run(tx, "ROLLBACK TO SAVEPOINT mine")

    @app.workflow
    def buy() -> None:
        pay()

    buy()
    assert orders.committed() == ["pen"]


def test_outside_of_a_workflow_it_is_a_transaction_of_its_own(app: Perdure, orders: Orders) -> None:
    @app.transaction(orders.database, name="pay" + orders.table)
    def pay(tx: Any, what: str) -> str:
        orders.write(tx, what)
        if what == "bad":
            raise ValueError(what)
        return what

    assert pay("pen") == "pen"
    with pytest.raises(ValueError, match="bad"):
        pay("bad")
    assert orders.committed() == ["pen"]
    assert orders.kept("pay") == 0


def test_in_a_task_too(app: Perdure, orders: Orders) -> None:
    @app.transaction(orders.database, name="pay" + orders.table)
    def pay(tx: Any, what: str) -> str:
        orders.write(tx, what)
        return what

    @app.task
    def both() -> list[str]:
        return [pay("pen"), pay("ink")]

    @app.workflow
    def buy() -> list[str]:
        return both()

    assert buy() == ["pen", "ink"]
    assert orders.kept("pay") == 0


def test_what_leaves_a_transaction_is_refused(app: Perdure, orders: Orders) -> None:
    @app.task
    def other() -> None: ...

    @app.transaction(orders.database)
    def inner(tx: Any) -> None: ...

    @app.transaction(orders.database)
    def pay(tx: Any, what: str) -> None:
        orders.write(tx, what)
        other.options(id="left").start() if what == "start" else inner()

    @app.workflow
    def buy() -> list[str]:
        found = []
        for what in ("start", "nested"):
            try:
                pay(what)
            except OperationRefused as error:
                found.append(str(error))
        return found

    started, nested = buy()
    assert "inside the transaction" in started
    assert "inside the transaction of" in nested
    assert orders.committed() == []
    with pytest.raises(InvocationNotFound):
        app.invocation("left")


def test_an_outcome_that_is_kept_is_given_and_no_body_runs(
    memory_store: Store, orders: Orders
) -> None:
    """The process died after the commit, before the journal had it."""
    runs: list[int] = []

    def make() -> Perdure:
        app = memory_store.app(virtual=True)
        database = app.database(orders.database._source)

        @app.transaction(database, name="pay")
        def pay(tx: Any) -> str:
            runs.append(1)
            orders.write(tx, f"run {len(runs)}")
            return f"run {len(runs)}"

        @app.workflow(name="buy")
        def buy() -> str:
            return pay()

        return app

    first, second = make(), make()
    first.named("buy").options(id="order").start()
    real = first.runtime.committer.submit

    def dies(transition: Any) -> Any:
        if any(b"run 1" in entry.body for entry in transition.entries):
            raise KeyboardInterrupt
        return real(transition)

    first.runtime.committer.submit = dies  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        run_until_idle(first)
    assert orders.committed() == ["run 1"]
    memory_store.env.advance(3600)
    run_until_idle(second)
    assert second.invocation("order").result(5) == "run 1"
    assert orders.committed() == ["run 1"]
    assert runs == [1]


# --- async ----------------------------------------------------------------------------------------


ASYNC_SOURCES: dict[str, Callable[[str], Any]] = {
    "psycopg": lambda url: url,
    "a function of psycopg": lambda url: lambda: psycopg.AsyncConnection.connect(url),
    "SQLAlchemy": lambda url: create_async_engine(for_alchemy(url), poolclass=NullPool),
}


@pytest.mark.parametrize("source", sorted(ASYNC_SOURCES))
def test_async_functions(memory_store: Store, tmp_path: Path, source: str) -> None:
    app = memory_store.app()
    url = postgres_of(tmp_path)
    orders = Orders(app.database(url))
    database = app.database(ASYNC_SOURCES[source](url))
    tries: list[int] = []

    @app.transaction(database, retry=Retry(attempts=2, wait_initial=0.001))
    async def pay(tx: Any, what: str) -> str:
        tries.append(1)
        await run(tx, f"INSERT INTO {orders.table} VALUES ('{what}{len(tries)}')")
        if len(tries) == 1:
            raise ConnectionError(what)
        return what

    @app.workflow
    async def buy() -> str:
        return await pay("pen")

    @app.workflow
    def buy_now() -> str:
        return pay.call("ink")

    @app.transaction(database)
    async def ends(tx: Any) -> None:
        await run(tx, f"INSERT INTO {orders.table} VALUES ('cap')")
        await tx.commit()

    @app.workflow
    def buy_wrongly() -> str:
        try:
            ends.call()
        except (TaskError, OperationRefused) as error:
            return str(error)
        return ""

    assert buy.options(id=orders.table).start().result(30) == "pen"
    assert buy_now() == "ink"
    assert buy_wrongly() != ""
    assert orders.committed() == ["pen2", "ink3"]


def test_async_functions_need_an_async_driver(sqlite_store: Store, tmp_path: Path) -> None:
    app = sqlite_store.app()
    orders = app.database(f"sqlite:///{tmp_path / 'orders.db'}")
    with pytest.raises(RegistrationError, match=r"await pay\.acall"):

        @app.transaction(orders)
        async def pay(tx: Any) -> None: ...

    @app.transaction(app.database())
    async def pay_here(tx: Any) -> None: ...

    @app.workflow
    async def buy() -> None:
        await pay_here()

    with pytest.raises(WrongColour, match="a driver that blocks"):
        buy.start().result(30)


# --- the database of the state backend ------------------------------------------------------------


def test_in_the_database_of_the_state_backend(store: Store) -> None:
    app = store.app()
    if store.kind == "memory":
        with pytest.raises(ConfigurationError, match="Name one"):
            app.database().place  # noqa: B018 - it is asked for
        return
    orders = Orders(app.database())

    @app.transaction(orders.database, name="pay" + orders.table)
    def pay(tx: Any, what: str) -> str:
        orders.write(tx, what)
        return what

    @app.workflow
    def buy() -> list[str]:
        return [pay("pen"), pay.start("ink").result()]

    assert buy() == ["pen", "ink"]
    assert orders.committed() == ["pen", "ink"]
    assert orders.kept("pay") == 2


def test_the_file_of_the_state_backend_is_known_by_any_name(
    sqlite_store: Store, tmp_path: Path
) -> None:
    """Its writers queue on a lock file, so it must not be opened past that."""
    app = sqlite_store.app()
    app.queues()
    (tmp_path / "other.db").symlink_to(sqlite_store.path)
    orders = Orders(app.database(f"sqlite:///{tmp_path / 'other.db'}"))
    assert type(orders.database.place.door).__name__ == "LentDoor"


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        "orders.db",
        "sqlite://orders.db",
        "sqlite:///:memory:",
        "sqlite:///orders.db?key=secret",
        "mysql://u:secret@h/d",
        7,
    ],
)
def test_a_database_that_is_none_is_refused(memory_store: Store, source: Any) -> None:
    with pytest.raises(ConfigurationError) as refused:
        memory_store.app().database(source)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["postgresql://u:secret@host/d?nonsense=1", "postgresql://u:secret%caz@host/d"]
)
def test_a_url_that_cannot_be_read_shows_no_password(memory_store: Store, url: str) -> None:
    database = memory_store.app().database(url)
    with pytest.raises(ConfigurationError) as refused:
        database.place  # noqa: B018 - it is asked for
    assert "secret" not in f"{refused.value!r} {refused.value.__cause__!r} {database!r}"


def test_the_file_of_the_state_backend_is_not_opened_past_its_lock_file(
    sqlite_store: Store,
) -> None:
    app, path = sqlite_store.app(), sqlite_store.path
    app.queues()
    engine = create_engine(f"sqlite:///{path}")
    for source in (engine, lambda: sqlite3.connect(path)):
        with pytest.raises(ConfigurationError, match="lock file"):
            app.database(source).place  # noqa: B018 - it is asked for
    engine.dispose()


def test_an_engine_for_another_database_is_refused(memory_store: Store) -> None:
    """One that is there says enough; no driver for it is needed."""
    engine = create_mock_engine("mysql+pymysql://", executor=None)
    with pytest.raises(ConfigurationError, match="expected an Engine"):
        memory_store.app().database(engine).place  # noqa: B018 - it is asked for


def test_a_connection_is_no_database(memory_store: Store) -> None:
    app: Any = memory_store.app()
    connection = sqlite3.connect(":memory:")
    with pytest.raises(ConfigurationError, match=r"got a Connection.*lambda: sqlite3\.connect"):
        app.database(connection)
    connection.close()
    with pytest.raises(ConfigurationError, match=r"cannot call it: missing .*without arguments"):
        app.database(lambda url: sqlite3.connect(url))
    assert app.database(sqlite3.Connection) is not None  # a class of C, which does not tell


def test_what_a_function_gives_must_be_a_connection(memory_store: Store) -> None:
    with pytest.raises(ConfigurationError, match="it gave str"):
        memory_store.app().database(lambda: "orders").place  # noqa: B018 - it is asked for


def test_a_transaction_needs_a_parameter_for_it(memory_store: Store) -> None:
    app = memory_store.app()
    orders = app.database(lambda: sqlite3.connect(":memory:"))
    with pytest.raises(RegistrationError, match="no parameter for it"):

        @app.transaction(orders)  # type: ignore[arg-type]  # what is refused
        def nothing() -> None: ...

    with pytest.raises(RegistrationError, match="registered already"):
        app.transaction(orders)(_task(app))

    with pytest.raises(ConfigurationError, match="expected a database"):
        app.transaction("sqlite:///orders.db")  # type: ignore[arg-type]


def _task(app: Perdure) -> Any:
    @app.task
    def plain(tx: Any) -> None: ...

    return plain


def test_wrong_arguments_are_told_without_the_transaction(memory_store: Store) -> None:
    app = memory_store.app()

    @app.transaction(app.database(lambda: sqlite3.connect(":memory:")))
    def pay(tx: Any, what: str) -> None: ...

    @app.workflow
    def buy() -> None:
        pay()  # type: ignore[call-arg]

    with pytest.raises(TypeError, match=r"pay\(what: 'str'\)"):
        buy()
