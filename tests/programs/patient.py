"""Programs that wait for an hour: killed while they do, they go on when the clock says so."""

from __future__ import annotations

from typing import Any

from perdure import Perdure, Retry, wf
from tests.programs import differs, program

life = 0
"""Number of the process, from 0; who runs these programs sets it."""


@program()
def long_sleep(app: Perdure) -> None:
    @app.task(name="step")
    def step(*seen: Any) -> str:
        return differs(seen)

    @app.workflow(name="main")
    def main() -> list[Any]:
        first = step(wf.uuid())
        wf.sleep(3600)
        return [first, step(first, wf.utc_now())]


@program()
def long_pause(app: Perdure) -> None:
    @app.task(name="flaky", retry=Retry(wait_initial=3600, jitter=0.5))
    async def flaky(fails_in: int, key: str) -> str:
        if life <= fails_in:
            raise ConnectionError(differs(key))
        return differs(key)

    @app.workflow(name="main")
    async def main() -> list[Any]:
        first = await flaky(0, wf.uuid())
        return [first, await flaky.start(1, first)]


@program()
def long_child(app: Perdure) -> None:
    @app.task(name="step")
    def step(*seen: Any) -> str:
        return differs(seen)

    @app.workflow(name="child")
    def child(key: str) -> str:
        wf.sleep(3600)
        return step(key)

    @app.workflow(name="main")
    def main() -> list[Any]:
        handle = child.start(wf.uuid())
        return [step("before"), handle.result(), step(wf.utc_now())]
