"""Programs that fail or are cancelled, and are undone; in both colours."""

from __future__ import annotations

from typing import Any

from perdure import DistributedInvocation, Perdure, Retry, wf
from perdure.errors import InvocationCancelled
from tests.programs import differs, program

TWICE = Retry(attempts=2, wait_initial=0.001, wait_factor=1.0, jitter=0.0)


class Trip:
    """The tasks of these programs."""

    def __init__(self, app: Perdure) -> None:
        tries = [0]

        @app.task(name="book")
        def book(what: str) -> str:
            return differs(what)

        @app.task(name="cancel")
        def cancel(what: str) -> str:
            return differs(what, wf.idempotency_key())

        @app.task(name="flaky", retry=Retry(attempts=30, wait_initial=0.001, jitter=0.0))
        def flaky(what: str) -> str:
            tries[0] += 1
            if tries[0] % 2:
                raise ConnectionError(differs(what))
            return differs(what)

        @app.task(name="hopeless", retry=TWICE)
        def hopeless(what: str) -> None:
            raise ConnectionError(what)

        @app.task(name="elsewhere", queue="far")
        def elsewhere(what: str) -> str:
            return differs(what)

        self.book, self.cancel, self.flaky = book, cancel, flaky
        self.hopeless, self.elsewhere = hopeless, elsewhere

    def forgotten(self) -> None:
        wf.compensate(self.cancel, "never")
        wf.forget_compensations()

    def rest(self) -> None:
        wf.compensate(self.hopeless, "hotel")
        wf.compensate(self.flaky, what="car")
        wf.compensate(self.elsewhere, "train")


@program(twin="aundone_failing")
def undone_failing(app: Perdure) -> None:
    trip = Trip(app)

    @app.workflow(name="main")
    def main() -> None:
        trip.forgotten()
        wf.compensate(trip.cancel, trip.book("flight"))
        trip.rest()
        trip.book("hotel")
        raise RuntimeError("no car")


@program(twin="undone_failing")
def aundone_failing(app: Perdure) -> None:
    trip = Trip(app)

    @app.workflow(name="main")
    async def main() -> None:
        trip.forgotten()
        wf.compensate(trip.cancel, await trip.book.acall("flight"))
        trip.rest()
        await trip.book.acall("hotel")
        raise RuntimeError("no car")


@program(twin="aundone_cancelled")
def undone_cancelled(app: Perdure) -> None:
    trip = Trip(app)

    @app.workflow(name="child")
    def child(top: DistributedInvocation[Any]) -> None:
        wf.compensate(trip.cancel, "flight")
        wf.compensate(trip.flaky, "car")
        top.send("waits")
        wf.receive("never")

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


@program(twin="undone_cancelled")
def aundone_cancelled(app: Perdure) -> None:
    trip = Trip(app)

    @app.workflow(name="child")
    async def child(top: DistributedInvocation[Any]) -> None:
        wf.compensate(trip.cancel, "flight")
        wf.compensate(trip.flaky, "car")
        top.send("waits")
        await wf.receive_async("never")

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


@program(twin="aundone_by_workflow_failing")
def undone_by_workflow_failing(app: Perdure) -> None:
    trip = Trip(app)

    @app.workflow(name="give_back")
    def give_back(what: str) -> str:
        wf.compensate(trip.cancel, what)
        wf.sleep(0.001)
        return trip.book(what)

    @app.workflow(name="main")
    def main() -> None:
        wf.compensate(give_back, trip.book("flight"))
        wf.compensate(give_back.options(timeout=600), "hotel")
        raise RuntimeError("no car")


@program(twin="undone_by_workflow_failing")
def aundone_by_workflow_failing(app: Perdure) -> None:
    trip = Trip(app)

    @app.workflow(name="give_back")
    async def give_back(what: str) -> str:
        wf.compensate(trip.cancel, what)
        await wf.sleep(0.001)
        return await trip.book.acall(what)

    @app.workflow(name="main")
    async def main() -> None:
        wf.compensate(give_back, await trip.book.acall("flight"))
        wf.compensate(give_back.options(timeout=600), "hotel")
        raise RuntimeError("no car")


@program(twin="aleft_behind")
def left_behind(app: Perdure) -> None:
    """What is terminated undoes nothing, and whoever waits is told what is left of it."""
    trip = Trip(app)

    @app.workflow(name="child")
    def child(top: DistributedInvocation[Any]) -> None:
        trip.rest()
        wf.compensate(trip.cancel, "flight")
        wf.compensate(trip.cancel, "boat")
        trip.cancel("boat")
        top.send("waits")
        wf.receive("never")

    @app.workflow(name="main")
    def main() -> list[str]:
        started = child.start(wf.invocation())
        wf.receive("waits")
        started.terminate("enough")
        try:
            started.result()
        except InvocationCancelled as error:
            return error.__notes__
        return []


@program(twin="left_behind")
def aleft_behind(app: Perdure) -> None:
    trip = Trip(app)

    @app.workflow(name="child")
    async def child(top: DistributedInvocation[Any]) -> None:
        trip.rest()
        wf.compensate(trip.cancel, "flight")
        wf.compensate(trip.cancel, "boat")
        await trip.cancel.acall("boat")
        top.send("waits")
        await wf.receive_async("never")

    @app.workflow(name="main")
    async def main() -> list[str]:
        started = child.start(wf.invocation())
        await wf.receive_async("waits")
        started.terminate("enough")
        try:
            await started
        except InvocationCancelled as error:
            return error.__notes__
        return []
