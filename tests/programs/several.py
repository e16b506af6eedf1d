"""Programs whose branches have effects: at-most-once tasks and undos side by side, both colours."""

from __future__ import annotations

from functools import partial
from typing import Any

from perdure import Perdure, wf
from perdure.errors import OutcomeUnknown
from tests.programs import differs, program


class Tasks:
    """The tasks of these programs."""

    def __init__(self, app: Perdure) -> None:
        @app.task(name="find")
        def find(what: str) -> str:
            return differs("found", what, wf.idempotency_key())

        @app.task(name="pay", delivery="at_most_once")
        def pay(what: str) -> str:
            return differs(what)

        @app.task(name="order", delivery="at_most_once", on_uncertain=find)
        def order(what: str) -> str:
            return differs(what, wf.idempotency_key())

        @app.task(name="cancel")
        def cancel(what: str) -> str:
            return differs(what, wf.idempotency_key())

        self.pay, self.order, self.cancel = pay, order, cancel

    def tried(self, what: str) -> str:
        try:
            return self.pay(what)
        except OutcomeUnknown as error:
            return type(error).__name__

    async def atried(self, what: str) -> str:
        try:
            return await self.pay.acall(what)
        except OutcomeUnknown as error:
            return type(error).__name__


@program(twin="abought_failing")
def bought_failing(app: Perdure) -> None:
    """Each branch pays, orders and registers undos; one fails, and all is undone, newest first."""
    tasks = Tasks(app)

    @app.workflow(name="main")
    def main() -> None:
        def buy(word: str) -> list[str]:
            wf.compensate(tasks.cancel, word)
            seen = [tasks.tried(word), tasks.order(word + wf.uuid())]
            wf.compensate(tasks.cancel, word + " ordered")
            return seen

        def fails() -> None:
            tasks.tried("last")
            wf.compensate(tasks.cancel, "last")
            raise RuntimeError("no money left")

        wf.gather(partial(buy, "a"), fails, partial(buy, "b"))


@program(twin="bought_failing")
def abought_failing(app: Perdure) -> None:
    tasks = Tasks(app)

    @app.workflow(name="main")
    async def main() -> None:
        async def buy(word: str) -> list[str]:
            wf.compensate(tasks.cancel, word)
            seen = [await tasks.atried(word), await tasks.order.acall(word + wf.uuid())]
            wf.compensate(tasks.cancel, word + " ordered")
            return seen

        async def fails() -> None:
            await tasks.atried("last")
            wf.compensate(tasks.cancel, "last")
            raise RuntimeError("no money left")

        await wf.gather_async(partial(buy, "a"), fails, partial(buy, "b"))


@program(twin="araced")
def raced(app: Perdure) -> None:
    """The branch that loses is cancelled where it pays: what came of that is not asked again."""
    tasks = Tasks(app)

    @app.workflow(name="main")
    def main() -> list[Any]:
        def slow() -> list[str]:
            wf.compensate(tasks.cancel, "slow")
            return [tasks.tried("one"), tasks.order("two"), tasks.tried("three")]

        first = wf.select(slow, lambda: tasks.order("quick"))
        wf.forget_compensations()
        return [first.value, tasks.tried("last")]


@program(twin="raced")
def araced(app: Perdure) -> None:
    tasks = Tasks(app)

    @app.workflow(name="main")
    async def main() -> list[Any]:
        async def slow() -> list[str]:
            wf.compensate(tasks.cancel, "slow")
            one = await tasks.atried("one")
            return [one, await tasks.order.acall("two"), await tasks.atried("three")]

        first = await wf.select_async(slow, partial(tasks.order.acall, "quick"))
        wf.forget_compensations()
        return [first.value, await tasks.atried("last")]
