"""Programs that wait for moments, in both colours."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from perdure import Perdure, wf
from perdure.errors import DeadlineExceeded
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


@program()
def deadlines(app: Perdure) -> None:
    """Blocks that are out of time in a wait, in an inner block and in time; sync workflows only."""

    @app.task(name="tick")
    def tick(*seen: Any) -> str:
        return differs(seen)

    @app.workflow(name="main")
    def main() -> list[Any]:
        seen: list[Any] = []
        for limit in (0.002, 3600.0):
            try:
                with wf.timeout(3600), wf.timeout(limit):
                    seen.append(wf.receive("never", default="none", timeout=0.004))
            except DeadlineExceeded as error:
                seen.append(str(error))
            seen.append(tick(limit))
        try:
            with wf.timeout(0.002):
                try:
                    with wf.timeout(3600):
                        wf.sleep(3600)
                finally:
                    seen.append(tick("cleaning up"))
        except DeadlineExceeded as error:
            seen.append(str(error))
        return [*seen, tick(wf.random()), wf.utc_now()]


@program()
def deadlined_branches(app: Perdure) -> None:
    """A deadline around branches, and one in a branch."""

    @app.task(name="tick")
    def tick(*seen: Any) -> str:
        return differs(seen)

    @app.workflow(name="main")
    def main() -> list[Any]:
        def patient(name: str) -> str:
            try:
                wf.sleep(3600)
            finally:
                tick(name)
            return "slept"

        def hasty() -> str:
            try:
                with wf.timeout(0.002):
                    wf.receive("never")
            except DeadlineExceeded as error:
                return str(error)
            return ""

        seen: list[Any] = [*wf.gather(hasty, lambda: tick("beside"))]
        try:
            with wf.timeout(0.002):
                wf.gather(lambda: patient("a"), lambda: patient("b"))
        except DeadlineExceeded as error:
            seen.append(str(error))
        return [*seen, tick(wf.random())]
