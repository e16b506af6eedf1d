"""Mistakes that a type checker must find: an ignore that is not needed is an error itself."""
# mypy: disable-error-code="unused-coroutine"

from __future__ import annotations

from perdure import DistributedInvocation, Perdure, wf
from perdure.testing import crash_everywhere, fuzz_schedules, replace

app = Perdure("memory://")


@app.task
def charge(order_id: str, cents: int) -> str:
    return order_id


@app.task
async def fetch(url: str) -> bytes:
    return url.encode()


@app.workflow
def order(order_id: str) -> int:
    return len(order_id)


charge("o", "1")  # type: ignore[arg-type]
charge("o")  # type: ignore[call-arg]
charge("o", 1, 2)  # type: ignore[call-arg]
charge("o", euros=1)  # type: ignore[call-arg]
charge.start("o", "1")  # type: ignore[arg-type]
charge.options(id="x").start(1, 1)  # type: ignore[arg-type]
charge.options(id=5)  # type: ignore[arg-type]
charge.options(on_existing="replace")  # type: ignore[arg-type]
fetch.call(1)  # type: ignore[arg-type]
fetch.acall("x")  # type: ignore[attr-defined]
charge.call("o", 1)  # type: ignore[attr-defined]
order.start(1)  # type: ignore[arg-type]
order.get(1)  # type: ignore[arg-type]
wf.execute_task(charge, "o", "1")  # type: ignore[arg-type]
wf.execute_task(charge)  # type: ignore[call-arg]
wf.record(1, lambda: 1)  # type: ignore[arg-type]
wrong_result: DistributedInvocation[str] = order.start("o")  # type: ignore[assignment]
wrong_value: int = charge("o", 1)  # type: ignore[assignment]
wrong_handle: int = order.get("x").result(timeout="1")  # type: ignore[arg-type]
app.task(name=1)  # type: ignore[call-overload]
crash_everywhere(order, 1)  # type: ignore[arg-type]
crash_everywhere(order)  # type: ignore[call-arg]
crash_everywhere.options(store="disk")  # type: ignore[arg-type]
fuzz_schedules(order, "o", 2)  # type: ignore[call-arg]
replace("charge", charge)  # type: ignore[arg-type]
wf.listen(1)  # type: ignore[call-overload]
app.emit("news", 1, 2)  # type: ignore[arg-type]
wrong_branch: list[str] = [each.result() for each in wf.as_completed(lambda: 1)]  # type: ignore[misc]
