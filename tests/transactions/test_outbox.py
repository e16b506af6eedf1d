"""Starts and messages that go with a commit: once, in order, and never after a rollback."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from perdure import Perdure, Retry, wf
from perdure.errors import (
    BackendUnavailable,
    ConfigurationError,
    InvocationNotFound,
    OperationRefused,
    WrongColour,
)
from perdure.transactions import carrying, sessions
from tests.support.stores import LONG, Store, run_until_idle
from tests.transactions.places import Orders, postgres_of, run


class Shop:
    """A workflow that is started by outboxes, and what it was sent."""

    def __init__(self, app: Perdure) -> None:
        self.app = app

        @app.workflow(name="shop")
        def shop(what: str, count: int = 0) -> list[Any]:
            return [what, *(wf.receive("more", int) for _ in range(count))]

        self.flow = shop


@pytest.fixture
def shop(app: Perdure) -> Shop:
    return Shop(app)


def is_there(app: Perdure, invocation_id: str) -> bool:
    try:
        app.invocation(invocation_id)
    except InvocationNotFound:
        return False
    return True


def test_started_after_the_commit_and_not_before(shop: Shop, orders: Orders) -> None:
    app = shop.app
    with orders.database.transaction() as tx:
        orders.write(tx, "pen")
        made = app.outbox(tx).start(shop.flow, "pen")
        assert not is_there(app, made)
    assert not is_there(app, made)
    assert orders.database.carry() == 1
    assert app.invocation(made).result(LONG) == ["pen"]
    assert orders.database.carry() == 0


def test_never_started_after_a_rollback(shop: Shop, orders: Orders) -> None:
    with pytest.raises(ValueError, match="no"), orders.database.transaction() as tx:
        shop.app.outbox(tx).start(shop.flow.options(id="never"), "pen")
        raise ValueError("no")
    assert orders.database.carry() == 0
    assert not is_there(shop.app, "never")


def test_messages_arrive_in_the_order_in_which_they_were_sent(shop: Shop, orders: Orders) -> None:
    with orders.database.transaction() as tx:
        made = shop.app.outbox(tx).start(shop.flow.options(id=orders.table), "pen", 6)
        shop.app.outbox(tx).send(made, "more", 1)
        shop.app.outbox(tx).send(made, "more", 2)
    for number in (3, 4):
        with orders.database.transaction() as tx:
            shop.app.outbox(tx).send(made, "more", number)
    assert orders.database.carry() == 5
    with orders.database.transaction() as tx:
        handle = shop.app.invocation(made)
        shop.app.outbox(tx).send(handle, "more", 5)
        shop.app.outbox(tx).send(handle, "more", 6, id="six")
    assert orders.database.carry() == 2
    assert handle.result(LONG) == ["pen", 1, 2, 3, 4, 5, 6]


def test_what_is_carried_twice_is_accepted_once(
    shop: Shop, orders: Orders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The relay died between carrying and removing."""
    with orders.database.transaction() as tx:
        made = shop.app.outbox(tx).start(shop.flow.options(id=orders.table), "pen", 2)
        shop.app.outbox(tx).send(made, "more", 1)
    with monkeypatch.context() as patch:
        patch.setattr(carrying, "change", _dies)
        with pytest.raises(KeyboardInterrupt):
            orders.database.carry()
    with orders.database.transaction() as tx:
        shop.app.outbox(tx).send(made, "more", 2)
    assert orders.database.carry() == 3
    assert shop.app.invocation(made).result(LONG) == ["pen", 1, 2]


def _dies(*_: object) -> int:
    raise KeyboardInterrupt


def test_while_the_state_backend_is_away_nothing_is_lost(
    shop: Shop, orders: Orders, monkeypatch: pytest.MonkeyPatch
) -> None:
    with orders.database.transaction() as tx:
        for what in ("pen", "ink"):
            shop.app.outbox(tx).start(shop.flow.options(id=what + orders.table), what)
    real = shop.app.client.start

    def start(new: Any, on_existing: Any) -> Any:
        if new.invocation_id.startswith("ink"):
            raise BackendUnavailable("away")
        return real(new, on_existing)

    with monkeypatch.context() as patch:
        patch.setattr(shop.app.client, "start", start)
        with pytest.raises(BackendUnavailable):
            orders.database.carry()
    assert orders.database.set_aside() == []
    assert orders.database.carry() == 1
    assert shop.app.invocation("ink" + orders.table).result(LONG) == ["ink"]


def test_what_cannot_be_carried_is_set_aside_and_shown(shop: Shop, orders: Orders) -> None:
    app, mark = shop.app, orders.table
    shop.flow.options(id=f"taken {mark}").start("other")
    with orders.database.transaction() as tx:
        outbox = app.outbox(tx)
        outbox.start(shop.flow.options(id=f"taken {mark}"), "pen")
        outbox.send(f"nobody {mark}", "more", 1)
        outbox.start(shop.flow.options(id=f"damaged {mark}"), "pen")
        outbox.start(shop.flow.options(id=f"odd {mark}"), "pen")
        outbox.start(shop.flow.options(id=f"good {mark}"), "pen")
        empty = "X'c1'" if "sqlite" in orders.database.place.shown else r"'\xc1'"
        run(tx, f"UPDATE perdure_outbox SET body = {empty} WHERE target = 'damaged {mark}'")
        run(tx, f"UPDATE perdure_outbox SET kind = 'odd' WHERE target = 'odd {mark}'")
    assert orders.database.carry() == 1
    assert app.invocation(f"good {mark}").result(LONG) == ["pen"]
    aside = {each.target: each for each in orders.database.set_aside()}
    reasons = {target: each.reason.partition(":")[0] for target, each in aside.items()}
    assert reasons == {
        f"taken {mark}": "StartConflict",
        f"nobody {mark}": "InvocationNotFound",
        f"damaged {mark}": "DecodeError",
        f"odd {mark}": "ConfigurationError",
    }

    shop.flow.options(id=f"nobody {mark}").start("ink", 1)
    assert orders.database.carry_again(aside[f"nobody {mark}"].id)
    assert orders.database.carry() == 1
    assert app.invocation(f"nobody {mark}").result(LONG) == ["ink", 1]
    for target in ("taken", "damaged", "odd"):
        assert orders.database.discard(aside[f"{target} {mark}"].id)
        assert not orders.database.discard(aside[f"{target} {mark}"].id)
    assert orders.database.set_aside() == []


def test_in_a_transaction_task_it_goes_with_its_commit(shop: Shop, orders: Orders) -> None:
    seen: list[str] = []

    @shop.app.transaction(orders.database, retry=Retry(attempts=3, wait_initial=0.001))
    def buy(tx: Any) -> str:
        made = shop.app.outbox(tx).start(shop.flow, "pen")
        seen.append(made)
        if len(seen) < 3:
            raise ConnectionError("busy")
        return made

    @shop.app.workflow
    def main() -> str:
        return buy()

    made = main()
    assert set(seen) == {made}, "an id of the task, the same on every attempt"
    assert orders.database.carry() == 1
    assert shop.app.invocation(made).result(LONG) == ["pen"]


def test_a_task_that_runs_again_starts_the_same_again(shop: Shop, orders: Orders) -> None:
    runs: list[str] = []

    @shop.app.task(retry=Retry(attempts=2, wait_initial=0.001))
    def buy() -> str:
        with orders.database.transaction() as tx:
            runs.append(shop.app.outbox(tx).start(shop.flow, "pen"))
        if len(runs) == 1:
            raise ConnectionError("lost after the commit")
        return runs[0]

    @shop.app.workflow
    def main() -> str:
        return buy()

    made = main()
    assert runs == [made, made]
    assert orders.database.carry() == 2
    assert shop.app.invocation(made).result(LONG) == ["pen"]


def test_in_a_workflow_it_is_refused(shop: Shop, orders: Orders) -> None:
    @shop.app.workflow
    def main() -> str:
        try:
            shop.app.outbox(object()).start(shop.flow, "pen")
        except OperationRefused as error:
            return str(error)
        return ""

    assert "A workflow starts and sends by itself" in main()


# --- other connections ----------------------------------------------------------------------------


def test_on_connections_of_one_s_own(memory_store: Store, tmp_path: Path) -> None:
    app = memory_store.app()
    shop, path = Shop(app), tmp_path / "orders.db"
    database = app.database(f"sqlite:///{path}")
    database.prepare()
    connection = sqlite3.connect(path)
    first = app.outbox(connection).start(shop.flow, "pen")
    connection.commit()
    never = app.outbox(connection).start(shop.flow, "ink")
    connection.rollback()
    connection.close()
    engine = create_engine(f"sqlite:///{path}")
    with Session(engine) as session:
        second = app.outbox(session).start(shop.flow, "cap")
        session.commit()
    engine.dispose()
    assert database.carry() == 2
    assert app.invocation(first).result(LONG) == ["pen"]
    assert app.invocation(second).result(LONG) == ["cap"]
    assert not is_there(app, never)


def test_where_it_would_be_committed_at_once_it_is_refused(
    memory_store: Store, tmp_path: Path
) -> None:
    app = memory_store.app()
    shop = Shop(app)
    own = sqlite3.connect(tmp_path / "orders.db", isolation_level=None)
    with (
        psycopg.connect(postgres_of(tmp_path), autocommit=True) as other,
    ):
        for connection in (own, other):
            with pytest.raises(OperationRefused, match="Begin a transaction first"):
                app.outbox(connection).start(shop.flow, "pen")
    own.close()


def test_without_its_table_it_says_how_to_make_it(memory_store: Store, tmp_path: Path) -> None:
    app = memory_store.app()
    connection = sqlite3.connect(tmp_path / "orders.db")
    with pytest.raises(ConfigurationError, match=r"prepare\(\)"):
        app.outbox(connection).start(Shop(app).flow, "pen")
    connection.close()


@pytest.mark.parametrize("what", [None, "a connection", 7])
def test_what_is_no_connection_is_refused(memory_store: Store, what: object) -> None:
    app = memory_store.app()
    with pytest.raises(ConfigurationError, match="expected a connection"):
        app.outbox(what).send("order", "more", 1)


def test_a_start_that_may_not_be_repeated_is_refused(shop: Shop, orders: Orders) -> None:
    again = shop.flow.options(id="again", on_existing="new_generation_if_failed")
    with (
        pytest.raises(ConfigurationError, match="carried twice"),
        orders.database.transaction() as tx,
    ):
        shop.app.outbox(tx).start(again, "pen")


async def _send_async(app: Perdure, shop: Shop, database: Any) -> str:
    async with database.transaction_async() as tx:
        with pytest.raises(WrongColour, match="start_async"):
            app.outbox(tx).start(shop.flow, "pen")
        made = await app.outbox(tx).start_async(shop.flow, "pen", 1)
        await app.outbox(tx).send_async(made, "more", 7)
    with pytest.raises(ValueError, match="no"):
        async with database.transaction_async() as tx:
            await app.outbox(tx).send_async(made, "more", 8)
            raise ValueError("no")
    return made


def test_on_async_connections(memory_store: Store, tmp_path: Path) -> None:
    import asyncio

    app = memory_store.app()
    shop, database = Shop(app), app.database(postgres_of(tmp_path))
    made = asyncio.run(_send_async(app, shop, database))
    assert database.carry() == 2
    assert app.invocation(made).result(LONG) == ["pen", 7]


# --- the relay ------------------------------------------------------------------------------------


def test_a_worker_carries(store: Store, tmp_path: Path) -> None:
    """Also where the outbox lies in the database of the state backend."""
    app = store.app()
    shop = Shop(app)
    source = f"sqlite:///{tmp_path / 'orders.db'}" if store.kind == "memory" else None
    database = app.database(source)
    app.relay(database)
    app.relay(database)
    app.start_worker()
    with database.transaction() as tx:
        made = app.outbox(tx).start(shop.flow, "pen")
    waited = threading.Event()
    for _ in range(int(LONG / 0.01)):
        if is_there(app, made):
            break
        waited.wait(0.01)
    assert app.invocation(made).result(LONG) == ["pen"]
    assert app.close(LONG)


def test_a_database_that_fails_does_not_keep_the_others_waiting(
    memory_store: Store, tmp_path: Path
) -> None:
    from perdure.transactions.relay import Relay

    app = memory_store.app()
    shop = Shop(app)
    bad = app.database(f"sqlite:///{tmp_path / 'missing' / 'orders.db'}")
    good = app.database(f"sqlite:///{tmp_path / 'orders.db'}")
    with good.transaction() as tx:
        made = app.outbox(tx).start(shop.flow, "pen")
    Relay(app.runtime, [bad, good]).look()
    assert app.invocation(made).result(LONG) == ["pen"]


def test_several_relays_at_once(shop: Shop, orders: Orders) -> None:
    made = []
    for number in range(4):
        with orders.database.transaction() as tx:
            flow = shop.flow.options(id=f"{orders.table} {number}")
            made.append(shop.app.outbox(tx).start(flow, "pen", 2))
            for value in (1, 2):
                shop.app.outbox(tx).send(made[-1], "more", value)
    errors: list[BaseException] = []

    def carry() -> None:
        try:
            orders.database.carry()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=carry) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert errors == []
    assert [shop.app.invocation(each).result(LONG) for each in made] == [["pen", 1, 2]] * 4
    assert orders.database.set_aside() == []


FAULTS = ("", "", "away before", "away after", "dies before removing")


@settings(max_examples=40)
@given(
    transactions=st.lists(st.tuples(st.booleans(), st.integers(1, 3)), min_size=1, max_size=5),
    faults=st.lists(st.sampled_from(FAULTS), max_size=12),
)
def test_each_committed_message_once_and_in_order(
    transactions: list[tuple[bool, int]], faults: list[str], tmp_path_factory: Any
) -> None:
    store = Store("memory", tmp_path_factory.mktemp("outbox"))
    app = store.app()
    database = app.database(f"sqlite:///{store.path.with_name('orders.db')}")
    sent, total = [], 0

    @app.workflow(name="shop")
    def shop(count: int) -> list[int]:
        return [wf.receive("more", int) for _ in range(count)]

    handle = shop.options(id="shop").start(sum(n for commits, n in transactions if commits))
    for commits, count in transactions:
        try:
            with database.transaction() as tx:
                for _ in range(count):
                    total += 1
                    app.outbox(tx).send("shop", "more", total)
                    if commits:
                        sent.append(total)
                if not commits:
                    raise ValueError("no")
        except ValueError:
            pass
        _carry_with(database, app, faults)
    while faults:
        _carry_with(database, app, faults)
    database.carry()
    run_until_idle(app)
    assert handle.result(LONG) == sent
    assert database.set_aside() == []
    store.close()


def _carry_with(database: Any, app: Perdure, faults: list[str]) -> None:
    """Carry while each step meets the next fault."""
    real, real_change = carrying._deliver, sessions.change

    def deliver(*row: Any) -> None:
        fault = faults.pop(0) if faults else ""
        if fault == "away before":
            raise BackendUnavailable(fault)
        real(*row)
        if fault:
            raise BackendUnavailable(fault)

    def change(door: Any, statements: Any) -> int:
        if faults and faults[0] == "dies before removing":
            faults.pop(0)
            raise BackendUnavailable("dies")
        return real_change(door, statements)

    faulty: dict[str, Callable[..., Any]] = {"_deliver": deliver, "change": change}
    with pytest.MonkeyPatch.context() as patch:
        for name, function in faulty.items():
            patch.setattr(carrying, name, function)
        try:
            database.carry()
        except BackendUnavailable:
            pass
        else:
            del faults[:1]


# --- the clean-up ---------------------------------------------------------------------------------


def test_outcomes_of_what_has_ended_are_forgotten(app: Perdure, orders: Orders) -> None:
    @app.transaction(orders.database, name="pay" + orders.table)
    def pay(tx: Any, what: str) -> str:
        return what

    @app.workflow(name="buy" + orders.table)
    def buy(waits: bool) -> str:
        seen = pay("pen") + pay.start("ink").result()
        return seen + wf.receive("more", str) if waits else seen

    assert buy(False) == "penink"
    waiting = buy.options(id=orders.table).start(True)
    with pytest.raises(TimeoutError):
        waiting.result(0.5)
    assert orders.kept("pay") == 4
    assert orders.database.forget(3600) == 0
    _make_older(orders)
    assert orders.database.forget(3600) == 3, "the direct call of the one that waits stays"
    waiting.send("more", "!")
    assert waiting.result(LONG) == "penink!"
    assert orders.database.forget(3600) == 1


def _make_older(orders: Orders) -> None:
    with orders.database.transaction() as tx:
        run(tx, f"UPDATE perdure_outcomes SET kept_at = 1000 WHERE task = 'pay{orders.table}'")


def test_what_an_outbox_cannot_take(shop: Shop, orders: Orders) -> None:
    box: Any = shop.app.outbox
    wrong: Any
    not_made: Any = "sqlite:///x.db"
    with orders.database.transaction() as tx:
        for wrong in (len, "shop", None):
            with pytest.raises(ConfigurationError, match=r"start\(.*expected a workflow or a task"):
                box(tx).start(wrong)
        for wrong in (5, None, shop.flow):
            with pytest.raises(ConfigurationError, match=r"send\(.*expected the handle .* its id"):
                box(tx).send(wrong, "more", 1)
    with pytest.raises(ConfigurationError, match=r"app\.outbox\(Engine\): expected a connection"):
        box(create_engine("sqlite://")).start(shop.flow, "pen")
    with pytest.raises(ConfigurationError, match=r"app\.relay\('sqlite:///x\.db'\): expected a"):
        shop.app.relay(not_made)
