"""Runs programs as sync workflows, and notes what they see. It uses `perdure.wf` as users do.

Its twin in the other colour is `perdure.testing.simulation.awaiting`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from perdure import DistributedInvocation, Perdure, wf
from perdure.errors import InvocationCancelled, InvocationEnded, ReceiveTimeout
from perdure.testing.simulation.programs import Block, Op
from perdure.testing.simulation.tasks import Tasks


class Frame:
    """What one run of a program keeps.

    Attributes:
        children: those that are waited for at the end.
        early: what may not be durable yet, and what later tasks are called with.
    """

    def __init__(self) -> None:
        """A run that begins."""
        self.children: list[DistributedInvocation[list[str]]] = []
        self.early = ""

    def note(self, op: Op, value: object) -> object:
        """A task gave this."""
        if op.kind in {"pure", "record"}:
            self.early = str(value)
        return value


class ProgramFailed(Exception):
    """A program failed, as it was meant to."""


class Programs:
    """Sync workflows that run programs."""

    def __init__(self, app: Perdure, tasks: Tasks) -> None:
        """Register `main`."""
        self._tasks = tasks

        @app.workflow(name="main")
        def main(number: int) -> list[str]:
            return self._main(self._tasks.watcher.block(number))

        self.main = main
        self.other: Any = None
        self._operations: dict[str, Callable[[Op, Frame], object]] = {
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

    def _main(self, block: Block) -> list[str]:
        frame = Frame()
        seen = self._block(block, frame)
        return seen + [self._saw(self._result(handle)) for handle in frame.children]

    def _saw(self, value: object) -> str:
        text = value if isinstance(value, str) else repr(value)
        self._tasks.watcher.saw(text)
        return text

    def _block(self, block: Block, frame: Frame) -> list[str]:
        return [
            self._saw(f"{op.kind}{op.number}:{self._operations[op.kind](op, frame)}")
            for op in block
        ]

    def _result(self, handle: DistributedInvocation[Any]) -> str:
        try:
            return str(handle.result())
        except InvocationCancelled:
            return "cancelled"
        except Exception as error:  # noqa: BLE001 - what a child raised is what is seen of it
            return f"{type(error).__name__}: {error}"

    def _call(self, op: Op, frame: Frame) -> object:
        task = self._tasks.direct[op.kind]
        try:
            return frame.note(op, task(op.number, wf.uuid() + frame.early))
        except Exception as error:  # noqa: BLE001 - it failed for good, and that is seen
            return f"{type(error).__name__}: {error}"

    def _queued(self, op: Op, frame: Frame) -> object:
        del frame
        return self._result(self._tasks.queued[op.kind].start(op.number, wf.uuid()))

    def _memo(self, op: Op, frame: Frame) -> object:
        del frame
        return self._result(wf.execute_task(self._tasks.plain, op.number, "memo"))

    def _record(self, op: Op, frame: Frame) -> object:
        value = wf.record("seen", partial(self._tasks.watcher.body, op.number, "record"))
        return frame.note(op, value)

    def _draw(self, op: Op, frame: Frame) -> object:
        del op, frame
        return [wf.random(), wf.utc_now().isoformat(), wf.idempotency_key()]

    def _sleep(self, op: Op, frame: Frame) -> object:
        del frame
        wf.sleep(op.amount)
        return "slept"

    def _receive(self, op: Op, frame: Frame) -> object:
        del frame
        return wf.receive("word", timeout=op.amount, default="nothing")

    def _tell(self, op: Op, frame: Frame) -> object:
        del frame
        wf.invocation().send("word", f"self{op.number}")
        return "told"

    def _answer(self, op: Op, frame: Frame) -> object:
        del frame
        try:
            with wf.receive_update("ask", str, timeout=op.amount) as update:
                text = f"{update.value} {wf.uuid()}"
                update.answer(text)
                return text
        except ReceiveTimeout:
            return "nobody asked"

    def _publish(self, op: Op, frame: Frame) -> object:
        del frame
        value = f"news{op.number} {wf.uuid()}"
        wf.publish("news", value)
        return value

    def _data(self, op: Op, frame: Frame) -> object:
        del op, frame
        wf.set_data("word", wf.uuid())
        return "set"

    def _register_undo(self, op: Op, frame: Frame) -> object:
        del frame
        wf.compensate(self._tasks.undo, op.number, wf.uuid())
        return "registered"

    def _fail(self, op: Op, frame: Frame) -> object:
        del frame
        raise ProgramFailed(op.number)

    def _gather(self, op: Op, frame: Frame) -> object:
        return wf.gather(*(partial(self._block, each, frame) for each in op.blocks))

    def _select(self, op: Op, frame: Frame) -> object:
        won = wf.select(*(partial(self._block, each, frame) for each in op.blocks))
        return [won.key, won.value]

    def _loop(self, op: Op, frame: Frame) -> object:
        return [self._block(op.blocks[0], frame) for _ in range(int(op.amount))]

    def _start(self, op: Op) -> DistributedInvocation[list[str]]:
        started: DistributedInvocation[list[str]]
        started = (self.other if op.awaits else self.main).start(op.number)
        return started

    def _child(self, op: Op, frame: Frame) -> object:
        del frame
        return self._result(self._start(op))

    def _begin(self, op: Op, frame: Frame) -> object:
        frame.children.append(self._start(op))
        return "begun"

    def _cancelled(self, op: Op, frame: Frame) -> object:
        del frame
        child = self._start(op)
        wf.sleep(op.amount)
        try:
            child.cancel("enough")
        except InvocationEnded:
            return f"ended, {self._result(child)}"
        return self._result(child)

    def _deadline(self, op: Op, frame: Frame) -> object:
        try:
            with wf.timeout(op.amount):
                seen = self._block(op.blocks[0], frame)
        except TimeoutError:
            return "too late"
        self._tasks.watcher.in_time(op)
        return seen

    def _attempt(self, op: Op, frame: Frame) -> object:
        try:
            self._block(op.blocks[0], frame)
            return self._fail(op, frame)
        except ProgramFailed as error:
            return str(error)

    def _cleanup(self, op: Op, frame: Frame) -> object:
        cleaned: list[str] = []
        try:
            seen = self._block(op.blocks[0], frame)
        finally:
            cleaned.append(self._saw(self._tasks.plain(op.number, "cleanup")))
        return [seen, cleaned]

    def _twins(self, op: Op, frame: Frame) -> object:
        del frame
        return [self._tasks.plain(op.number, "same"), self._tasks.plain(op.number, "same")]

    def _mutable(self, op: Op, frame: Frame) -> object:
        del frame
        values = [wf.uuid()]
        return [self._tasks.mutable(op.number, values), values]
