"""Programs whose workflows make branches, in both colours."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from perdure import Perdure, wf
from perdure.errors import InvocationCancelled
from tests.programs import differs, program


@program(twin="atogether")
def together(app: Perdure) -> None:
    """Branches of several steps, draws and starts in each; some make branches themselves."""

    @app.task(name="step")
    def step(*seen: Any) -> str:
        return differs(seen)

    @app.workflow(name="main")
    def main() -> list[Any]:
        def leaf(word: str) -> list[Any]:
            return [step(word, wf.uuid()), wf.utc_now(), step(word, wf.idempotency_key())]

        def branch(word: str) -> list[Any]:
            first = step(word, wf.uuid(), wf.utc_now())
            below = wf.gather(partial(leaf, word + "1"), partial(leaf, word + "2"))
            started = step.start(word, wf.random())
            return [first, below, started.result(), wf.record("seen", lambda: differs(word))]

        def draws() -> list[Any]:
            return [wf.random(), wf.utc_now()]

        results = wf.gather(partial(branch, "a"), draws, partial(branch, "b"), lambda: None)
        return [results, wf.gather(), step(wf.utc_now(), wf.uuid())]


@program(twin="together")
def atogether(app: Perdure) -> None:
    @app.task(name="step")
    def step(*seen: Any) -> str:
        return differs(seen)

    @app.workflow(name="main")
    async def main() -> list[Any]:
        async def leaf(word: str) -> list[Any]:
            first = await step.acall(word, wf.uuid())
            return [first, wf.utc_now(), await step.acall(word, wf.idempotency_key())]

        async def branch(word: str) -> list[Any]:
            first = await step.acall(word, wf.uuid(), wf.utc_now())
            below = await asyncio.gather(leaf(word + "1"), leaf(word + "2"))
            started = step.start(word, wf.random())
            return [first, below, await started, wf.record("seen", lambda: differs(word))]

        async def draws() -> list[Any]:
            return [wf.random(), wf.utc_now()]

        async def nothing() -> None:
            return None

        results = await asyncio.gather(branch("a"), draws(), branch("b"), nothing())
        return [results, await wf.gather_async(), await step.acall(wf.utc_now(), wf.uuid())]


@program(twin="amapped")
def mapped(app: Perdure) -> None:
    """So many at a time, of tasks that run here and of children that run elsewhere."""

    @app.task(name="step")
    def step(*seen: Any) -> str:
        return differs(seen)

    @app.workflow(name="child")
    def child(number: int) -> list[Any]:
        return [step(number), wf.uuid()]

    @app.workflow(name="main")
    def main() -> list[Any]:
        def both(number: Any) -> list[Any]:
            return [step(number, wf.uuid()), child.start(number).result()]

        return [wf.map(step, range(5), limit=2), wf.map(both, iter("abc"), limit=2), wf.uuid()]


@program(twin="mapped")
def amapped(app: Perdure) -> None:
    @app.task(name="step")
    def step(*seen: Any) -> str:
        return differs(seen)

    @app.workflow(name="child")
    async def child(number: int) -> list[Any]:
        return [await step.acall(number), wf.uuid()]

    @app.workflow(name="main")
    async def main() -> list[Any]:
        async def both(number: Any) -> list[Any]:
            return [await step.acall(number, wf.uuid()), await child.start(number)]

        first = await wf.map_async(step.acall, range(5), limit=2)
        return [first, await wf.map_async(both, iter("abc"), limit=2), wf.uuid()]


@program(twin="afailed")
def failed(app: Perdure) -> None:
    """Branches that fail: the first one is raised, or each is given in its place."""

    @app.task(name="step")
    def step(*seen: Any) -> str:
        return differs(seen)

    @app.task(name="refuse")
    def refuse(word: str) -> str:
        raise ValueError(differs(word))

    @app.workflow(name="main")
    def main() -> list[Any]:
        def late() -> str:
            wf.sleep(0.001)
            return step("late", wf.uuid())

        def early() -> None:
            raise LookupError

        seen: list[Any] = []
        try:
            wf.gather(late, partial(refuse, "one"), partial(step, "two"))
        except ValueError as error:
            seen.append(str(error))
        for given in wf.gather(partial(refuse, "a"), early, late, return_exceptions=True):
            seen.append(str(given))
        try:
            wf.map(lambda number: early() if number == 1 else step(number), range(9), limit=2)
        except LookupError:
            seen.append(step("caught", wf.utc_now()))
        return seen


@program(twin="failed")
def afailed(app: Perdure) -> None:
    @app.task(name="step")
    def step(*seen: Any) -> str:
        return differs(seen)

    @app.task(name="refuse")
    def refuse(word: str) -> str:
        raise ValueError(differs(word))

    @app.workflow(name="main")
    async def main() -> list[Any]:
        async def late() -> str:
            await wf.sleep(0.001)
            return await step.acall("late", wf.uuid())

        async def early() -> str:
            raise LookupError

        seen: list[Any] = []
        try:
            await wf.gather_async(late, partial(refuse.acall, "one"), partial(step.acall, "two"))
        except ValueError as error:
            seen.append(str(error))
        runs = (partial(refuse.acall, "a"), early, late)
        for given in await wf.gather_async(*runs, return_exceptions=True):
            seen.append(str(given))
        try:
            await wf.map_async(
                lambda number: early() if number == 1 else step.acall(number), range(9), limit=2
            )
        except LookupError:
            seen.append(await step.acall("caught", wf.utc_now()))
        return seen


@program(twin="aselected")
def selected(app: Perdure) -> None:
    """A timer loses, a timer wins; who loses cleans up durably, also below."""

    @app.task(name="step")
    def step(*seen: Any) -> str:
        return differs(seen)

    @app.workflow(name="main")
    def main() -> list[Any]:
        seen: list[Any] = []

        def waits(word: str) -> None:
            try:
                wf.receive("never")
            except wf.Cancelled:
                if word == "one":
                    wf.sleep(0.001)
                seen.append(step(word, wf.uuid()))
                raise

        def below() -> None:
            wf.gather(partial(waits, "below one"), partial(waits, "below two"))

        first = wf.select(work=partial(step, "work"), late=lambda: wf.sleep(3600))
        second = wf.select(partial(waits, "one"), lambda: wf.sleep(0.001), below)
        return [first.key, second.key, seen, wf.utc_now(), step("last", wf.uuid())]


@program(twin="selected")
def aselected(app: Perdure) -> None:
    @app.task(name="step")
    def step(*seen: Any) -> str:
        return differs(seen)

    @app.workflow(name="main")
    async def main() -> list[Any]:
        seen: list[Any] = []

        async def waits(word: str) -> None:
            try:
                await wf.receive_async("never")
            except asyncio.CancelledError:
                if word == "one":
                    await wf.sleep(0.001)
                seen.append(await step.acall(word, wf.uuid()))
                raise

        async def below() -> None:
            await asyncio.gather(waits("below one"), waits("below two"))

        first = await wf.select_async(work=partial(step.acall, "work"), late=lambda: wf.sleep(3600))
        second = await wf.select_async(partial(waits, "one"), lambda: wf.sleep(0.001), below)
        return [first.key, second.key, seen, wf.utc_now(), await step.acall("last", wf.uuid())]


@program(twin="apassed_on")
def passed_on(app: Perdure) -> None:
    """A cancelled workflow passes it on to its branches, in order; they clean up durably."""

    @app.task(name="undo")
    def undo(*seen: Any) -> str:
        return differs(seen)

    @app.workflow(name="child")
    def child(top: Any) -> None:
        def waits(word: str) -> None:
            try:
                wf.sleep(3600)
            except wf.Cancelled:
                wf.set_data(word, undo(word, wf.uuid()))
                raise

        def below() -> None:
            wf.gather(partial(waits, "one"), partial(waits, "two"))

        def tells() -> None:
            top.send("waits")
            wf.receive("never")

        wf.gather(below, tells, partial(waits, "three"))

    @app.workflow(name="main")
    def main() -> str:
        started = child.start(wf.invocation())
        wf.receive("waits")
        started.cancel("enough")
        try:
            started.result()
        except InvocationCancelled as error:
            return type(error).__name__
        return "well"


@program(twin="passed_on")
def apassed_on(app: Perdure) -> None:
    @app.task(name="undo")
    def undo(*seen: Any) -> str:
        return differs(seen)

    @app.workflow(name="child")
    async def child(top: Any) -> None:
        async def waits(word: str) -> None:
            try:
                await wf.sleep(3600)
            except asyncio.CancelledError:
                wf.set_data(word, await undo.acall(word, wf.uuid()))
                raise

        async def below() -> None:
            await asyncio.gather(waits("one"), waits("two"))

        async def tells() -> None:
            top.send("waits")
            await wf.receive_async("never")

        await asyncio.gather(below(), tells(), waits("three"))

    @app.workflow(name="main")
    async def main() -> str:
        started = child.start(wf.invocation())
        await wf.receive_async("waits")
        started.cancel("enough")
        try:
            await started
        except InvocationCancelled as error:
            return type(error).__name__
        return "well"


@program()
def timers(app: Perdure) -> None:
    """Branches that wait for time, so that the frames of all are dropped and come back."""

    @app.task(name="step")
    def step(*seen: Any) -> str:
        return differs(seen)

    @app.workflow(name="main")
    def main() -> list[Any]:
        def later(number: int) -> list[Any]:
            wf.sleep(0.001 * number)
            seen = step(number, wf.uuid())
            wf.sleep(0.001)
            return [seen, wf.random()]

        results = wf.gather(*[partial(later, number) for number in (3, 1, 2)])
        first = wf.select(partial(later, 1), partial(wf.sleep, 3600), partial(wf.receive, "never"))
        return [results, first.key, step("last", wf.uuid())]
