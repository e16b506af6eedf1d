"""Programs with a workflow that is cancelled by its own deadline, in both colours.

It waits before it does anything else, so its shape is the same however late it is; and a crash may
keep it from being begun in time, which is the same to whoever waits for it.
"""

from __future__ import annotations

import asyncio
from typing import Any

from perdure import Perdure, wf
from tests.programs import differs, program
from tests.programs.cancelling import how_it_ended, how_it_ended_async

SOON = 0.02


@program(twin="alate")
def late(app: Perdure) -> None:
    @app.task(name="undo")
    def undo(what: str) -> str:
        return differs(what)

    @app.workflow(name="child", timeout=SOON)
    def child() -> None:
        wf.compensate(undo, "child")
        try:
            wf.receive("never")
        except wf.Cancelled:
            wf.sleep(0.001)
            wf.set_data("after", undo("after"))
            raise

    @app.workflow(name="main")
    def main() -> list[Any]:
        return [how_it_ended(child.start()), undo("main")]


@program(twin="late")
def alate(app: Perdure) -> None:
    @app.task(name="undo")
    async def undo(what: str) -> str:
        return differs(what)

    @app.workflow(name="child", timeout=SOON)
    async def child() -> None:
        wf.compensate(undo, "child")
        try:
            await wf.receive_async("never")
        except asyncio.CancelledError:
            await wf.sleep(0.001)
            wf.set_data("after", await undo("after"))
            raise

    @app.workflow(name="main")
    async def main() -> list[Any]:
        return [await how_it_ended_async(child.start()), await undo("main")]
