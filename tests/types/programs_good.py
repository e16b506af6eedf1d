# mypy: disable-error-code="unused-coroutine"
"""What users write, with the types that it must have. Checked by type checkers, never run."""

from __future__ import annotations

import random
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, assert_type

from perdure import (
    DeterministicExecutor,
    DistributedInvocation,
    InvocationInfo,
    InvocationState,
    Perdure,
    Retry,
    WorkflowIdentity,
    wf,
)
from perdure.api.info import Verification
from perdure.testing import (
    Double,
    Report,
    crash_everywhere,
    double,
    fuzz_schedules,
    replace,
    replay_history,
    skip_time,
)

app = Perdure("memory://")


@dataclass
class Receipt:
    number: str


@app.task
def charge(order_id: str, cents: int, *, key: str = "") -> str:
    return key


@app.task(retry=Retry(attempts=3), timeout=2.0, pure=True)
def pack(item: str) -> list[int]:
    return [len(item)]


@app.task
def packed(item: str) -> list[int]:
    return []


@app.task(delivery="at_most_once", on_uncertain=packed)
def pack_once(item: str) -> list[int]:
    return [len(item)]


@app.task
async def fetch(url: str) -> bytes:
    return url.encode()


@app.task(name="later")
async def later(n: int) -> dict[str, int]:
    return {"n": n}


@app.workflow
def order(order_id: str, cents: int) -> Receipt:
    assert_type(charge(order_id, cents, key=wf.idempotency_key()), str)
    assert_type(charge.start(order_id, cents), DistributedInvocation[str])
    assert_type(charge.start(order_id, cents).result(timeout=1.0), str)
    assert_type(pack("pen"), list[int])
    assert_type(fetch.call("x"), bytes)
    assert_type(pack_once("pen"), list[int])
    wf.compensate(charge, order_id, cents, key="k")
    wf.compensate(fetch, url="x")
    wf.forget_compensations()
    assert_type(later.start(1).result(), dict[str, int])
    assert_type(wf.execute_task(charge, order_id, cents), DistributedInvocation[str])
    assert_type(wf.execute_task(pack, item="x").result(), list[int])
    assert_type(wf.random(), float)
    assert_type(wf.random.choice(["a"]), str)
    assert_type(wf.uuid(), str)
    assert_type(wf.utc_now(), datetime)
    assert_type(wf.now(), datetime)
    assert_type(wf.token(), str)
    assert_type(wf.record("n", lambda: 5), int)
    assert_type(refund.call(3), Receipt)
    assert_type(refund.start(3).result(), Receipt)
    wf.set_data("a", 1)
    wf.publish("progress", 0.5)
    with wf.receive_update("add", int, timeout=1.0) as update:
        assert_type(update.value, int)
        update.answer(update.value + 1)
    with wf.receive_update("any") as anything:
        assert_type(anything.value, Any)
    with wf.as_completed(lambda: pack("pen"), other=lambda: pack("ink")) as ended:
        assert_type([branch.result() for branch in ended], list[list[int]])
    with wf.map_as_completed(pack, ["pen"], limit=1) as mapped:
        assert_type(next(mapped), wf.Completed[list[int]])
    with wf.threads(max_workers=2) as pool:
        assert_type(pool.submit(charge, order_id, cents).result(timeout=1.0), str)
        assert_type(list(pool.map(pack, ["pen"])), list[list[int]])
    assert_type(wf.emit("news", 1, once=True).accepted, bool)
    assert_type(wf.receive_topic("news", int), int)
    assert_type(wf.receive_topic("news", int, 1.0, default=None), int | None)
    assert_type(wf.receive_topic("news"), Any)
    news = wf.listen("news", int)
    assert_type(news, wf.Listener[int])
    assert_type(news.receive(), int)
    assert_type(news.receive(1.0, default=""), int | str)
    assert_type([value for value in news], list[int])  # noqa: C416 - it is the loop that is checked
    wf.sleep(1)
    stdlib: random.Random = wf.random
    del stdlib
    return Receipt(order_id)


@app.workflow(name="refund")
async def refund(cents: int) -> Receipt:
    assert_type(await charge.acall("o", cents), str)
    assert_type(await fetch("x"), bytes)
    assert_type(fetch("x"), Coroutine[Any, Any, bytes])
    assert_type(await later(n=1), dict[str, int])
    assert_type(await pack.start("x"), list[int])
    assert_type(await order.acall("o", cents), Receipt)
    assert_type(await order.start("o", cents), Receipt)
    await wf.sleep(1)
    async with wf.receive_update_async("add", int) as update:
        assert_type(update.value, int)
    async with wf.as_completed_async(lambda: later(n=1)) as ended:
        assert_type([each.result() async for each in ended], list[dict[str, int]])
    async with wf.map_as_completed_async(fetch, ["x"]) as mapped:
        assert_type(await anext(mapped), wf.Completed[bytes])
    assert_type(await wf.receive_topic_async("news", int), int)
    assert_type(await wf.listen("news", int).receive_async(), int)
    async for value in wf.listen("news", int, from_start=True):
        assert_type(value, int)
    return Receipt("r")


class Shop:
    @staticmethod
    @app.task
    def inside(n: int) -> int:
        return n


@order.query
def paid(data: Mapping[str, Any], at_least: int = 0) -> bool:
    return int(data["cents"]) >= at_least


def client() -> None:
    assert_type(order.get("x").update("add", 1, int), int)
    assert_type(order.get("x").update("add", 1), Any)
    assert_type([step for step in order.get("x").stream("progress", float)], list[float])  # noqa: C416 - as above
    assert_type(next(iter(order.get("x").stream("progress"))), Any)
    assert_type(app.emit("news", 1, id="e").number, int)
    assert_type(paid(order.get("x")), bool)
    assert_type(order.get("x").query(paid, at_least=1), bool)
    assert_type(order.get("x").query("paid"), Any)
    assert_type(order("o", 1), Receipt)
    assert_type(order.start("o", cents=1), DistributedInvocation[Receipt])
    assert_type(order.start("o", 1).result(), Receipt)
    assert_type(order.options(id="x").start("o", 1), DistributedInvocation[Receipt])
    assert_type(order.options(id="x", on_existing="raise").start("o", 1).result(), Receipt)
    assert_type(order.get("x"), DistributedInvocation[Receipt])
    assert_type(order.get("x").result(), Receipt)
    assert_type(order.get("x").status, InvocationState)
    assert_type(refund.call(1), Receipt)
    assert_type(refund.options(id="x").call(1), Receipt)
    assert_type(charge.options(id="x").start("o", 1), DistributedInvocation[str])
    assert_type(Shop.inside(1), int)
    assert_type(app.invocation("x"), DistributedInvocation[Any])
    assert_type(app.workflows(name="order"), list[InvocationInfo])
    assert_type(app.start("order", "o", 1), DistributedInvocation[Any])
    executor = DeterministicExecutor(WorkflowIdentity("a", "b"), app)
    assert_type(executor.execute_task(charge, "o", 1), DistributedInvocation[str])
    assert_type(executor.record("x", lambda: [1]), list[int])
    assert_type(executor.random(), float)
    assert_type(executor.uuid(), str)
    assert_type(executor.utc_now(), datetime)
    assert_type(executor.get_base_time(), datetime)
    assert_type(executor.get_operation_count("random"), int)
    parent: DistributedInvocation[object] = order.get("x")  # a handle is covariant
    del parent


async def async_client() -> None:
    assert_type(await refund(1), Receipt)
    assert_type(await order.acall("o", 1), Receipt)
    assert_type(await order.start("o", 1), Receipt)
    assert_type(await order.get("x"), Receipt)
    assert_type(await order.get("x").result_async(timeout=1.0), Receipt)
    assert_type(await order.get("x").update_async("add", 1, int, timeout=1.0), int)
    async for step in order.get("x").stream("progress", float):
        assert_type(step, float)


def kit() -> None:
    assert_type(crash_everywhere(order, "o", cents=1), Report)
    assert_type(
        crash_everywhere.options(idempotent=[charge, "refund"]).report(order, "o", 1), Report
    )
    assert_type(fuzz_schedules.options(runs=2)(order, "o", 1), Report)
    assert_type(replay_history("o.json", order), Verification)
    with double(charge, returns="c") as charges, replace(pack, len) as packs:
        assert_type(charges, Double[str])
        assert_type(packs, Double[list[int]])
        assert_type(charges.calls, list[dict[str, Any]])
    with skip_time(app) as clock:
        assert_type(clock.now, datetime)
