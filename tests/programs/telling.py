"""Programs that emit to topics and listen to them, in both colours."""

from __future__ import annotations

from typing import Any

from perdure import Perdure, wf
from tests.programs import differs, program

EMITS = 2


def exactly(emits: int, number: int) -> str:
    """Fails the workflow if an emit was lost or made twice."""
    if number != emits + 1:
        raise AssertionError(f"{number - 1} emits, expected {emits}")
    return "exactly"


class Tasks:
    """The tasks of these programs."""

    def __init__(self, app: Perdure) -> None:
        @app.task(name="step")
        def step(*seen: Any) -> str:
            return differs(seen)

        @app.task(name="announce")
        def announce(what: str) -> str:
            app.emit("news", differs(what))
            return differs(what)

        self.step, self.announce = step, announce


@program(twin="atold")
def told(app: Perdure) -> None:
    """Emits of a workflow, with an id and without, and of a task; several listen to all of them."""
    tasks = Tasks(app)

    @app.workflow(name="each")
    def each(word: str) -> list[Any]:
        news = wf.listen("news", str, from_start=True)
        seen = [[news.receive(), tasks.step(word, wf.uuid())] for _ in range(EMITS)]
        return [*seen, news.receive(0.001, default="no more"), wf.utc_now()]

    @app.workflow(name="first")
    def first() -> list[Any]:
        return [wf.receive_topic("opened"), tasks.step("first")]

    @app.workflow(name="main")
    def main() -> list[Any]:
        started = [each.start("a"), first.start()]
        later = wf.listen("news", str)
        tasks.announce("one")
        for word in ("two", "again"):
            wf.emit("news", word, id="given")
        opened = [wf.emit("opened", word, once=True).accepted for word in ("yes", "no")]
        ended = [each.result() for each in started]
        heard = [later.receive() for _ in range(EMITS)]
        return [opened, ended, heard, exactly(EMITS, wf.emit("news", "last").number)]


@program(twin="told")
def atold(app: Perdure) -> None:
    tasks = Tasks(app)

    @app.workflow(name="each")
    async def each(word: str) -> list[Any]:
        news = wf.listen("news", str, from_start=True)
        seen = []
        async for value in news:
            seen.append([value, await tasks.step.acall(word, wf.uuid())])
            if len(seen) == EMITS:
                break
        return [*seen, await news.receive_async(0.001, default="no more"), wf.utc_now()]

    @app.workflow(name="first")
    async def first() -> list[Any]:
        return [await wf.receive_topic_async("opened"), await tasks.step.acall("first")]

    @app.workflow(name="main")
    async def main() -> list[Any]:
        started = [each.start("a"), first.start()]
        later = wf.listen("news", str)
        await tasks.announce.acall("one")
        for word in ("two", "again"):
            wf.emit("news", word, id="given")
        opened = [wf.emit("opened", word, once=True).accepted for word in ("yes", "no")]
        ended = [await each for each in started]
        heard = [await later.receive_async() for _ in range(EMITS)]
        return [opened, ended, heard, exactly(EMITS, wf.emit("news", "last").number)]


@program()
def listened_with_limits(app: Perdure) -> None:
    """Waits that are over before the emit comes, and the emit of another workflow after them."""
    tasks = Tasks(app)

    @app.workflow(name="tells")
    def tells() -> int:
        wf.receive("begin", str)  # no time that passes decides which of the waits it ends
        return wf.emit("news", tasks.step("late")).number

    @app.workflow(name="main")
    def main() -> list[Any]:
        news = wf.listen("news")
        seen: list[Any] = [news.receive(0.001, default="nothing")]
        started = tells.start()
        seen += [news.receive(0.001, default="nothing") for _ in range(2)]
        started.send("begin", "now")
        first = wf.select(news_=lambda: wf.receive_topic("news"), late=lambda: wf.sleep(3600))
        return [seen, first.key, started.result(), tasks.step(wf.utc_now())]
