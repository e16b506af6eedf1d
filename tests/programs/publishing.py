"""Programs that tell the world what they do while they do it, in both colours."""

from __future__ import annotations

from typing import Any

from perdure import Perdure, wf
from tests.programs import differs, program


@program(twin="atelling")
def telling(app: Perdure) -> None:
    """Two streams and the data, before and after tasks and waits, and from a child."""

    @app.task(name="step")
    def step(number: int) -> str:
        return differs(number)

    @app.workflow(name="child")
    def child() -> str:
        wf.publish("progress", wf.uuid())
        return wf.uuid()

    @app.workflow(name="main")
    def main() -> list[Any]:
        seen: list[Any] = []
        wf.publish("progress", 0)
        for number in range(3):
            seen.append(step(number))
            wf.publish("progress", seen[-1])
            wf.publish("log", {"done": number})
            wf.set_data("done", number)
        started = child.start()
        wf.publish("progress", None)
        wf.sleep(0.001)
        wf.publish("progress", started.result())
        return seen


@program(twin="telling")
def atelling(app: Perdure) -> None:
    @app.task(name="step")
    def step(number: int) -> str:
        return differs(number)

    @app.workflow(name="child")
    async def child() -> str:
        wf.publish("progress", wf.uuid())
        return wf.uuid()

    @app.workflow(name="main")
    async def main() -> list[Any]:
        seen: list[Any] = []
        wf.publish("progress", 0)
        for number in range(3):
            seen.append(await step.acall(number))
            wf.publish("progress", seen[-1])
            wf.publish("log", {"done": number})
            wf.set_data("done", number)
        started = child.start()
        wf.publish("progress", None)
        await wf.sleep(0.001)
        wf.publish("progress", await started)
        return seen
