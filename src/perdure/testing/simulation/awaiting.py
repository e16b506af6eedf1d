"""Runs programs as async workflows: the twin of `perdure.testing.simulation.interpreter`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from perdure import DistributedInvocation, Perdure, wf
from perdure.errors import InvocationCancelled, InvocationEnded, ReceiveTimeout
from perdure.testing.simulation.interpreter import Frame, ProgramFailed
from perdure.testing.simulation.programs import Block, Op
from perdure.testing.simulation.tasks import Tasks


class AwaitingPrograms:
    """Async workflows that run programs."""

    def __init__(self, app: Perdure, tasks: Tasks) -> None:
        """Register `amain`."""
        self._tasks = tasks

        @app.workflow(name="amain")
        async def amain(number: int) -> list[str]:
            return await self._main(self._tasks.watcher.block(number))

        self.main = amain
        self.other: Any = None
        self._operations: dict[str, Callable[[Op, Frame], Awaitable[object]]] = {
            **dict.fromkeys(tasks.direct, self._call),
            **dict.fromkeys(tasks.queued, self._queued),
            "memo": self._memo,
            "record": self._record,
            "draw": self._draw,
            "sleep": self._sleep,
            "receive": self._receive,
            "tell": self._tell,
            "answer": self._answer,
            "publish": self._publish,
            "data": self._data,
            "undo": self._register_undo,
            "fail": self._fail,
            "gather": self._gather,
            "select": self._select,
            "loop": self._loop,
            "child": self._child,
            "begin": self._begin,
            "cancelled": self._cancelled,
            "deadline": self._deadline,
            "attempt": self._attempt,
            "cleanup": self._cleanup,
            "twins": self._twins,
            "mutable": self._mutable,
        }

    async def _main(self, block: Block) -> list[str]:
        frame = Frame()
        seen = await self._block(block, frame)
        return seen + [self._saw(await self._result(handle)) for handle in frame.children]

    def _saw(self, value: object) -> str:
        text = value if isinstance(value, str) else repr(value)
        self._tasks.watcher.saw(text)
        return text

    async def _block(self, block: Block, frame: Frame) -> list[str]:
        return [
            self._saw(f"{op.kind}{op.number}:{await self._operations[op.kind](op, frame)}")
            for op in block
        ]

    async def _result(self, handle: DistributedInvocation[Any]) -> str:
        try:
            return str(await handle)
        except InvocationCancelled:
            return "cancelled"
        except Exception as error:  # noqa: BLE001 - what a child raised is what is seen of it
            return f"{type(error).__name__}: {error}"

    async def _call(self, op: Op, frame: Frame) -> object:
        task = self._tasks.direct[op.kind]
        try:
            return frame.note(op, await task.acall(op.number, wf.uuid() + frame.early))
        except Exception as error:  # noqa: BLE001 - it failed for good, and that is seen
            return f"{type(error).__name__}: {error}"

    async def _queued(self, op: Op, frame: Frame) -> object:
        del frame
        return await self._result(self._tasks.queued[op.kind].start(op.number, wf.uuid()))

    async def _memo(self, op: Op, frame: Frame) -> object:
        del frame
        return await self._result(wf.execute_task(self._tasks.plain, op.number, "memo"))

    async def _record(self, op: Op, frame: Frame) -> object:
        value = wf.record("seen", partial(self._tasks.watcher.body, op.number, "record"))
        return frame.note(op, value)

    async def _draw(self, op: Op, frame: Frame) -> object:
        del op, frame
        return [wf.random(), wf.utc_now().isoformat(), wf.idempotency_key()]

    async def _sleep(self, op: Op, frame: Frame) -> object:
        del frame
        await wf.sleep(op.amount)
        return "slept"

    async def _receive(self, op: Op, frame: Frame) -> object:
        del frame
        return await wf.receive_async("word", timeout=op.amount, default="nothing")

    async def _tell(self, op: Op, frame: Frame) -> object:
        del frame
        wf.invocation().send("word", f"self{op.number}")
        return "told"

    async def _answer(self, op: Op, frame: Frame) -> object:
        del frame
        try:
            async with wf.receive_update_async("ask", str, timeout=op.amount) as update:
                text = f"{update.value} {wf.uuid()}"
                update.answer(text)
                return text
        except ReceiveTimeout:
            return "nobody asked"

    async def _publish(self, op: Op, frame: Frame) -> object:
        del frame
        value = f"news{op.number} {wf.uuid()}"
        wf.publish("news", value)
        return value

    async def _data(self, op: Op, frame: Frame) -> object:
        del op, frame
        wf.set_data("word", wf.uuid())
        return "set"

    async def _register_undo(self, op: Op, frame: Frame) -> object:
        del frame
        wf.compensate(self._tasks.undo, op.number, wf.uuid())
        return "registered"

    async def _fail(self, op: Op, frame: Frame) -> object:
        del frame
        raise ProgramFailed(op.number)

    async def _gather(self, op: Op, frame: Frame) -> object:
        return await asyncio.gather(*(self._block(each, frame) for each in op.blocks))

    async def _select(self, op: Op, frame: Frame) -> object:
        won = await wf.select_async(*(partial(self._block, each, frame) for each in op.blocks))
        return [won.key, won.value]

    async def _loop(self, op: Op, frame: Frame) -> object:
        return [await self._block(op.blocks[0], frame) for _ in range(int(op.amount))]

    def _start(self, op: Op) -> DistributedInvocation[list[str]]:
        started: DistributedInvocation[list[str]]
        started = (self.other if op.awaits else self.main).start(op.number)
        return started

    async def _child(self, op: Op, frame: Frame) -> object:
        del frame
        return await self._result(self._start(op))

    async def _begin(self, op: Op, frame: Frame) -> object:
        frame.children.append(self._start(op))
        return "begun"

    async def _cancelled(self, op: Op, frame: Frame) -> object:
        del frame
        child = self._start(op)
        await wf.sleep(op.amount)
        try:
            child.cancel("enough")
        except InvocationEnded:
            return f"ended, {await self._result(child)}"
        return await self._result(child)

    async def _deadline(self, op: Op, frame: Frame) -> object:
        try:
            async with asyncio.timeout(op.amount):
                seen = await self._block(op.blocks[0], frame)
        except TimeoutError:
            return "too late"
        self._tasks.watcher.in_time(op)
        return seen

    async def _attempt(self, op: Op, frame: Frame) -> object:
        try:
            await self._block(op.blocks[0], frame)
            return await self._fail(op, frame)
        except ProgramFailed as error:
            return str(error)

    async def _cleanup(self, op: Op, frame: Frame) -> object:
        cleaned: list[str] = []
        try:
            seen = await self._block(op.blocks[0], frame)
        finally:
            cleaned.append(self._saw(await self._tasks.plain.acall(op.number, "cleanup")))
        return [seen, cleaned]

    async def _twins(self, op: Op, frame: Frame) -> object:
        del frame
        call = self._tasks.plain.acall
        return [await call(op.number, "same"), await call(op.number, "same")]

    async def _mutable(self, op: Op, frame: Frame) -> object:
        del frame
        values = [wf.uuid()]
        return [await self._tasks.mutable.acall(op.number, values), values]
