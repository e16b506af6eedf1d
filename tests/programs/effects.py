"""Programs with at-most-once tasks, in both colours: called, retried, started, asked about."""

from __future__ import annotations

import asyncio
from typing import Any

from perdure import Perdure, Retry, wf
from perdure.errors import OutcomeUnknown
from tests.programs import differs, program

TWICE = Retry(attempts=2, wait_initial=0.001, wait_factor=1.0, jitter=0.0)


class Once:
    """The tasks of these programs."""

    def __init__(self, app: Perdure) -> None:
        failing = [0]

        @app.task(name="find")
        def find(what: str) -> str:
            return differs("found", what, wf.idempotency_key())

        @app.task(name="pay", delivery="at_most_once")
        def pay(what: str) -> str:
            return differs(what)

        @app.task(name="order", delivery="at_most_once", on_uncertain=find)
        def order(what: str) -> str:
            return differs(what, wf.idempotency_key())

        @app.task(name="apay", delivery="at_most_once")
        async def apay(what: str) -> str:
            return differs(what)

        @app.task(name="flaky", delivery="at_most_once", retry=TWICE)
        def flaky(what: str) -> str:
            failing[0] += 1
            if failing[0] % 2:
                raise ConnectionError(differs(what))
            return differs(what)

        self.pay, self.order, self.apay, self.flaky = pay, order, apay, flaky


@program(twin="aonce")
def once(app: Perdure) -> None:
    tasks = Once(app)

    def tried(task: Any, what: str) -> Any:
        try:
            return task(what)
        except (OutcomeUnknown, ConnectionError) as error:
            return type(error).__name__

    @app.workflow(name="main")
    def main() -> list[Any]:
        seen = [tried(tasks.pay, wf.uuid()), tasks.order("b"), tried(tasks.apay.call, "c")]
        seen += [tried(tasks.flaky, "d"), tried(lambda what: tasks.pay.start(what).result(), "e")]
        return [*seen, tasks.order.start("f").result()]


@program(twin="once")
def aonce(app: Perdure) -> None:
    tasks = Once(app)

    async def tried(task: Any, what: str) -> Any:
        try:
            return await task(what)
        except (OutcomeUnknown, ConnectionError) as error:
            return type(error).__name__

    async def started(what: str) -> Any:
        return await tasks.pay.start(what)

    @app.workflow(name="main")
    async def main() -> list[Any]:
        seen = [await tried(tasks.pay.acall, wf.uuid()), await tasks.order.acall("b")]
        seen += [await tried(tasks.apay, "c"), await tried(tasks.flaky.acall, "d")]
        return [*seen, await tried(started, "e"), await tasks.order.start("f")]


@program()
def aonce_together(app: Perdure) -> None:
    """Several bodies are under way at a crash, and each is told of by itself."""
    tasks = Once(app)

    async def tried(what: str) -> Any:
        try:
            return await tasks.pay.acall(what)
        except OutcomeUnknown:
            return await tasks.order.acall(what)

    @app.workflow(name="main")
    async def main() -> list[Any]:
        return await asyncio.gather(*(tried(what) for what in "abc"), tasks.order.acall("d"))
