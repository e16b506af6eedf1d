"""Programs with tasks that are completed from outside, in both colours."""

from __future__ import annotations

from typing import Any

from perdure import DistributedInvocation, Perdure, wf
from perdure.errors import AlreadyCompleted
from tests.programs import differs, program


def tasks(app: Perdure) -> tuple[Any, Any, Any]:
    """Tasks of both colours that hand their tokens out, and one that uses them."""

    @app.task(name="deliver")
    def deliver(token: str, refuse: str) -> str:
        try:
            if refuse:
                app.fail(token, ValueError(refuse))
            else:
                app.complete(token, differs("outside"))
        except AlreadyCompleted:
            return differs("again")
        return differs("first")

    @app.task(name="ask", completes_outside=True)
    def ask(helper: DistributedInvocation[Any]) -> str:
        helper.send("token", wf.completion_token())
        return wf.complete_later()

    @app.task(name="aask", completes_outside=True)
    async def aask(helper: DistributedInvocation[Any]) -> str:
        helper.send("token", wf.completion_token())
        return wf.complete_later()

    return deliver, ask, aask


@program(twin="acompleted")
def completed(app: Perdure) -> None:
    """Called directly and started; completed, and refused."""
    deliver, ask, aask = tasks(app)

    @app.workflow(name="helper")
    def helper(refuse: str) -> bool:
        return deliver(wf.receive("token", str), refuse) is not None

    @app.workflow(name="main")
    def main() -> list[Any]:
        helpers = [helper.start(refuse) for refuse in ("", "no")]
        started = aask.start(helpers[1])
        seen: list[Any] = [ask(helpers[0]) is not None]
        try:
            started.result()
        except ValueError as error:
            seen.append(str(error))
        return seen + [each.result() for each in helpers]


@program(twin="completed")
def acompleted(app: Perdure) -> None:
    deliver, ask, aask = tasks(app)

    @app.workflow(name="helper")
    async def helper(refuse: str) -> bool:
        return await deliver.acall(await wf.receive_async("token", str), refuse) is not None

    @app.workflow(name="main")
    async def main() -> list[Any]:
        helpers = [helper.start(refuse) for refuse in ("", "no")]
        started = aask.start(helpers[1])
        seen: list[Any] = [await ask.acall(helpers[0]) is not None]
        try:
            await started
        except ValueError as error:
            seen.append(str(error))
        return seen + [await each for each in helpers]
