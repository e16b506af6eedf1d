"""Programs that take branches as they end, in both colours, or give them to an executor."""

from __future__ import annotations

import asyncio
import concurrent.futures
from functools import partial
from typing import Any

from perdure import Perdure, wf
from tests.programs import differs, program


@program(twin="ataken")
def taken(app: Perdure) -> None:
    """As they end, a failure among them; then at most two at a time, while the loop works."""

    @app.task(name="step")
    def step(*seen: Any) -> str:
        return differs(seen)

    @app.task(name="refuse")
    def refuse(word: str) -> str:
        raise ValueError(differs(word))

    @app.workflow(name="main")
    def main() -> list[Any]:
        seen: list[Any] = []

        def pair(word: str) -> list[Any]:
            return [step(word, wf.uuid()), step(word, wf.random())]

        with wf.as_completed(
            partial(pair, "a"), partial(pair, "b"), bad=lambda: refuse("c")
        ) as all_:
            for branch in all_:
                try:
                    seen.append([branch.key, branch.result(), step("loop", wf.uuid())])
                except ValueError as error:
                    seen.append([branch.key, str(error)])
        with wf.map_as_completed(step, range(5), limit=2) as mapped:
            seen.extend([branch.key, branch.result(), step("more", wf.uuid())] for branch in mapped)
        return [seen, wf.utc_now(), step("last", wf.uuid())]


@program(twin="taken")
def ataken(app: Perdure) -> None:
    @app.task(name="step")
    def step(*seen: Any) -> str:
        return differs(seen)

    @app.task(name="refuse")
    def refuse(word: str) -> str:
        raise ValueError(differs(word))

    @app.workflow(name="main")
    async def main() -> list[Any]:
        seen: list[Any] = []

        async def pair(word: str) -> list[Any]:
            first = await step.acall(word, wf.uuid())
            return [first, await step.acall(word, wf.random())]

        runs = (partial(pair, "a"), partial(pair, "b"))
        async with wf.as_completed_async(*runs, bad=partial(refuse.acall, "c")) as all_:
            async for branch in all_:
                try:
                    given = branch.result()
                    seen.append([branch.key, given, await step.acall("loop", wf.uuid())])
                except ValueError as error:
                    seen.append([branch.key, str(error)])
        async with wf.map_as_completed_async(step.acall, range(5), limit=2) as mapped:
            async for item in mapped:
                seen.append([item.key, item.result(), await step.acall("more", wf.uuid())])
        return [seen, wf.utc_now(), await step.acall("last", wf.uuid())]


@program(twin="aleft_early")
def left_early(app: Perdure) -> None:
    """The loop is left at the first one; the others clean up durably before it goes on."""

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

        runs = (partial(waits, "one"), lambda: wf.sleep(0.001), partial(waits, "two"))
        with wf.as_completed(*runs) as ended:
            for branch in ended:
                seen.append([branch.key, step("in time", wf.uuid())])
                break
        return [seen, wf.utc_now(), step("last", wf.uuid())]


@program(twin="left_early")
def aleft_early(app: Perdure) -> None:
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

        runs = (partial(waits, "one"), lambda: wf.sleep(0.001), partial(waits, "two"))
        async with wf.as_completed_async(*runs) as ended:
            async for branch in ended:
                seen.append([branch.key, await step.acall("in time", wf.uuid())])
                break
        return [seen, wf.utc_now(), await step.acall("last", wf.uuid())]


@program()
def threaded(app: Perdure) -> None:
    """Plain code that is given an executor: submissions, more of them from there, callbacks."""

    @app.task(name="step")
    def step(*seen: Any) -> str:
        return differs(seen)

    @app.workflow(name="main")
    def main() -> list[Any]:
        def work(pool: concurrent.futures.Executor, word: str) -> list[Any]:
            below = pool.submit(step, word + " below", wf.uuid())
            first = step(word, wf.uuid())
            return [first, below.result(), wf.random()]

        def plain(pool: concurrent.futures.Executor) -> list[Any]:
            jobs = [pool.submit(work, pool, word) for word in ("a", "b")]
            jobs[0].add_done_callback(lambda job: step("told", wf.uuid()))
            first, rest = concurrent.futures.wait(jobs, return_when="FIRST_COMPLETED")
            ended = [job.result()[2] for job in concurrent.futures.as_completed(jobs)]
            return [len(first) + len(rest), ended, [job.result() for job in jobs]]

        with wf.threads() as pool:
            seen: list[Any] = plain(pool)
        with wf.threads(max_workers=2) as pool:
            seen += pool.map(step, range(3), range(3))
            slow = pool.submit(wf.sleep, 0.001)
            seen.append(slow.result(timeout=3600) is None)
        return [seen, wf.utc_now(), step("last", wf.uuid())]
