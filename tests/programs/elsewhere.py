"""Programs whose tasks run on an executor of the user. Its bodies are found by their module."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from perdure import Perdure, wf
from tests.programs import RETRY, differs, program

_tries = [0]


def step(*seen: Any) -> str:
    return differs(seen, wf.uuid(), wf.random())


def flaky(part: str) -> str:
    _tries[0] += 1
    if _tries[0] % 3:
        raise ConnectionError(differs(part))
    return differs(part, wf.idempotency_key())


def _register(app: Perdure) -> tuple[Any, Any]:
    return (
        app.task(name="step", executor=ThreadPoolExecutor)(step),
        app.task(name="flaky", executor=ThreadPoolExecutor, retry=RETRY)(flaky),
    )


@program(twin="aelsewhere")
def elsewhere(app: Perdure) -> None:
    one, two = _register(app)

    @app.workflow(name="main")
    def main() -> list[Any]:
        first = one("a")
        seen = [first, two(first), one.start("b").result()]
        return [*seen, one(seen[-1], wf.utc_now())]


@program(twin="elsewhere")
def aelsewhere(app: Perdure) -> None:
    one, two = _register(app)

    @app.workflow(name="main")
    async def main() -> list[Any]:
        first = await one.acall("a")
        seen = [first, await two.acall(first), await one.start("b")]
        return [*seen, await one.acall(seen[-1], wf.utc_now())]
