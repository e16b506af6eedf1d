"""Workflows with mistakes that users make. The line of each ends with the mark `# HERE`."""

from __future__ import annotations

import datetime as dt
import random
import time
import uuid
from collections.abc import Callable
from typing import Any

from perdure import Perdure, wf
from perdure.testing import Kind

app = Perdure("memory://", name="planted")
PLANTED: dict[str, tuple[Any, set[Kind]]] = {}
_counter = 0


@app.task(pure=True)
def use(*values: Any) -> str:
    return f"used {values!r}"


@app.task
def pay(cents: int) -> str:
    return f"paid {cents}"


def planted(*kinds: Kind) -> Callable[[Any], Any]:
    """Note a workflow with a mistake, and as what the kit must find it."""

    def note(function: Any) -> Any:
        PLANTED[function.__name__] = (app.workflow(function), set(kinds))
        return function

    return note


@planted(Kind.IMPURE_CALL, Kind.DIVERGENCE)
def chance_as_argument() -> str:
    paid = use(random.random())  # HERE
    wf.sleep(3600)
    return paid


@planted(Kind.IMPURE_CALL)
def chance_without_effect() -> str:
    if random.randint(1, 6) < 7:  # HERE
        return use("always")
    return use("never")


@planted(Kind.IMPURE_CALL, Kind.DIVERGENCE)
async def clock_as_argument() -> str:
    told = await use.acall(str(dt.datetime.now()))  # HERE
    await wf.sleep(3600)
    return told


@planted(Kind.IMPURE_CALL)
def chance_in_a_branch() -> list[str]:
    def branch() -> str:
        time.monotonic()  # HERE
        return use("branch")

    return wf.gather(branch, branch)


@planted(Kind.IMPURE_CALL)
def clock_of_today() -> str:
    return use(dt.date.today().isoformat())  # HERE


@planted(Kind.IMPURE_CALL)
def slept_for_real() -> str:
    time.sleep(0.001)  # HERE
    return use("slept")


@planted(Kind.IMPURE_CALL)
def id_as_result() -> str:
    use("something")
    return str(uuid.uuid4())  # HERE


@planted(Kind.SET_ORDER)
def goes_by_a_set() -> list[str]:
    told = []
    for part in {"paper", "ink", "pen", "glue", "tape"}:  # HERE
        told.append(use(part))
        wf.sleep(3600)
    return told


@planted(Kind.SET_ORDER)
async def joins_a_set() -> str:
    parts = frozenset(["paper", "ink", "pen", "glue", "tape"])
    told = await use.acall(", ".join(parts))  # HERE
    await wf.sleep(3600)
    return told


@planted(Kind.SET_ORDER)
def maps_a_set() -> list[str]:
    told = wf.map(use, {"paper", "ink", "pen", "glue", "tape"})  # HERE
    wf.sleep(3600)
    return told


@planted(Kind.SET_ORDER)
def pops_from_a_set() -> list[str]:
    parts = {"paper", "ink", "pen", "glue", "tape"}
    told = []
    while parts:
        told.append(use(parts.pop()))  # HERE
        wf.sleep(3600)
    return told


@planted(Kind.SET_ORDER)
def takes_a_set_apart() -> str:
    one, two, *_rest = {"paper", "ink", "pen", "glue", "tape"}  # HERE
    wf.sleep(3600)
    return use(one) + use(two)


@planted(Kind.SET_ORDER)
def sorts_a_set_by_length() -> list[str]:
    told = [use(part) for part in sorted({"ink", "pen", "oak", "ash"}, key=len)]  # HERE
    wf.sleep(3600)
    return told


@planted(Kind.SWALLOWED)
def swallows() -> str:
    while True:
        try:
            wf.sleep(3600)  # HERE
        except BaseException:
            continue
        return use("slept")


@planted(Kind.DIVERGENCE)
def counts_in_a_global() -> str:
    global _counter
    _counter += 1
    told = use(_counter)  # HERE
    wf.sleep(3600)
    return told


@planted(Kind.UNSTABLE)
def counts_in_its_result() -> int:  # HERE
    global _counter
    _counter += 1
    use("something")
    return _counter


@planted(Kind.REPEATED)
def pays_twice() -> str:
    use("something")
    return pay(1999)  # HERE


@planted(Kind.REPEATED)
async def starts_what_pays_twice() -> str:
    started = pay.start(1999)  # HERE
    return await started


@planted(Kind.STOPPED)
def waits_for_nobody() -> str:
    use("something")
    return wf.receive("never", str)  # HERE
