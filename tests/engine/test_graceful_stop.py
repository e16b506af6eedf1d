"""A worker that stops lets bodies that run end, and starts no other, in both colours."""

import asyncio
import threading
from typing import Any

import pytest

from perdure import Perdure, wf
from perdure.backends.memory import MemoryBackend
from tests.support.stores import LONG, run_until_idle
from tests.support.stores import step as take_one


class Steps:
    """Bodies that begin when they like and end when they may."""

    def __init__(self) -> None:
        self.began = {name: threading.Event() for name in "abc"}
        self.may_end = {name: threading.Event() for name in "abc"}
        self.ran: list[str] = []

    def body(self, name: str) -> None:
        self.ran.append(name)
        self.began[name].set()
        assert self.may_end[name].wait(LONG)


def blocking(app: Perdure, step: Any) -> None:
    @app.workflow(name="flow")
    def flow() -> None:
        def first() -> None:
            step("a")
            step("c")

        wf.gather(first, lambda: step("b"))


def awaiting(app: Perdure, step: Any) -> None:
    @app.workflow(name="flow")
    async def flow() -> None:
        async def first() -> None:
            await step.acall("a")
            await step.acall("c")

        await asyncio.gather(first(), step.acall("b"))


@pytest.mark.parametrize("build", [blocking, awaiting])
def test_a_body_that_runs_may_end(build):
    backend, steps = MemoryBackend(), Steps()
    app = Perdure(backend=backend, local_worker=False, grace=0.0)

    @app.task(name="step")
    def step(name: str) -> None:
        steps.body(name)

    build(app, step)
    handle = app.start("flow")
    attempt = threading.Thread(target=take_one, args=(app,))
    attempt.start()
    for name in "ab":
        assert steps.began[name].wait(LONG)
    app.runtime.stopping.set()
    app.runtime.hub.everyone()
    steps.may_end["a"].set()
    while not any(entry.kind == "task" for entry in backend.read_journal(handle.key)):
        app.runtime.hub.everyone()
    assert attempt.is_alive(), "it waits for the body that runs"
    steps.may_end["b"].set()
    attempt.join(LONG)
    assert sorted(steps.ran) == ["a", "b"]
    assert [entry.kind for entry in backend.read_journal(handle.key)].count("task") == 2
    app.runtime.stopping.clear()
    steps.may_end["c"].set()
    run_until_idle(app)
    assert sorted(steps.ran) == ["a", "b", "c"]
    assert handle.status.value == "completed"
