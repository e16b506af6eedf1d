"""Programs whose parts send messages to each other, in both colours."""

from __future__ import annotations

from typing import Any

from perdure import DistributedInvocation, Perdure, wf
from perdure.errors import InvocationEnded, MessageInvalid, ReceiveTimeout
from tests.programs import differs, program


@program(twin="aconversation")
def conversation(app: Perdure) -> None:
    """A child and a task send; what comes early waits, and the names do not mix."""

    @app.task(name="tell")
    def tell(parent: DistributedInvocation[Any], text: str) -> str:
        parent.send("told", text)
        return differs(text)

    @app.workflow(name="child")
    def child(parent: DistributedInvocation[Any]) -> str:
        parent.send("second", {"n": 2})
        parent.send("first", [1])
        value = wf.receive("back", str)
        parent.send("third", value, id="third")
        parent.send("third", value, id="third")
        return value

    @app.workflow(name="main")
    def main() -> list[Any]:
        me = wf.invocation()
        started = child.start(me)
        seen: list[Any] = [wf.receive("first", list), wf.receive("second", dict)]
        started.send("back", wf.uuid())
        seen.append(tell(me, "told") is not None)
        seen += [wf.receive("told", str), wf.receive("third") == started.result()]
        seen.append(wf.receive("third", timeout=0, default="none"))
        return seen


@program(twin="aunanswered")
def unanswered(app: Perdure) -> None:
    """Nobody sends, somebody sends something else, and somebody has ended."""

    @app.workflow(name="child")
    def child() -> str:
        return wf.uuid()

    @app.workflow(name="main")
    def main() -> list[Any]:
        seen: list[Any] = [wf.receive("never", str, timeout=0.001, default=None)]
        try:
            wf.receive("never", timeout=0.001)
        except ReceiveTimeout as error:
            seen.append(type(error).__name__)
        me = wf.invocation()
        me.send("number", "seven")
        me.send("number", 7)
        try:
            wf.receive("number", int)
        except MessageInvalid as error:
            seen.append(type(error).__name__)
        seen.append(wf.receive("number", int))
        ended = child.start()
        ended.result()
        try:
            ended.send("late")
        except InvocationEnded as error:
            seen.append(type(error).__name__)
        return seen


@program(twin="conversation")
def aconversation(app: Perdure) -> None:
    @app.task(name="tell")
    def tell(parent: DistributedInvocation[Any], text: str) -> str:
        parent.send("told", text)
        return differs(text)

    @app.workflow(name="child")
    async def child(parent: DistributedInvocation[Any]) -> str:
        parent.send("second", {"n": 2})
        parent.send("first", [1])
        value = await wf.receive_async("back", str)
        parent.send("third", value, id="third")
        parent.send("third", value, id="third")
        return value

    @app.workflow(name="main")
    async def main() -> list[Any]:
        me = wf.invocation()
        started = child.start(me)
        seen: list[Any] = [
            await wf.receive_async("first", list),
            await wf.receive_async("second", dict),
        ]
        started.send("back", wf.uuid())
        seen.append(await tell.acall(me, "told") is not None)
        seen += [await wf.receive_async("told", str)]
        seen += [await wf.receive_async("third") == await started]
        seen.append(await wf.receive_async("third", timeout=0, default="none"))
        return seen


@program(twin="unanswered")
def aunanswered(app: Perdure) -> None:
    @app.workflow(name="child")
    async def child() -> str:
        return wf.uuid()

    @app.workflow(name="main")
    async def main() -> list[Any]:
        seen: list[Any] = [await wf.receive_async("never", str, timeout=0.001, default=None)]
        try:
            await wf.receive_async("never", timeout=0.001)
        except ReceiveTimeout as error:
            seen.append(type(error).__name__)
        me = wf.invocation()
        me.send("number", "seven")
        me.send("number", 7)
        try:
            await wf.receive_async("number", int)
        except MessageInvalid as error:
            seen.append(type(error).__name__)
        seen.append(await wf.receive_async("number", int))
        ended = child.start()
        await ended
        try:
            ended.send("late")
        except InvocationEnded as error:
            seen.append(type(error).__name__)
        return seen
