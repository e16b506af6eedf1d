"""Programs with pure tasks, whose outcomes are held back: what leaves must not differ."""

from __future__ import annotations

import asyncio
from typing import Any

from perdure import Perdure, wf
from tests.programs import RETRY, differs, program


@program(2, twin="aheld_back")
def held_back(app: Perdure) -> None:
    """What may leave without a start, on values of pure tasks that came just before."""

    @app.task(name="look", pure=True)
    def look(*seen: Any) -> str:
        return differs(seen, wf.random(), wf.idempotency_key())

    @app.task(name="act")
    def act(*seen: Any) -> str:
        return differs(seen)

    @app.task(name="read")
    def read(key: str) -> Any:
        return [differs(), wf.get_data(key)]

    @app.workflow(name="main")
    def main(count: int) -> list[Any]:
        seen: list[Any] = [wf.uuid()]
        for number in range(count):
            seen.append(look(number, seen[-1], wf.random()))
        seen += [act(seen[-1]), look(seen[-1]), look(wf.uuid())]
        seen.append(wf.record("record", lambda: differs(seen[-1])))
        seen += [look(seen[-1]), wf.now(), look(wf.utc_now()), wf.token(8), look()]
        wf.sleep(0)
        seen.append(look())
        wf.set_data("key", seen[-1])
        return [*seen, read("key"), look(), wf.random(), look(wf.utc_now())]


@program(2, twin="held_back")
def aheld_back(app: Perdure) -> None:
    @app.task(name="look", pure=True)
    async def look(*seen: Any) -> str:
        return differs(seen, wf.random(), wf.idempotency_key())

    @app.task(name="act")
    async def act(*seen: Any) -> str:
        return differs(seen)

    @app.task(name="read")
    async def read(key: str) -> Any:
        return [differs(), wf.get_data(key)]

    @app.workflow(name="main")
    async def main(count: int) -> list[Any]:
        seen: list[Any] = [wf.uuid()]
        for number in range(count):
            seen.append(await look(number, seen[-1], wf.random()))
        seen += [await act(seen[-1]), await look(seen[-1]), await look(wf.uuid())]
        seen.append(wf.record("record", lambda: differs(seen[-1])))
        seen += [await look(seen[-1]), wf.now(), await look(wf.utc_now()), wf.token(8)]
        seen.append(await look())
        await wf.sleep(0)
        seen.append(await look())
        wf.set_data("key", seen[-1])
        return [*seen, await read("key"), await look(), wf.random(), await look(wf.utc_now())]


@program(twin="aheld_starts")
def held_starts(app: Perdure) -> None:
    """Starts with what pure tasks gave; a started pure task is an invocation like others."""

    @app.task(name="look", pure=True)
    def look(*seen: Any) -> str:
        return differs(seen)

    @app.workflow(name="child")
    def child(seen: list[Any]) -> list[Any]:
        return [seen, look(seen), look()]

    @app.workflow(name="main")
    def main() -> list[Any]:
        handle = child.start([look(), look()])
        seen: list[Any] = [look(), handle.result(), look()]
        seen.append(look.options(id="given").start("same").result())
        return [*seen, look(), wf.execute_task(look, "memo").result(), look()]


@program(twin="held_starts")
def aheld_starts(app: Perdure) -> None:
    @app.task(name="look", pure=True)
    async def look(*seen: Any) -> str:
        return differs(seen)

    @app.workflow(name="child")
    async def child(seen: list[Any]) -> list[Any]:
        return [seen, await look(seen), await look()]

    @app.workflow(name="main")
    async def main() -> list[Any]:
        handle = child.start([await look(), await look()])
        seen: list[Any] = [await look(), await handle, await look()]
        seen.append(await look.options(id="given").start("same"))
        return [*seen, await look(), await wf.execute_task(look, "memo"), await look()]


@program(twin="aheld_failing")
def held_failing(app: Perdure) -> None:
    """What a pure task raises is held back as well; its failed attempts are not."""
    tries = [0]

    @app.task(name="flaky", pure=True, retry=RETRY)
    def flaky(part: str) -> str:
        tries[0] += 1
        if tries[0] % 3:
            raise ConnectionError(differs(part))
        return differs(part)

    @app.task(name="refuse", pure=True)
    def refuse(part: str) -> str:
        raise ValueError(differs(part))

    @app.task(name="act")
    def act(*seen: Any) -> str:
        return differs(seen)

    @app.workflow(name="main")
    def main() -> list[Any]:
        seen = [flaky("one")]
        try:
            refuse(flaky("two"))
        except ValueError as error:
            seen += [act(str(error)), flaky(str(error))]
            raise RuntimeError(str(seen)) from error
        return seen


@program(twin="held_failing")
def aheld_failing(app: Perdure) -> None:
    tries = [0]

    @app.task(name="flaky", pure=True, retry=RETRY)
    async def flaky(part: str) -> str:
        tries[0] += 1
        if tries[0] % 3:
            raise ConnectionError(differs(part))
        return differs(part)

    @app.task(name="refuse", pure=True)
    async def refuse(part: str) -> str:
        raise ValueError(differs(part))

    @app.task(name="act")
    async def act(*seen: Any) -> str:
        return differs(seen)

    @app.workflow(name="main")
    async def main() -> list[Any]:
        seen = [await flaky("one")]
        try:
            await refuse(await flaky("two"))
        except ValueError as error:
            seen += [await act(str(error)), await flaky(str(error))]
            raise RuntimeError(str(seen)) from error
        return seen


@program()
def aheld_branches(app: Perdure) -> None:
    """Branches in which pure tasks, others and waits end in any order."""

    @app.task(name="look", pure=True)
    async def look(*seen: Any) -> str:
        await asyncio.sleep(0)
        return differs(seen)

    @app.task(name="see", pure=True)
    def see(*seen: Any) -> str:
        return differs(seen, wf.random())

    @app.task(name="act")
    async def act(*seen: Any) -> str:
        return differs(seen)

    async def looking(number: int) -> list[str]:
        first = await look(number, wf.uuid())
        return [first, await see.acall(first), await look()]

    async def acting(number: int) -> list[str]:
        first = await see.acall(number)
        second = await act(first, wf.uuid())
        return [first, second, await act(await look(second))]

    async def waiting() -> list[str]:
        first = await look()
        await wf.sleep(0.001)
        return [first, await look(first), await act.start(first)]

    @app.workflow(name="main")
    async def main() -> list[Any]:
        seen: list[Any] = [await look()]
        seen += await asyncio.gather(looking(1), acting(2), waiting(), looking(3), acting(4))
        return [*seen, await act(seen), await look()]
