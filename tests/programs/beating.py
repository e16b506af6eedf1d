"""Programs whose tasks tell heartbeats and go on from what an attempt before told, in both colours.

What a body reads is no part of any journal: a crash may cost a heartbeat, or a failed attempt may
be one that the next one knows of although its failure is not on record.
"""

from __future__ import annotations

import asyncio
from typing import Any

from perdure import Perdure, wf
from tests.programs import RETRY, differs, program

PARTS = 2


def next_part() -> int:
    """The part that this attempt has to do; what was told never goes back."""
    part = wf.last_heartbeat(int, 0) or 0
    assert 0 <= part <= PARTS
    return min(part + 1, PARTS)


def result_of(part: int, what: str) -> str:
    if part < PARTS:
        raise ValueError(differs(what, part))
    return differs(what, part)


@program(twin="abeating")
def beating(app: Perdure) -> None:
    @app.task(name="copy", retry=RETRY)
    def copy(what: str) -> str:
        part = next_part()
        wf.heartbeat(part)
        assert wf.last_heartbeat(int) == part
        return result_of(part, what)

    @app.workflow(name="main")
    def main() -> list[Any]:
        started = copy.start("started")
        return [copy("a"), copy("b"), started.result()]


@program(twin="beating")
def abeating(app: Perdure) -> None:
    @app.task(name="copy", retry=RETRY)
    async def copy(what: str) -> str:
        part = next_part()
        await wf.heartbeat_async(part)
        assert wf.last_heartbeat(int) == part
        return result_of(part, what)

    @app.workflow(name="main")
    async def main() -> list[Any]:
        started = copy.start("started")
        return [await copy("a"), await copy("b"), await started]


@program()
def beating_side_by_side(app: Perdure) -> None:
    """No twin: which of two bodies ends first is left to chance."""

    @app.task(name="copy", retry=RETRY)
    def copy(what: str) -> str:
        part = next_part()
        wf.heartbeat(part)
        return result_of(part, what)

    @app.workflow(name="main")
    def main() -> list[Any]:
        told: list[Any] = wf.gather(lambda: copy("b"), lambda: copy("c"))
        return told


@program()
def abeating_side_by_side(app: Perdure) -> None:
    @app.task(name="copy", retry=RETRY)
    async def copy(what: str) -> str:
        part = next_part()
        await wf.heartbeat_async(part)
        return result_of(part, what)

    @app.workflow(name="main")
    async def main() -> list[Any]:
        return [*await asyncio.gather(copy("b"), copy("c"))]
