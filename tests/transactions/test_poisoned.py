"""Rows that somebody else wrote into an outbox: carried or set aside, and the next one comes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from perdure import Perdure, wf
from perdure.backends.base import NewInvocation
from perdure.backends.letters import Letter
from perdure.core.identity import InvocationKey
from perdure.transactions.database import Database
from perdure.transactions.outbox import Message
from tests.support.stores import LONG, Store

NO_JSON = Letter(kind="message", name="more", letter_id="m1", body=b'1,"error":2')
PAUSE = Letter(kind="pause", name="more", letter_id="m1")
UNNAMED = Letter(kind="message", name="", letter_id="m1")

STARTS: dict[str, dict[str, Any]] = {
    "a priority out of range": {"priority": 2**63},
    "a delay out of range": {"delay": -(2**63)},
    "a name with a null byte": {"name": "a\0b"},
    "a queue without a name": {"queue": ""},
    "options that are none": {"options": b"nonsense"},
    "a parent that can be none": {"parent": InvocationKey("x" * 300, 2**62)},
    "an id that is none": {"invocation_id": "a\nb"},
    "arguments that are none": {"arguments": b"\xff"},
    "a letter of another kind": {"letters": (PAUSE,)},
    "a letter that is no JSON": {"letters": (NO_JSON,)},
}


def shop_on(store: Store, folder: Path) -> tuple[Perdure, Database]:
    app = store.app(name="shop")

    @app.workflow(name="shop")
    def shop(what: str, count: int = 0) -> list[Any]:
        return [what, *(wf.receive("more", int) for _ in range(count))]

    return app, app.database(f"sqlite:///{folder / 'orders.db'}")


def poison(tx: Any, target: str, body: bytes) -> None:
    changed = tx.execute("UPDATE perdure_outbox SET body = ? WHERE target = ?", (body, target))
    assert changed.rowcount == 1


@pytest.mark.parametrize("what", STARTS)
def test_a_start_holds_up_no_other(store: Store, tmp_path: Path, what: str) -> None:
    """On each state backend, for each refuses what it cannot store in a way of its own."""
    app, database = shop_on(store, tmp_path)
    flow = app.named("shop")
    with database.transaction() as tx:
        app.outbox(tx).start(flow.options(id="bad"), "pen")
        made = app.outbox(tx).start(flow, "ink")
        (body,) = tx.execute("SELECT body FROM perdure_outbox WHERE target = 'bad'").fetchone()
        new = msgspec.msgpack.decode(body, type=NewInvocation)
        changed = msgspec.structs.replace(new, **STARTS[what])
        poison(tx, "bad", msgspec.msgpack.encode(changed))
    carried = database.carry()
    assert carried + len(database.set_aside()) == 2
    assert app.invocation(made).result(LONG) == ["ink"]
    assert app.health().problems == ()


@pytest.mark.parametrize("letter", [NO_JSON, PAUSE, UNNAMED])
def test_a_message_is_set_aside(store: Store, tmp_path: Path, letter: Letter) -> None:
    """Its receiver would be parked with it, or paused by whoever may only write orders."""
    app, database = shop_on(store, tmp_path)
    handle = app.named("shop").options(id="order-1").start("pen", 1)
    with database.transaction() as tx:
        app.outbox(tx).send("order-1", "more", 7)
        poison(tx, "order-1", msgspec.msgpack.encode(Message(handle.key, letter)))
    with database.transaction() as tx:
        app.outbox(tx).send("order-1", "more", 1)
    assert database.carry() == 1
    (aside,) = database.set_aside()
    assert (aside.kind, aside.target) == ("send", "order-1")
    assert database.discard(aside.id)
    assert handle.result(LONG) == ["pen", 1]
