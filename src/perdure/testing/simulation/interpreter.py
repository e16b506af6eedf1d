"""Runs programs as sync workflows, and notes what they see. It uses `perdure.wf` as users do.

Its twin in the other colour is `perdure.testing.simulation.awaiting`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from perdure import DistributedInvocation, Perdure, Retry, wf
from perdure.errors import InvocationCancelled, InvocationEnded
from perdure.testing.simulation.programs import Block, Op

Begun = list[DistributedInvocation[list[str]]]
"""Children that are waited for at the end."""
TWICE = Retry(attempts=3, wait_initial=0.01, wait_factor=3.0, jitter=0.5)


NOTHING: tuple[Any, ...] = (None, "", 0, False, [])
"""What tasks may give that is easily taken for no result."""


class ProgramFailed(Exception):
    """A program failed, as it was meant to."""


class Watcher(Protocol):
    """What is told of all that programs and bodies do."""

    def saw(self, value: str) -> None:
        """The workflow that runs here got this from an operation."""
        ...

    def body(self, *seen: object) -> str:
        """A body runs, and gives something that no other run gives."""
        ...

    def block(self, number: int) -> Block:
        """The program of this number; that of a child has the number of its operation."""
        ...


class Tasks:
    """The tasks of one app.

    Attributes:
        watcher: told of everything they do.
    """

    def __init__(self, app: Perdure, watcher: Watcher) -> None:
        """Register them."""
        self.watcher = watcher
        app.queue("narrow", concurrency=1)

        @app.task(name="plain")
        def plain(number: int, draw: str) -> str:
            return self.watcher.body(number, draw)

        @app.task(name="flaky", retry=TWICE)
        def flaky(number: int, draw: str) -> str:
            return self.watcher.body(number, draw, "flaky")

        @app.task(name="pure", pure=True)
        def pure(number: int, draw: str) -> str:
            return self.watcher.body(number, draw, "pure")

        @app.task(name="once", delivery="at_most_once")
        def once(number: int, draw: str) -> str:
            return self.watcher.body(number, draw, "once")

        @app.task(name="undo")
        def undo(number: int, draw: str) -> str:
            return self.watcher.body(number, draw)

        @app.task(name="empty")
        def empty(number: int, draw: str) -> Any:
            self.watcher.body(number, draw)
            return NOTHING[number % len(NOTHING)]

        @app.task(name="narrow", queue="narrow", retry=TWICE)
        def narrow(number: int, draw: str) -> str:
            return self.watcher.body(number, draw, "flaky")

        @app.task(name="mutable")
        def mutable(number: int, values: list[str]) -> str:
            values.append("changed")
            return self.watcher.body(number, len(values))

        self.direct = {"task": plain, "flaky": flaky, "pure": pure, "once": once, "empty": empty}
        self.queued = {"queued": flaky, "narrow": narrow}
        self.plain, self.undo, self.mutable = plain, undo, mutable


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
        self._operations: dict[str, Callable[[Op, Begun], object]] = {
            **dict.fromkeys(tasks.direct, self._call),
            **dict.fromkeys(tasks.queued, self._queued),
            "memo": self._memo,
            "record": self._record,
            "draw": self._draw,
            "sleep": self._sleep,
            "receive": self._receive,
            "tell": self._tell,
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
        begun: Begun = []
        seen = self._block(block, begun)
        return seen + [self._saw(self._result(handle)) for handle in begun]

    def _saw(self, value: object) -> str:
        text = value if isinstance(value, str) else repr(value)
        self._tasks.watcher.saw(text)
        return text

    def _block(self, block: Block, begun: Begun) -> list[str]:
        return [
            self._saw(f"{op.kind}{op.number}:{self._operations[op.kind](op, begun)}")
            for op in block
        ]

    def _result(self, handle: DistributedInvocation[Any]) -> str:
        try:
            return str(handle.result())
        except InvocationCancelled:
            return "cancelled"
        except Exception as error:  # noqa: BLE001 - what a child raised is what is seen of it
            return f"{type(error).__name__}: {error}"

    def _call(self, op: Op, begun: Begun) -> object:
        del begun
        try:
            return self._tasks.direct[op.kind](op.number, wf.uuid())
        except Exception as error:  # noqa: BLE001 - it failed for good, and that is seen
            return f"{type(error).__name__}: {error}"

    def _queued(self, op: Op, begun: Begun) -> object:
        del begun
        return self._result(self._tasks.queued[op.kind].start(op.number, wf.uuid()))

    def _memo(self, op: Op, begun: Begun) -> object:
        del begun
        return self._result(wf.execute_task(self._tasks.plain, op.number, "memo"))

    def _record(self, op: Op, begun: Begun) -> object:
        del begun
        return wf.record("seen", partial(self._tasks.watcher.body, op.number, "record"))

    def _draw(self, op: Op, begun: Begun) -> object:
        del op, begun
        return [wf.random(), wf.utc_now().isoformat(), wf.idempotency_key()]

    def _sleep(self, op: Op, begun: Begun) -> object:
        del begun
        wf.sleep(op.amount)
        return "slept"

    def _receive(self, op: Op, begun: Begun) -> object:
        del begun
        return wf.receive("word", timeout=op.amount, default="nothing")

    def _tell(self, op: Op, begun: Begun) -> object:
        del begun
        wf.invocation().send("word", f"self{op.number}")
        return "told"

    def _data(self, op: Op, begun: Begun) -> object:
        del op, begun
        wf.set_data("word", wf.uuid())
        return "set"

    def _register_undo(self, op: Op, begun: Begun) -> object:
        del begun
        wf.compensate(self._tasks.undo, op.number, wf.uuid())
        return "registered"

    def _fail(self, op: Op, begun: Begun) -> object:
        del begun
        raise ProgramFailed(op.number)

    def _gather(self, op: Op, begun: Begun) -> object:
        return wf.gather(*(partial(self._block, each, begun) for each in op.blocks))

    def _select(self, op: Op, begun: Begun) -> object:
        won = wf.select(*(partial(self._block, each, begun) for each in op.blocks))
        return [won.key, won.value]

    def _loop(self, op: Op, begun: Begun) -> object:
        return [self._block(op.blocks[0], begun) for _ in range(int(op.amount))]

    def _start(self, op: Op) -> DistributedInvocation[list[str]]:
        started: DistributedInvocation[list[str]]
        started = (self.other if op.awaits else self.main).start(op.number)
        return started

    def _child(self, op: Op, begun: Begun) -> object:
        del begun
        return self._result(self._start(op))

    def _begin(self, op: Op, begun: Begun) -> object:
        begun.append(self._start(op))
        return "begun"

    def _cancelled(self, op: Op, begun: Begun) -> object:
        del begun
        child = self._start(op)
        wf.sleep(op.amount)
        try:
            child.cancel("enough")
        except InvocationEnded:
            return f"ended, {self._result(child)}"
        return self._result(child)

    def _deadline(self, op: Op, begun: Begun) -> object:
        try:
            with wf.timeout(op.amount):
                return self._block(op.blocks[0], begun)
        except TimeoutError:
            return "too late"

    def _attempt(self, op: Op, begun: Begun) -> object:
        try:
            self._block(op.blocks[0], begun)
            return self._fail(op, begun)
        except ProgramFailed as error:
            return str(error)

    def _cleanup(self, op: Op, begun: Begun) -> object:
        cleaned: list[str] = []
        try:
            seen = self._block(op.blocks[0], begun)
        finally:
            cleaned.append(self._saw(self._tasks.plain(op.number, "cleanup")))
        return [seen, cleaned]

    def _twins(self, op: Op, begun: Begun) -> object:
        del begun
        return [self._tasks.plain(op.number, "same"), self._tasks.plain(op.number, "same")]

    def _mutable(self, op: Op, begun: Begun) -> object:
        del begun
        values = [wf.uuid()]
        return [self._tasks.mutable(op.number, values), values]
