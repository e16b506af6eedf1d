"""Waiting for moments."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest

from perdure import InvocationState, wf
from perdure.errors import ConfigurationError, Divergence, NotInWorkflow
from tests.support.stores import FIRST_MOMENT, LONG, run_until_idle, step

START = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=FIRST_MOMENT)
SHANGHAI = timezone(timedelta(hours=8))


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_it_sleeps_until_the_moment(store, is_async):
    app = store.app(virtual=True)
    moment = (START + timedelta(days=3)).astimezone(SHANGHAI)

    if is_async:

        @app.workflow(name="flow")
        async def aflow() -> datetime:
            await wf.sleep_until(moment)
            return wf.now()

    else:

        @app.workflow(name="flow")
        def flow() -> datetime:
            wf.sleep_until(moment)
            return wf.now()

    handle = app.start("flow")
    run_until_idle(app)
    assert handle.status is InvocationState.WAITING
    store.env.advance(3 * 86_400 - 0.000001)
    assert step(app) == []
    store.env.advance(0.000001)
    run_until_idle(app)
    assert handle.result(LONG) == moment


def test_what_a_sleep_gives_can_be_a_result(memory_store):
    app = memory_store.app(virtual=True)

    @app.workflow
    def both() -> Any:
        ended = wf.select(slept=lambda: wf.sleep(5), never=lambda: wf.receive("never"))
        return [ended.value, *wf.gather(lambda: wf.sleep(1), lambda: wf.sleep_until(START))]

    @app.workflow
    async def both_async() -> Any:
        ended = await wf.select_async(
            slept=lambda: wf.sleep(5), never=lambda: wf.receive_async("never")
        )
        return [ended.value, *await asyncio.gather(wf.sleep(1), wf.sleep_until(START))]

    @app.workflow
    def in_a_loop() -> Any:
        async def both() -> Any:
            steps: list[Any] = [wf.sleep(1), wf.sleep_until(START)]
            return [await each for each in steps]

        return [None, *asyncio.run(both())]

    for workflow in (both, both_async, in_a_loop):
        handle = workflow.start()
        run_until_idle(app)
        while handle.status is InvocationState.WAITING:
            memory_store.env.advance(10)
            run_until_idle(app)
        assert handle.result(LONG) == [None, None, None]


@pytest.mark.parametrize("past", [START, datetime.min.replace(tzinfo=UTC)])
def test_a_moment_that_is_past_has_come(memory_store, past):
    app = memory_store.app(virtual=True)

    @app.workflow(name="flow")
    def flow() -> str:
        wf.sleep_until(past)
        return "there"

    handle = flow.start()
    run_until_idle(app)
    assert handle.result(LONG) == "there"


WRONG: list[tuple[Any, str]] = [
    (datetime(2026, 1, 2), "has no time zone"),
    (date(2026, 1, 2), "got date"),
    (1_700_000_000.0, "got float"),
    ("2026-01-02T00:00Z", "got str"),
    (None, "got NoneType"),
]


@pytest.mark.parametrize(("moment", "said"), WRONG)
def test_what_names_no_moment_is_refused(memory_store, moment, said):
    app = memory_store.app()

    @app.workflow(name="flow")
    def flow() -> str:
        try:
            wf.sleep_until(moment)
        except ConfigurationError as error:
            return str(error)
        return ""

    told = flow.start().result(LONG)
    assert "wf.sleep_until" in told
    assert said in told


def test_outside_of_a_workflow():
    with pytest.raises(NotInWorkflow):
        wf.sleep_until(START)


def test_another_moment_on_replay_is_a_divergence(memory_store):
    app = memory_store.app(virtual=True)
    moments = [START + timedelta(hours=1), START + timedelta(hours=2)]

    @app.workflow(name="flow")
    def flow() -> None:
        wf.sleep_until(moments[0])

    handle = flow.start()
    run_until_idle(app)
    moments.pop(0)
    with pytest.raises(Divergence):
        app.verify(handle.invocation_id)


def test_a_sleep_is_no_sleep_until(memory_store):
    app = memory_store.app(virtual=True)
    steps: list[Any] = [lambda: wf.sleep(5), lambda: wf.sleep_until(START)]

    @app.workflow(name="flow")
    def flow() -> None:
        steps[0]()

    handle = flow.start()
    run_until_idle(app)
    steps.pop(0)
    with pytest.raises(Divergence):
        app.verify(handle.invocation_id)


def test_branches_wait_for_moments_of_their_own(memory_store):
    app = memory_store.app(virtual=True)

    @app.workflow(name="flow")
    async def flow() -> list[int]:
        order: list[int] = []

        async def wait(hours: int) -> None:
            await wf.sleep_until(START + timedelta(hours=hours))
            order.append(hours)

        await asyncio.gather(*(wait(hours) for hours in (3, 1, 2)))
        return order

    handle = app.start("flow")
    for _ in range(4):
        run_until_idle(app)
        memory_store.env.advance(3600)
    assert handle.result(LONG) == [1, 2, 3]
