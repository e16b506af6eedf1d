"""Blocks that may take so long at most."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from perdure import InvocationState, wf
from perdure.errors import (
    Cancelled,
    ConfigurationError,
    DeadlineExceeded,
    InvocationCancelled,
    NotInWorkflow,
    OperationRefused,
    WrongColour,
)
from tests.support.stores import LONG, Store, run_until_idle

HOUR = 3600.0


def passed(store: Store, app: Any, handle: Any, seconds: float) -> Any:
    """The result after so much time."""
    run_until_idle(app)
    assert handle.status is InvocationState.WAITING
    store.env.advance(seconds)
    run_until_idle(app)
    return handle.result(LONG)


def test_the_operation_that_waits_is_given_up(store):
    app = store.app(virtual=True)

    @app.task(name="clean")
    def clean() -> str:
        return "clean"

    @app.workflow(name="flow")
    def flow() -> list[Any]:
        seen: list[Any] = []
        limit = wf.timeout(timedelta(hours=1))
        try:
            with limit:
                try:
                    wf.receive("never")
                except Cancelled as error:
                    seen += [str(error), clean(), wf.receive("early")]
                    raise
        except TimeoutError as error:
            seen += [type(error).__name__, str(error), limit.expired]
        return seen

    handle = flow.start()
    handle.send("early", 1)
    seen = passed(store, app, handle, HOUR)
    assert seen[0] == "The 3600 seconds of wf.timeout :1 are over."
    assert seen[1:4] == ["clean", 1, "DeadlineExceeded"]
    assert "3600 seconds" in seen[4]
    assert seen[5] is True
    app.verify(handle.invocation_id)


def test_in_time_nothing_happens(store):
    app = store.app(virtual=True)

    @app.workflow(name="flow")
    def flow() -> list[Any]:
        with wf.timeout(HOUR) as limit:
            value = wf.receive("m")
        wf.sleep(2 * HOUR)
        return [value, limit.expired]

    handle = flow.start()
    handle.send("m", "value")
    assert passed(store, app, handle, 2 * HOUR) == ["value", False]
    app.verify(handle.invocation_id)


def test_the_outer_block_ends_the_inner_one(memory_store):
    app = memory_store.app(virtual=True)

    @app.workflow(name="flow")
    def flow() -> str:
        try:
            with wf.timeout(HOUR):
                try:
                    with wf.timeout(2 * HOUR):
                        wf.sleep(3 * HOUR)
                except DeadlineExceeded:
                    return "inner"
        except DeadlineExceeded:
            return "outer"
        return "none"

    assert passed(memory_store, app, flow.start(), HOUR) == "outer"


def test_the_inner_block_leaves_the_outer_one_its_time(memory_store):
    app = memory_store.app(virtual=True)

    @app.workflow(name="flow")
    def flow() -> list[str]:
        seen = []
        try:
            with wf.timeout(2 * HOUR):
                try:
                    with wf.timeout(HOUR):
                        wf.sleep(3 * HOUR)
                except DeadlineExceeded:
                    seen.append("inner")
                wf.sleep(3 * HOUR)
        except DeadlineExceeded:
            seen.append("outer")
        return seen

    handle = flow.start()
    run_until_idle(app)
    memory_store.env.advance(HOUR)
    assert passed(memory_store, app, handle, HOUR) == ["inner", "outer"]
    app.verify(handle.invocation_id)


def test_both_are_over_while_the_inner_block_cleans_up(memory_store):
    app = memory_store.app(virtual=True)

    @app.workflow(name="flow")
    def flow() -> str:
        try:
            with wf.timeout(2 * HOUR):
                try:
                    with wf.timeout(HOUR):
                        try:
                            wf.sleep(9 * HOUR)
                        finally:
                            wf.sleep(9 * HOUR)
                except DeadlineExceeded:
                    return "inner"
        except DeadlineExceeded:
            return "outer"
        return "none"

    handle = flow.start()
    run_until_idle(app)
    memory_store.env.advance(HOUR)
    assert passed(memory_store, app, handle, HOUR) == "outer"


def test_no_task_begins_when_the_time_is_over(memory_store):
    app = memory_store.app(virtual=True)
    ran: list[int] = []

    @app.task(name="slow")
    def slow(number: int) -> int:
        ran.append(number)
        memory_store.env.advance(HOUR)
        return number

    @app.workflow(name="flow")
    def flow() -> list[int]:
        seen: list[int] = []
        try:
            with wf.timeout(1.5 * HOUR):
                for number in range(5):
                    seen.append(slow(number))
        except DeadlineExceeded:
            return seen
        return []

    handle = flow.start()
    run_until_idle(app)
    assert handle.result(LONG) == [0, 1]
    assert ran == [0, 1]
    app.verify(handle.invocation_id)


def test_a_crash_begins_no_new_deadline(store):
    first, second = store.app(virtual=True), store.app(virtual=True)
    for app in (first, second):

        @app.workflow(name="flow")
        def flow() -> str:
            try:
                with wf.timeout(HOUR):
                    wf.receive("never")
            except DeadlineExceeded:
                return str(wf.now())
            return ""

    handle = first.start("flow")
    run_until_idle(first)
    store.env.advance(HOUR - 1)
    assert run_until_idle(second) == 0
    store.env.advance(1)
    run_until_idle(second)
    assert second.invocation(handle.invocation_id).status is InvocationState.COMPLETED


def test_a_cancellation_is_no_deadline(memory_store):
    app = memory_store.app(virtual=True)

    @app.workflow(name="flow")
    def flow() -> None:
        with wf.timeout(HOUR):
            wf.receive("never")

    handle = flow.start()
    run_until_idle(app)
    handle.cancel()
    run_until_idle(app)
    assert handle.status is InvocationState.CANCELLED
    with pytest.raises(InvocationCancelled):
        handle.result(LONG)


def test_what_leaves_the_workflow_fails_it(memory_store):
    app = memory_store.app(virtual=True)

    @app.workflow(name="flow")
    def flow() -> None:
        with wf.timeout(HOUR):
            wf.receive("never")

    with pytest.raises(DeadlineExceeded, match="3600"):
        passed(memory_store, app, flow.start(), HOUR)


@pytest.mark.parametrize("limit", [-1, "1", None, True, float("nan")])
def test_what_is_no_duration_is_refused(memory_store, limit):
    app = memory_store.app()

    @app.workflow(name="flow")
    def flow() -> str:
        try:
            wf.timeout(limit)
        except ConfigurationError as error:
            return str(error)
        return ""

    assert "wf.timeout" in flow.start().result(LONG)


def test_where_it_does_not_belong(memory_store):
    app = memory_store.app()
    with pytest.raises(NotInWorkflow):
        wf.timeout(1)

    @app.workflow(name="flow")
    async def flow() -> str:
        try:
            with wf.timeout(1):
                return "entered"
        except WrongColour as error:
            return str(error)

    assert "async with asyncio.timeout(" in app.start("flow").result(LONG)

    @app.workflow(name="again")
    def again() -> str:
        limit = wf.timeout(HOUR)
        with limit:
            try:
                with limit:
                    return "twice"
            except OperationRefused as error:
                return str(error)

    assert "Each block needs its own" in app.start("again").result(LONG)


def test_a_deadline_around_branches_gives_all_of_them_up(memory_store):
    app = memory_store.app(virtual=True)

    @app.workflow(name="flow")
    def flow() -> list[str]:
        ended: list[str] = []

        def branch(name: str) -> None:
            try:
                wf.receive(name)
            except Cancelled:
                ended.append(name)
                raise

        try:
            with wf.timeout(HOUR):
                wf.gather(lambda: branch("a"), lambda: branch("b"))
        except DeadlineExceeded:
            ended.append("over")
        return ended

    handle = flow.start()
    assert passed(memory_store, app, handle, HOUR) == ["a", "b", "over"]
    app.verify(handle.invocation_id)


def test_a_deadline_in_a_branch_is_its_own(memory_store):
    app = memory_store.app(virtual=True)

    @app.workflow(name="flow")
    def flow() -> list[str]:
        def hasty() -> str:
            try:
                with wf.timeout(HOUR):
                    wf.receive("never")
            except DeadlineExceeded:
                return "over"
            return ""

        def patient() -> str:
            wf.sleep(2 * HOUR)
            return "slept"

        return list(wf.gather(patient, hasty, patient))

    handle = flow.start()
    run_until_idle(app)
    memory_store.env.advance(HOUR)
    assert passed(memory_store, app, handle, HOUR) == ["slept", "over", "slept"]
    app.verify(handle.invocation_id)
