"""The async programs."""

from __future__ import annotations

import asyncio
import copy
import functools
from typing import Any

from perdure import DistributedInvocation, Perdure, wf
from perdure.errors import ResultTimeout, StartConflict
from tests.programs import RETRY, differs, program
from tests.programs.blocking import Refused


@program("order-1", 3, twin="sequence")
def asequence(app: Perdure) -> None:
    @app.task(name="pay")
    async def pay(order: str, cents: int) -> str:
        await asyncio.sleep(0)
        return differs(order, cents)

    @app.task(name="pack")
    def pack(paid: str) -> list[str]:
        return [differs(paid)]

    @app.workflow(name="main")
    async def main(order: str, count: int) -> list[Any]:
        paid = [await pay(order, cents) for cents in range(count)]
        boxes = await pack.acall(paid[-1])
        return [paid, boxes, await pay(order, 99)]


@program(twin="draws")
def adraws(app: Perdure) -> None:
    @app.task(name="use")
    async def use(*values: Any) -> str:
        return differs(values, wf.random(), wf.uuid())

    @app.workflow(name="main")
    async def main() -> list[Any]:
        seen: list[Any] = [wf.random(), wf.uuid()]
        seen.append(await use(seen[0], seen[1]))
        moment = wf.utc_now()
        seen += [moment, wf.utc_now(), await use(moment, wf.idempotency_key())]
        cards = list(range(5))
        wf.random.shuffle(cards)
        seen += [cards, wf.random.randint(1, 6), await use(cards, wf.utc_now())]
        return [*seen, wf.random(), wf.uuid(), wf.utc_now()]


@program(twin="observed")
def aobserved(app: Perdure) -> None:
    @app.task(name="use")
    async def use(*values: Any) -> str:
        return differs(values)

    @app.task(name="nothing")
    async def nothing(value: Any) -> Any:
        return value

    @app.workflow(name="main")
    async def main() -> list[Any]:
        empty: list[Any] = [None, 0, "", [], False]
        seen = [wf.record("empty", functools.partial(copy.copy, value)) for value in empty]
        seen += [await nothing(value) for value in empty]
        seen.append(wf.record("world", lambda: differs()))
        seen.append(await use(seen[-1], wf.utc_now()))
        seen += [wf.now(), wf.token(8)]
        seen.append(await use(seen[-1], seen[-2], wf.utc_now()))
        seen.append(wf.record("last", lambda: differs()))
        return seen


@program(twin="retries")
def aretries(app: Perdure) -> None:
    tries = [0]

    @app.task(name="flaky", retry=RETRY)
    async def flaky(part: str) -> str:
        tries[0] += 1
        if tries[0] % 3:
            raise ConnectionError(differs(part))
        return differs(part, wf.idempotency_key())

    @app.workflow(name="main")
    async def main() -> list[Any]:
        key = wf.uuid()
        return [await flaky("one"), await flaky(key), await flaky.start("three")]


@program(twin="caught")
def acaught(app: Perdure) -> None:
    app.register(Refused)

    @app.task(name="refuse")
    async def refuse(kind: str) -> str:
        if kind == "known":
            raise Refused(differs(kind))
        if kind == "builtin":
            raise ValueError(differs(kind))
        return differs(kind)

    @app.workflow(name="main")
    async def main() -> list[Any]:
        seen: list[Any] = []
        for kind in ("known", "builtin", "fine"):
            try:
                seen.append(await refuse(kind))
            except (Refused, ValueError) as error:
                seen += [type(error).__name__, str(error)]
            finally:
                seen.append(wf.random())
        return seen


@program(3, twin="fan_out")
def afan_out(app: Perdure) -> None:
    @app.task(name="part")
    async def part(number: int, key: str) -> str:
        return differs(number, key, wf.random())

    @app.workflow(name="main")
    async def main(count: int) -> list[Any]:
        handles = [part.start(number, wf.uuid()) for number in range(count)]
        results = [await handle for handle in handles]
        return [*results, wf.utc_now(), await part(9, wf.uuid())]


@program(twin="children")
def achildren(app: Perdure) -> None:
    @app.task(name="leaf")
    async def leaf(word: str) -> str:
        return differs(word)

    @app.workflow(name="grandchild")
    def grandchild(word: str) -> list[str]:
        return [leaf.call(word), wf.uuid()]

    @app.workflow(name="child")
    async def child(word: str) -> list[Any]:
        return [await leaf(word), await grandchild.acall(word + "!"), wf.random()]

    @app.workflow(name="main")
    async def main() -> list[Any]:
        started = child.start("started")
        called = await child("called")
        return [called, await started, await leaf("own")]


@program(twin="given_ids")
def agiven_ids(app: Perdure) -> None:
    @app.task(name="unit")
    def unit(word: str) -> str:
        return differs(word)

    @app.workflow(name="child")
    async def child(word: str) -> str:
        return await unit.acall(word)

    @app.workflow(name="main")
    async def main() -> list[Any]:
        first = child.options(id="given").start("a")
        same = child.options(id="given").start("a")
        try:
            conflict = str(child.options(id="given").start("b"))
        except StartConflict as error:
            conflict = str(error)
        task = unit.options(id="given-task").start("c")
        return [await first, await same, first == same, conflict, await task]


@program(twin="sleeper")
def asleeper(app: Perdure) -> None:
    @app.task(name="tick")
    async def tick(*seen: Any) -> str:
        return differs(seen)

    @app.workflow(name="main")
    async def main() -> list[Any]:
        first = await tick(wf.utc_now())
        await wf.sleep(0.002)
        second = await tick(first, wf.utc_now())
        await wf.sleep(0)
        return [first, second, await tick(wf.utc_now(), wf.random())]


@program(twin="in_time")
def ain_time(app: Perdure) -> None:
    @app.task(name="later")
    async def later(word: str) -> str:
        return differs(word)

    @app.workflow(name="main")
    async def main() -> list[Any]:
        never = later.options(delay=3600).start("never")
        seen: list[Any] = []
        for _ in range(2):
            try:
                seen.append(await never.result_async(timeout=0.001))
            except ResultTimeout as error:
                seen.append(str(error))
            seen.append(await later(str(wf.utc_now())))
        soon = later.start("soon")
        seen += [await soon, await soon.result_async(timeout=3600)]
        return [*seen, await later(str(wf.utc_now()))]


@program(twin="memo")
def amemo(app: Perdure) -> None:
    @app.task(name="price")
    async def price(item: str, count: int = 1) -> str:
        return differs(item, count)

    @app.workflow(name="main")
    async def main() -> list[Any]:
        once = wf.execute_task(price, "pen")
        again = wf.execute_task(price, item="pen", count=1)
        other = wf.execute_task(price, "ink", 2)
        key = wf.uuid()
        return [once == again, await other, await once, await again, key, await price("pen")]


@program(twin="data")
def adata(app: Perdure) -> None:
    @app.task(name="look")
    async def look(step: int, state: Any) -> list[Any]:
        assert wf.get_data("state", "unset") == state
        return [differs(step), wf.get_data("none", 1)]

    @app.workflow(name="main")
    async def main() -> list[Any]:
        seen: list[Any] = [await look(0, "unset")]
        state = {"step": 1, "key": wf.uuid()}
        wf.set_data("state", state)
        wf.set_data("none", None)
        seen.append(await look(1, state))
        wf.set_data("state", 2)
        seen += [wf.get_data("state"), await look.start(2, 2)]
        return seen


@program(twin="handles")
def ahandles(app: Perdure) -> None:
    @app.task(name="make")
    async def make(word: str) -> str:
        return differs(word)

    @app.task(name="wait_for")
    async def wait_for(handle: DistributedInvocation[str]) -> list[Any]:
        return [differs(), await handle]

    @app.workflow(name="child")
    async def child(word: str) -> DistributedInvocation[str]:
        return make.start(word)

    @app.workflow(name="main")
    async def main() -> list[Any]:
        mine = make.start("mine")
        theirs = await child("theirs")
        return [await wait_for(mine), await theirs, mine, theirs]


@program("bad", twin="failing")
def afailing(app: Perdure) -> None:
    @app.task(name="step")
    async def step(word: str) -> str:
        return differs(word)

    @app.workflow(name="child")
    async def child(word: str) -> str:
        raise KeyError(await step(word))

    @app.workflow(name="main")
    async def main(word: str) -> str:
        seen = await step(word)
        try:
            await child(word)
        except KeyError as error:
            raise RuntimeError(f"{seen} {error} {wf.uuid()}") from error
        return "never"


@program(5000, twin="many_draws")
def amany_draws(app: Perdure) -> None:
    @app.task(name="total")
    async def total(value: float, key: str) -> str:
        return differs(value, key)

    @app.workflow(name="main")
    async def main(count: int) -> list[Any]:
        value = sum(wf.random() for _ in range(count))
        seen = await total(value, wf.uuid())
        return [seen, sum(wf.random.getrandbits(8) for _ in range(count)), wf.utc_now()]


# --- what only async code can do ----------------------------------------------------------------


@program()
def gathered(app: Perdure) -> None:
    """Branches of several steps, sync and async tasks, draws and starts in each."""

    @app.task(name="step")
    async def step(*seen: Any) -> str:
        await asyncio.sleep(0)
        return differs(seen)

    @app.task(name="plain")
    def plain(*seen: Any) -> str:
        return differs(seen)

    @app.workflow(name="main")
    async def main() -> list[Any]:
        async def branch(word: str) -> list[Any]:
            first = await step(word, wf.uuid(), wf.utc_now())
            second = await plain.acall(first, wf.random())
            started = step.start(word, wf.random())
            return [first, second, await started, wf.record("seen", lambda: differs(word))]

        results = await asyncio.gather(branch("a"), branch("b"), branch("c"))
        return [results, await step(wf.utc_now(), wf.uuid())]


@program()
def grouped(app: Perdure) -> None:
    """A TaskGroup in which one branch fails and the others are cancelled in the middle."""

    @app.task(name="step")
    async def step(*seen: Any) -> str:
        return differs(seen)

    @app.task(name="long")
    async def long(word: str) -> str:
        await asyncio.sleep(3600)
        return differs(word)

    @app.workflow(name="main")
    async def main() -> list[Any]:
        seen: list[Any] = []

        async def fail() -> None:
            seen.append(await step("first"))
            raise LookupError(await step("second"))

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(long("one"))
                group.create_task(fail())
                group.create_task(wf_sleep())
        except* LookupError as errors:
            seen += [str(error) for error in errors.exceptions]
        return [*seen, await step("after", wf.uuid())]

    async def wf_sleep() -> None:
        await wf.sleep(3600)


@program()
def timed(app: Perdure) -> None:
    """asyncio.timeout and wait_for, that cancel a running task and that do not."""

    @app.task(name="long")
    async def long(word: str) -> str:
        await asyncio.sleep(3600)
        return differs(word)

    @app.task(name="quick")
    async def quick(*seen: Any) -> str:
        return differs(seen)

    @app.workflow(name="main")
    async def main() -> list[Any]:
        seen: list[Any] = []
        try:
            async with asyncio.timeout(0.002):
                await long("one")
        except TimeoutError:
            seen.append(await quick("late", wf.uuid()))
        async with asyncio.timeout(3600):
            seen.append(await quick("in time", wf.utc_now()))
        try:
            await asyncio.wait_for(long("two"), 0.002)
        except TimeoutError:
            seen.append(await quick(wf.utc_now()))
        return [*seen, await asyncio.wait_for(quick("last", wf.random()), 3600)]


@program()
def racing(app: Perdure) -> None:
    """asyncio.wait for the first, a queue between branches, a child in a branch."""

    @app.task(name="step")
    async def step(*seen: Any) -> str:
        return differs(seen)

    @app.workflow(name="child")
    async def child(word: str) -> str:
        return await step(word)

    @app.workflow(name="main")
    async def main() -> list[Any]:
        queue: asyncio.Queue[str] = asyncio.Queue()

        async def produce() -> str:
            for number in range(2):
                await queue.put(await step(number, wf.random()))
            return "produced"

        async def consume() -> list[str]:
            return [await queue.get(), await queue.get(), await child("inner")]

        producer = asyncio.create_task(produce())
        consumer = asyncio.create_task(consume())
        done, _ = await asyncio.wait([producer, consumer], return_when=asyncio.FIRST_COMPLETED)
        first = [str(task.result()) for task in done]
        return [first, await producer, await consumer, await step(wf.utc_now())]
