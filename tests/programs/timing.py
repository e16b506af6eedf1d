"""Programs that wait for moments, in both colours."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from perdure import Perdure, wf
from tests.programs import differs, program

LITTLE = timedelta(milliseconds=2)


@program(twin="amoments")
def moments(app: Perdure) -> None:
    @app.task(name="tick")
    def tick(*seen: Any) -> str:
        return differs(seen)

    @app.workflow(name="main")
    def main() -> list[Any]:
        start = wf.now()
        seen: list[Any] = [tick(start)]
        wf.sleep_until(start + LITTLE)
        seen.append(tick(wf.utc_now()))
        wf.sleep_until(start - timedelta(days=40_000))
        seen.append(tick(wf.utc_now()))
        wf.sleep_until(start)
        return [*seen, tick(wf.random())]


@program(twin="moments")
def amoments(app: Perdure) -> None:
    @app.task(name="tick")
    async def tick(*seen: Any) -> str:
        return differs(seen)

    @app.workflow(name="main")
    async def main() -> list[Any]:
        start = wf.now()
        seen: list[Any] = [await tick(start)]
        await wf.sleep_until(start + LITTLE)
        seen.append(await tick(wf.utc_now()))
        await wf.sleep_until(start - timedelta(days=40_000))
        seen.append(await tick(wf.utc_now()))
        await wf.sleep_until(start)
        return [*seen, await tick(wf.random())]
