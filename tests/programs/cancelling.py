"""Programs that cancel each other, in both colours; a cancelled one cleans up durably."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from perdure import DistributedInvocation, InvocationState, Perdure, wf
from perdure.errors import InvocationCancelled, InvocationEnded
from tests.programs import differs, program
from tests.support.stores import LONG


def how_it_ended(handle: DistributedInvocation[Any]) -> str:
    try:
        handle.result()
    except InvocationCancelled as error:
        return type(error).__name__
    return "well"


async def how_it_ended_async(handle: DistributedInvocation[Any]) -> str:
    try:
        await handle
    except InvocationCancelled as error:
        return type(error).__name__
    return "well"


@program(twin="acancelled")
def cancelled(app: Perdure) -> None:
    @app.task(name="undo")
    def undo(what: str) -> str:
        return differs(what)

    @app.workflow(name="grandchild")
    def grandchild() -> None:
        wf.receive("never")

    @app.workflow(name="child")
    def child(top: Any) -> None:
        started = grandchild.start()
        top.send("grandchild", started)
        wf.set_data("before", undo("before"))
        try:
            started.result()
        except wf.Cancelled:
            wf.set_data("after", undo("after"))
            raise

    @app.workflow(name="stubborn")
    def stubborn(parent: Any) -> str:
        parent.send("waits")
        try:
            wf.sleep(3600)
        except wf.Cancelled:
            wf.sleep(0.001)
        return undo("stubborn")

    @app.workflow(name="main")
    def main() -> list[Any]:
        me = wf.invocation()
        first, second = child.start(me), stubborn.start(me)
        wf.receive("waits")
        third = wf.receive("grandchild")
        second.cancel("enough")
        first.cancel()
        seen: list[Any] = [second.result() is not None]
        seen += [how_it_ended(first), how_it_ended(third)]
        try:
            second.terminate()
        except InvocationEnded as error:
            seen.append(type(error).__name__)
        second.cancel()  # as it was before, so this is no error
        return seen


@program(twin="cancelled")
def acancelled(app: Perdure) -> None:
    @app.task(name="undo")
    def undo(what: str) -> str:
        return differs(what)

    @app.workflow(name="grandchild")
    async def grandchild() -> None:
        await wf.receive_async("never")

    @app.workflow(name="child")
    async def child(top: Any) -> None:
        started = grandchild.start()
        top.send("grandchild", started)
        wf.set_data("before", await undo.acall("before"))
        try:
            await started
        except asyncio.CancelledError:
            wf.set_data("after", await undo.acall("after"))
            raise

    @app.workflow(name="stubborn")
    async def stubborn(parent: Any) -> str:
        parent.send("waits")
        try:
            await wf.sleep(3600)
        except asyncio.CancelledError:
            await wf.sleep(0.001)
        return await undo.acall("stubborn")

    @app.workflow(name="main")
    async def main() -> list[Any]:
        me = wf.invocation()
        first, second = child.start(me), stubborn.start(me)
        await wf.receive_async("waits")
        third = await wf.receive_async("grandchild")
        second.cancel("enough")
        first.cancel()
        seen: list[Any] = [await second is not None]
        seen += [await how_it_ended_async(first), await how_it_ended_async(third)]
        try:
            second.terminate()
        except InvocationEnded as error:
            seen.append(type(error).__name__)
        second.cancel()  # as it was before, so this is no error
        return seen


@program()
def terminated(app: Perdure) -> None:
    """A workflow and its child end, and their watcher hears of it; a task ends likewise."""

    @app.workflow(name="child")
    def child() -> None:
        wf.receive("never")

    @app.workflow(name="victim")
    def victim(top: Any) -> None:
        top.send("child", child.start())
        wf.receive("never")

    @app.task(name="later")
    def later() -> str:
        return differs()

    @app.workflow(name="main")
    def main() -> list[Any]:
        first, second = victim.start(wf.invocation()), later.options(delay=3600).start()
        third = wf.receive("child")
        first.terminate("why not")
        second.cancel()
        return [how_it_ended(handle) for handle in (first, second, third)]


@program()
def held_up(app: Perdure) -> None:
    """What waits is paused and resumed; what is delayed is cancelled, and never begins."""

    @app.task(name="hold")
    def hold(held: DistributedInvocation[Any]) -> str:
        deadline = time.monotonic() + LONG
        while held.status in {InvocationState.READY, InvocationState.RUNNING}:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        held.pause()
        return differs(held.status)

    @app.task(name="let_go")
    def let_go(held: DistributedInvocation[Any]) -> str:
        held.resume()
        return differs()

    @app.task(name="too_early")
    def too_early() -> str:
        return differs()

    @app.workflow(name="child")
    def child(parent: Any) -> str:
        parent.send("begun")
        return wf.receive("go", str)

    @app.workflow(name="later")
    def later() -> None:
        too_early()

    @app.workflow(name="main")
    def main() -> list[Any]:
        first, second = child.start(wf.invocation()), later.options(delay=3600).start()
        wf.receive("begun")
        paused = hold(first)
        second.cancel("not needed")
        first.send("go", "on")
        let_go(first)
        return [paused.split(":", 1)[1], first.result(), how_it_ended(second)]
