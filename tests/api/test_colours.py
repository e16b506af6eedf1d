"""Sync and async tasks, in sync and async workflows and outside, in every spelling."""
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import asyncio
import copy
import inspect

import pytest

from perdure.errors import WrongColour
from tests.support.stores import LONG


class Colours:
    """One task and one workflow of each colour."""

    def __init__(self, app):
        self.app = app

        @app.task(name="m.charge")
        def charge(n: int) -> str:
            return f"charged {n}"

        @app.task(name="m.fetch")
        async def fetch(n: int) -> str:
            await asyncio.sleep(0)
            return f"fetched {n}"

        @app.workflow(name="m.order")
        def order(n: int) -> str:
            return charge(n)

        @app.workflow(name="m.refund")
        async def refund(n: int) -> str:
            return await fetch(n)

        self.charge, self.fetch, self.order, self.refund = charge, fetch, order, refund

    def in_sync(self, code):
        flow = self.app.workflow(name="in_sync")(lambda: code())
        handle = flow.options(id="flow").start()
        result = handle.result(LONG)
        assert self.app.verify("flow").finished
        return result

    def in_async(self, code):
        async def body():
            value = code()
            return await value if inspect.isawaitable(value) else value

        flow = self.app.workflow(name="in_async")(body)
        handle = flow.options(id="flow").start()
        result = handle.result(LONG)
        assert self.app.verify("flow").finished
        return result


@pytest.fixture
def it(store):
    return Colours(store.app())


SYNC_SPELLINGS = {
    "charge(...)": (lambda it: it.charge(1), "charged 1"),
    "fetch.call(...)": (lambda it: it.fetch.call(1), "fetched 1"),
    "order(...)": (lambda it: it.order(1), "charged 1"),
    "refund.call(...)": (lambda it: it.refund.call(1), "fetched 1"),
    "charge.start(...).result()": (lambda it: it.charge.start(1).result(), "charged 1"),
    "fetch.start(...).result()": (lambda it: it.fetch.start(1).result(), "fetched 1"),
    "order.start(...).result()": (lambda it: it.order.start(1).result(), "charged 1"),
    "refund.start(...).result()": (lambda it: it.refund.start(1).result(), "fetched 1"),
}


async def _awaited(value):
    return await value


ASYNC_SPELLINGS = {
    "await fetch(...)": (lambda it: it.fetch(1), "fetched 1"),
    "await charge.acall(...)": (lambda it: it.charge.acall(1), "charged 1"),
    "await refund(...)": (lambda it: it.refund(1), "fetched 1"),
    "await order.acall(...)": (lambda it: it.order.acall(1), "charged 1"),
    "await charge.start(...)": (lambda it: _awaited(it.charge.start(1)), "charged 1"),
    "await fetch.start(...)": (lambda it: _awaited(it.fetch.start(1)), "fetched 1"),
    "await order.start(...)": (lambda it: _awaited(it.order.start(1)), "charged 1"),
    "await refund.start(...)": (lambda it: _awaited(it.refund.start(1)), "fetched 1"),
}


@pytest.mark.parametrize("spelling", SYNC_SPELLINGS)
def test_sync_spellings_outside(it, spelling):
    call, result = SYNC_SPELLINGS[spelling]
    assert call(it) == result


@pytest.mark.parametrize("spelling", SYNC_SPELLINGS)
def test_sync_spellings_in_sync_workflows(it, spelling):
    call, result = SYNC_SPELLINGS[spelling]
    assert it.in_sync(lambda: call(it)) == result


@pytest.mark.parametrize("spelling", ASYNC_SPELLINGS)
def test_async_spellings_outside(it, spelling):
    call, result = ASYNC_SPELLINGS[spelling]

    async def main():
        return await call(it)

    assert asyncio.run(main()) == result


@pytest.mark.parametrize("spelling", ASYNC_SPELLINGS)
def test_async_spellings_in_async_workflows(it, spelling):
    call, result = ASYNC_SPELLINGS[spelling]
    assert it.in_async(lambda: call(it)) == result


@pytest.mark.parametrize(
    ("name", "spelling", "right"),
    [
        ("charge", "call", ["await charge.acall(...)", "charge(...)", "a def"]),
        ("order", "call", ["await order.acall(...)", "order(...)", "a def"]),
        ("fetch", "acall", ["await fetch(...)", "fetch.call(...)", "an async def"]),
        ("refund", "acall", ["await refund(...)", "refund.call(...)", "an async def"]),
    ],
)
def test_the_spelling_of_the_other_colour_says_which_is_right(it, name, spelling, right):
    with pytest.raises(AttributeError, match=f"'m.{name}' has no {spelling}") as caught:
        getattr(getattr(it, name), spelling)
    assert all(each in str(caught.value) for each in right)


def test_what_is_not_there_is_not_there(it):
    assert not hasattr(it.charge, "nothing")
    assert copy.copy(it.charge).name == "m.charge"


def message(call):
    try:
        value = call()
    except WrongColour as error:
        return str(error)
    if inspect.iscoroutine(value):
        try:
            value.send(None)
        except WrongColour as error:
            return str(error)
        except StopIteration as stop:
            return f"gave {stop.value!r}"
    return f"gave {value!r}"


WRONG_IN_ASYNC = {
    "charge(...)": (lambda it: it.charge(1), "await charge.acall(...)"),
    "fetch.call(...)": (lambda it: it.fetch.call(1), "await fetch(...)"),
    "order(...)": (lambda it: it.order(1), "await order.acall(...)"),
    "refund.call(...)": (lambda it: it.refund.call(1), "await refund(...)"),
    "result()": (lambda it: it.charge.start(1).result(), "await invocation"),
}

WRONG_IN_SYNC = {
    "fetch(...)": (lambda it: it.fetch(1), "fetch.call(...)"),
    "charge.acall(...)": (lambda it: it.charge.acall(1), "charge(...)"),
    "refund(...)": (lambda it: it.refund(1), "refund.call(...)"),
    "order.acall(...)": (lambda it: it.order.acall(1), "order(...)"),
}


@pytest.mark.parametrize("spelling", WRONG_IN_ASYNC)
def test_the_wrong_spelling_in_an_async_workflow_names_the_right_one(it, spelling):
    call, right = WRONG_IN_ASYNC[spelling]
    text = it.in_async(lambda: message(lambda: call(it)))
    assert right in text


@pytest.mark.parametrize("spelling", WRONG_IN_SYNC)
def test_the_wrong_spelling_in_a_sync_workflow_names_the_right_one(it, spelling):
    call, right = WRONG_IN_SYNC[spelling]
    text = it.in_sync(lambda: message(lambda: call(it)))
    assert f"Write: {right}" in text


@pytest.mark.parametrize("spelling", [s for s in WRONG_IN_ASYNC if s != "charge(...)"])
def test_blocking_a_running_loop_outside_is_refused(it, spelling):
    call, right = WRONG_IN_ASYNC[spelling]

    async def main():
        return message(lambda: call(it))

    assert right in asyncio.run(main())


def test_outside_of_workflows_a_task_is_just_the_function(it):
    assert it.charge(1) == "charged 1"
    assert asyncio.run(it.fetch(1)) == "fetched 1"

    async def main():
        assert it.charge(1) == "charged 1"  # its author decided that it may block
        return await it.charge.acall(1), await it.fetch(1)

    assert asyncio.run(main()) == ("charged 1", "fetched 1")
    assert it.app.tasks() == []


def test_inside_of_tasks_a_task_is_just_the_function(it):
    app = it.app

    @app.task(name="outer")
    def outer() -> list[str]:
        return [it.charge(1), it.fetch.call(2)]

    @app.task(name="aouter")
    async def aouter() -> list[str]:
        return [it.charge(1), await it.charge.acall(2), await it.fetch(3)]

    assert it.in_sync(lambda: [outer(), aouter.call()]) == [
        ["charged 1", "fetched 2"],
        ["charged 1", "charged 2", "fetched 3"],
    ]
    kinds = [entry.kind for entry in app.runtime.backend.read_journal(app.invocation("flow").key)]
    assert kinds == ["task", "task", "end"]


def test_both_colours_leave_the_same_journal(it):
    """The same program, written once for each colour."""

    def sync_body():
        return [it.charge(1), it.fetch.call(2), it.charge.start(3).result(), it.order(4)]

    async def async_body():
        return [
            await it.charge.acall(1),
            await it.fetch(2),
            await it.charge.start(3),
            await it.order.acall(4),
        ]

    journals = []
    for name, body in (("s", sync_body), ("a", async_body)):
        handle = it.app.workflow(name=name)(body).options(id=name).start()
        assert handle.result(LONG) == ["charged 1", "fetched 2", "charged 3", "charged 4"]
        entries = it.app.runtime.backend.read_journal(handle.key)
        journals.append([(e.kind, e.scope, e.ordinal, e.key, e.digest) for e in entries])
    assert journals[0] == journals[1]
