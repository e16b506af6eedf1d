"""The sync programs."""

from __future__ import annotations

import copy
import functools
from typing import Any

from perdure import DistributedInvocation, Perdure, wf
from perdure.errors import ResultTimeout, StartConflict
from tests.programs import RETRY, differs, program


@program("order-1", 3, twin="asequence")
def sequence(app: Perdure) -> None:
    @app.task(name="pay")
    def pay(order: str, cents: int) -> str:
        return differs(order, cents)

    @app.task(name="pack")
    def pack(paid: str) -> list[str]:
        return [differs(paid)]

    @app.workflow(name="main")
    def main(order: str, count: int) -> list[Any]:
        paid = [pay(order, cents) for cents in range(count)]
        boxes = pack(paid[-1])
        return [paid, boxes, pay(order, 99)]


@program(twin="adraws")
def draws(app: Perdure) -> None:
    @app.task(name="use")
    def use(*values: Any) -> str:
        return differs(values, wf.random(), wf.uuid())

    @app.workflow(name="main")
    def main() -> list[Any]:
        seen: list[Any] = [wf.random(), wf.uuid()]
        seen.append(use(seen[0], seen[1]))
        moment = wf.utc_now()
        seen += [moment, wf.utc_now(), use(moment, wf.idempotency_key())]
        cards = list(range(5))
        wf.random.shuffle(cards)
        seen += [cards, wf.random.randint(1, 6), use(cards, wf.utc_now())]
        return [*seen, wf.random(), wf.uuid(), wf.utc_now()]


@program(twin="aobserved")
def observed(app: Perdure) -> None:
    @app.task(name="use")
    def use(*values: Any) -> str:
        return differs(values)

    @app.task(name="nothing")
    def nothing(value: Any) -> Any:
        return value

    @app.workflow(name="main")
    def main() -> list[Any]:
        empty: list[Any] = [None, 0, "", [], False]
        seen = [wf.record("empty", functools.partial(copy.copy, value)) for value in empty]
        seen += [nothing(value) for value in empty]
        seen.append(wf.record("world", lambda: differs()))
        seen.append(use(seen[-1], wf.utc_now()))
        seen += [wf.now(), wf.token(8)]
        seen.append(use(seen[-1], seen[-2], wf.utc_now()))
        seen.append(wf.record("last", lambda: differs()))
        return seen


@program(twin="aretries")
def retries(app: Perdure) -> None:
    tries = [0]

    @app.task(name="flaky", retry=RETRY)
    def flaky(part: str) -> str:
        tries[0] += 1
        if tries[0] % 3:
            raise ConnectionError(differs(part))
        return differs(part, wf.idempotency_key())

    @app.workflow(name="main")
    def main() -> list[Any]:
        key = wf.uuid()
        return [flaky("one"), flaky(key), flaky.start("three").result()]


class Refused(Exception):
    """Registered with the app, so it comes back as itself."""


@program(twin="acaught")
def caught(app: Perdure) -> None:
    app.register(Refused)

    @app.task(name="refuse")
    def refuse(kind: str) -> str:
        if kind == "known":
            raise Refused(differs(kind))
        if kind == "builtin":
            raise ValueError(differs(kind))
        return differs(kind)

    @app.workflow(name="main")
    def main() -> list[Any]:
        seen: list[Any] = []
        for kind in ("known", "builtin", "fine"):
            try:
                seen.append(refuse(kind))
            except (Refused, ValueError) as error:
                seen += [type(error).__name__, str(error)]
            finally:
                seen.append(wf.random())
        return seen


@program(3, twin="afan_out")
def fan_out(app: Perdure) -> None:
    @app.task(name="part")
    def part(number: int, key: str) -> str:
        return differs(number, key, wf.random())

    @app.workflow(name="main")
    def main(count: int) -> list[Any]:
        handles = [part.start(number, wf.uuid()) for number in range(count)]
        return [*(handle.result() for handle in handles), wf.utc_now(), part(9, wf.uuid())]


@program(twin="achildren")
def children(app: Perdure) -> None:
    @app.task(name="leaf")
    def leaf(word: str) -> str:
        return differs(word)

    @app.workflow(name="grandchild")
    def grandchild(word: str) -> list[str]:
        return [leaf(word), wf.uuid()]

    @app.workflow(name="child")
    def child(word: str) -> list[Any]:
        return [leaf(word), grandchild(word + "!"), wf.random()]

    @app.workflow(name="main")
    def main() -> list[Any]:
        started = child.start("started")
        called = child("called")
        return [called, started.result(), leaf("own")]


@program(twin="agiven_ids")
def given_ids(app: Perdure) -> None:
    @app.task(name="unit")
    def unit(word: str) -> str:
        return differs(word)

    @app.workflow(name="child")
    def child(word: str) -> str:
        return unit(word)

    @app.workflow(name="main")
    def main() -> list[Any]:
        first = child.options(id="given").start("a")
        same = child.options(id="given").start("a")
        try:
            conflict = str(child.options(id="given").start("b"))
        except StartConflict as error:
            conflict = str(error)
        task = unit.options(id="given-task").start("c")
        return [first.result(), same.result(), first == same, conflict, task.result()]


@program(twin="asleeper")
def sleeper(app: Perdure) -> None:
    @app.task(name="tick")
    def tick(*seen: Any) -> str:
        return differs(seen)

    @app.workflow(name="main")
    def main() -> list[Any]:
        first = tick(wf.utc_now())
        wf.sleep(0.002)
        second = tick(first, wf.utc_now())
        wf.sleep(0)
        return [first, second, tick(wf.utc_now(), wf.random())]


@program(twin="ain_time")
def in_time(app: Perdure) -> None:
    @app.task(name="later")
    def later(word: str) -> str:
        return differs(word)

    @app.workflow(name="main")
    def main() -> list[Any]:
        never = later.options(delay=3600).start("never")
        seen: list[Any] = []
        for _ in range(2):
            try:
                seen.append(never.result(timeout=0.001))
            except ResultTimeout as error:
                seen.append(str(error))
            seen.append(later(str(wf.utc_now())))
        soon = later.start("soon")
        seen += [soon.result(), soon.result(timeout=3600)]
        return [*seen, later(str(wf.utc_now()))]


@program(twin="amemo")
def memo(app: Perdure) -> None:
    @app.task(name="price")
    def price(item: str, count: int = 1) -> str:
        return differs(item, count)

    @app.workflow(name="main")
    def main() -> list[Any]:
        once = wf.execute_task(price, "pen")
        again = wf.execute_task(price, item="pen", count=1)
        other = wf.execute_task(price, "ink", 2)
        key = wf.uuid()
        return [once == again, other.result(), once.result(), again.result(), key, price("pen")]


@program(twin="adata")
def data(app: Perdure) -> None:
    @app.task(name="look")
    def look(step: int, state: Any) -> list[Any]:
        assert wf.get_data("state", "unset") == state
        return [differs(step), wf.get_data("none", 1)]

    @app.workflow(name="main")
    def main() -> list[Any]:
        seen: list[Any] = [look(0, "unset")]
        state = {"step": 1, "key": wf.uuid()}
        wf.set_data("state", state)
        wf.set_data("none", None)
        seen.append(look(1, state))
        wf.set_data("state", 2)
        seen += [wf.get_data("state"), look.start(2, 2).result()]
        return seen


@program(twin="ahandles")
def handles(app: Perdure) -> None:
    @app.task(name="make")
    def make(word: str) -> str:
        return differs(word)

    @app.task(name="wait_for")
    def wait_for(handle: DistributedInvocation[str]) -> list[Any]:
        return [differs(), handle.result()]

    @app.workflow(name="child")
    def child(word: str) -> DistributedInvocation[str]:
        return make.start(word)

    @app.workflow(name="main")
    def main() -> list[Any]:
        mine = make.start("mine")
        theirs = child("theirs")
        return [wait_for(mine), theirs.result(), mine, theirs]


@program()
def inside(app: Perdure) -> None:
    """Tasks that start tasks and call workflows and tasks inside."""

    @app.task(name="small")
    def small(word: str) -> str:
        return differs(word)

    @app.workflow(name="helper")
    def helper(word: str) -> list[Any]:
        return [small(word), wf.random()]

    @app.task(name="starter")
    def starter(word: str) -> list[Any]:
        handles = [small.start(word + str(n)) for n in range(2)]
        return [small(word), helper(word), [handle.result() for handle in handles]]

    @app.workflow(name="main")
    def main() -> list[Any]:
        return [starter("direct"), starter.start("started").result()]


@program("bad", twin="afailing")
def failing(app: Perdure) -> None:
    @app.task(name="step")
    def step(word: str) -> str:
        return differs(word)

    @app.workflow(name="child")
    def child(word: str) -> str:
        raise KeyError(step(word))

    @app.workflow(name="main")
    def main(word: str) -> str:
        seen = step(word)
        try:
            child(word)
        except KeyError as error:
            raise RuntimeError(f"{seen} {error} {wf.uuid()}") from error
        return "never"


@program(5000, twin="amany_draws")
def many_draws(app: Perdure) -> None:
    @app.task(name="total")
    def total(value: float, key: str) -> str:
        return differs(value, key)

    @app.workflow(name="main")
    def main(count: int) -> list[Any]:
        value = sum(wf.random() for _ in range(count))
        seen = total(value, wf.uuid())
        return [seen, sum(wf.random.getrandbits(8) for _ in range(count)), wf.utc_now()]
