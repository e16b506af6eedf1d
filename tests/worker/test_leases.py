"""A lease that nobody could confirm in time: no side effect after it, and nothing is recorded.

The machine is put to sleep, or the process stopped, at each place where it could matter. On waking
nobody has told the process anything; only the clock has moved.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from perdure import Perdure, Retry
from perdure.backends.base import InvocationRecord
from perdure.backends.memory import MemoryBackend
from perdure.core.lifecycle import InvocationState
from perdure.engine.env import SystemEnv
from perdure.worker.worker import make_attempt
from tests.support.stores import LEASE, claim, run_until_idle, step


class Sleeper(SystemEnv):
    """A world whose machine can be suspended, on all its clocks."""

    def __init__(self) -> None:
        self._slept = 0.0

    def now(self) -> int:
        return super().now() + int(self._slept * 1e6)

    def monotonic(self) -> float:
        return super().monotonic() + self._slept

    def suspend(self) -> None:
        """Sleep for longer than a lease."""
        self._slept += LEASE + 1


class Machine:
    """An app on a machine that sleeps when a test says so, and what its bodies did."""

    def __init__(self) -> None:
        self.env = Sleeper()
        self.backend = MemoryBackend(self.env.now)
        self.app = Perdure(backend=self.backend, env=self.env, lease=LEASE, grace=0.0)
        self.calls: list[str] = []
        self.sleepy = True

    def doze(self) -> None:
        """Sleep in the first attempt, never again."""
        if self.sleepy:
            self.sleepy = False
            self.env.suspend()

    def record(self) -> InvocationRecord:
        record = self.backend.read("one")
        assert record is not None
        return record

    def nothing_came_of_it(self, *calls: str) -> None:
        """The attempt is over: these bodies ran, no word is recorded, the lease was not touched."""
        record = self.record()
        assert self.calls == list(calls)
        assert (record.state, record.epoch, record.head) == (InvocationState.RUNNING, 1, 0)
        assert (record.attempts, record.outcome) == (0, None)
        assert self.app.runtime.leases.held() == []
        self.calls.clear()
        run_until_idle(self.app)  # whoever comes next
        assert self.record().state is InvocationState.COMPLETED


@pytest.fixture
def machine():
    made = Machine()
    yield made
    made.app.close(0.1)


def start(function: Any) -> None:
    function.options(id="one").start()


def test_a_body_of_a_sync_workflow_does_not_start(machine: Machine) -> None:
    @machine.app.task
    def body() -> None:
        machine.calls.append("body")

    @machine.app.workflow
    def main() -> None:
        machine.doze()
        body()

    start(main)
    step(machine.app)
    machine.nothing_came_of_it()
    assert machine.calls == ["body"]


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_a_body_of_an_async_workflow_does_not_start(machine: Machine, colour: str) -> None:
    @machine.app.task
    def sync_body() -> None:
        machine.calls.append("body")

    @machine.app.task
    async def async_body() -> None:
        machine.calls.append("body")

    @machine.app.workflow
    async def main() -> None:
        machine.doze()
        await (sync_body.acall() if colour == "sync" else async_body())

    start(main)
    step(machine.app)
    machine.nothing_came_of_it()
    assert machine.calls == ["body"]


def test_an_async_body_that_waits_for_the_loop_does_not_start(machine: Machine) -> None:
    """The first body holds the loop of all bodies until the lease is over."""
    both_asked = threading.Event()

    @machine.app.task
    async def slow() -> None:
        machine.calls.append("slow")
        assert both_asked.wait(LEASE)  # blocking the loop is what this is about
        machine.doze()

    @machine.app.task
    async def next_one() -> None:
        machine.calls.append("next")

    @machine.app.workflow
    async def main() -> None:
        both = [asyncio.create_task(slow()), asyncio.create_task(next_one())]
        # Runs after the first steps of both, which ask for their bodies.
        asyncio.get_running_loop().call_soon(both_asked.set)
        await asyncio.gather(*both)

    start(main)
    step(machine.app)
    machine.nothing_came_of_it("slow")
    assert sorted(machine.calls) == ["next", "slow"]


@pytest.mark.parametrize("timeout", [None, 60.0])
@pytest.mark.parametrize("colour", ["sync", "async"])
def test_a_started_task_does_not_start_its_body(
    machine: Machine, colour: str, timeout: float | None
) -> None:
    app = machine.app

    @app.task(timeout=timeout)
    def sync_body() -> None:
        machine.calls.append("body")

    @app.task(timeout=timeout)
    async def async_body() -> None:
        machine.calls.append("body")

    body = sync_body if colour == "sync" else async_body
    start(body)
    asked_at = app.runtime.env.monotonic()
    (record,) = claim(app).records
    app.runtime.leases.add(record.key, record.epoch, asked_at, LEASE)
    machine.env.suspend()
    make_attempt(app.runtime, record, app.registry[record.name]).run()
    app.runtime.leases.remove(record.key, record.epoch)
    machine.nothing_came_of_it()
    assert machine.calls == ["body"]


def once_failing(machine: Machine) -> Callable[[], None]:
    def body() -> None:
        machine.calls.append("body")
        if machine.sleepy:
            machine.doze()
            raise ConnectionError

    return body


def test_a_body_is_not_tried_again(machine: Machine) -> None:
    body = machine.app.task(name="body", retry=Retry(wait_initial=0.0))(once_failing(machine))

    @machine.app.workflow
    def main() -> None:
        body()

    start(main)
    step(machine.app)
    machine.nothing_came_of_it("body")


def test_what_a_body_gave_is_not_recorded(machine: Machine) -> None:
    @machine.app.task
    def body() -> int:
        machine.calls.append("body")
        machine.doze()
        return len(machine.calls)

    @machine.app.workflow
    def main() -> int:
        return body()

    start(main)
    step(machine.app)
    machine.nothing_came_of_it("body")
    assert machine.calls == ["body"]


def test_the_end_of_a_workflow_is_not_recorded(machine: Machine) -> None:
    @machine.app.workflow
    def main() -> str:
        machine.doze()
        return "end"

    start(main)
    step(machine.app)
    machine.nothing_came_of_it()


def test_a_child_is_not_started(machine: Machine) -> None:
    @machine.app.workflow
    def child() -> None:
        machine.calls.append("child")

    @machine.app.workflow
    def main() -> None:
        machine.doze()
        child()

    start(main)
    step(machine.app)
    assert [record.key.invocation_id for record in machine.app.workflows()] == ["one"]
    machine.nothing_came_of_it()
    assert machine.calls == ["child"]
