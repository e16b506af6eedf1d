"""Values that cannot be recorded, or are too large: refused when recorded, and nothing is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perdure import DeterministicExecutor, InvocationState, WorkflowIdentity, wf
from perdure.errors import (
    DeserializationError,
    InvocationParked,
    PerdureError,
    SerializationError,
    StartConflict,
    UnknownName,
    ValueTooLarge,
)
from tests.support.stores import LONG, run_until_idle, step


class Local:
    """A class that no app knows."""


UNRECORDABLE: dict[str, Callable[[], Any]] = {
    "lock": threading.Lock,
    "generator": lambda: iter([1]),
    "function": lambda: print,
    "object": object,
    "own class": Local,
    "deep inside": lambda: {"a": [1, (2, {"b": object()})]},
    "a cycle": lambda: _cycle(),
    "too deep": lambda: _nested(200),
    "open file": Path(__file__).open,
}


def _cycle():
    items: list[object] = []
    items.append(items)
    return items


def _nested(levels):
    value: list[object] = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("kind", UNRECORDABLE)
def test_an_argument_that_cannot_be_recorded(store, kind):
    app = store.app()
    ran = []

    @app.task(name="shop.pay")
    def pay(amount) -> int:
        ran.append(1)
        return 1

    @app.workflow(name="flow")
    def flow(value=None) -> list[object]:
        bad = UNRECORDABLE[kind]()
        refused = []
        for use in (pay, pay.start, lambda v: wf.execute_task(pay, v)):
            try:
                use(bad)
            except SerializationError as error:
                refused.append(str(error))
        if hasattr(bad, "close"):
            bad.close()
        return [refused, pay("fine")]

    refused, last = flow.options(id="f").start().result(LONG)
    assert len(refused) == 3
    for text in refused:
        assert "task 'shop.pay': argument 'amount'" in text
        assert "$" in text
    assert last == 1
    assert ran == [1]
    assert app.tasks() == []
    kinds = [entry.kind for entry in app.runtime.backend.read_journal(app.invocation("f").key)]
    assert kinds == ["task", "end"]
    bad = UNRECORDABLE[kind]()
    with pytest.raises(SerializationError, match="workflow 'flow': argument 'value'"):
        flow.start(bad)
    if hasattr(bad, "close"):
        bad.close()
    assert len(app.workflows()) == 1


def test_the_refusal_names_the_type_and_the_path(store):
    app = store.app()

    @app.task(name="pay")
    def pay(amount) -> int:
        return 1

    with pytest.raises(SerializationError, match=r"argument 'amount': at \$\.a\[1\]") as caught:
        pay.start({"a": [1, Local()]})
    assert "Local" in str(caught.value)


@pytest.mark.parametrize("way", ["call", "start", "async"])
def test_a_result_that_cannot_be_recorded(store, way):
    app = store.app()
    ran = []

    @app.task(name="pay")
    def pay():
        ran.append(1)
        return {"a": [1, Local()]}

    @app.task(name="fine")
    def fine() -> int:
        return 5

    def seen(error):
        return [str(error), type(error).__name__]

    if way == "async":

        @app.workflow(name="flow")
        async def flow() -> list[object]:
            try:
                await pay.acall()
            except SerializationError as error:
                return [seen(error), await fine.acall()]
            return []
    else:

        @app.workflow(name="flow")
        def flow() -> list[object]:
            try:
                pay() if way == "call" else pay.start().result()
            except SerializationError as error:
                return [seen(error), fine()]
            return []

    (text, name), last = flow.options(id="f").start().result(LONG)
    assert "result of task 'pay'" in text
    assert "a[1]" in text
    assert "Local" in text
    assert name == "SerializationError"
    assert last == 5
    assert ran == [1]
    assert app.verify("f").finished


def test_a_result_of_a_workflow_that_cannot_be_recorded(store):
    app = store.app()

    @app.workflow(name="flow")
    def flow():
        return Local()

    handle = flow.start()
    with pytest.raises(SerializationError, match=r"result of workflow 'flow'.*Local"):
        handle.result(LONG)
    assert handle.status is InvocationState.FAILED


def test_a_recorded_value_that_cannot_be_recorded(store):
    app = store.app()
    ran = []

    @app.workflow(name="flow")
    def flow() -> object:
        def look():
            ran.append(1)
            return Local()

        try:
            wf.record("x", look)
        except SerializationError as error:
            return [str(error), wf.record("x", lambda: 5)]
        return None

    text, last = flow.options(id="f").start().result(LONG)
    assert "record 'x'" in text
    assert "Local" in text
    assert last == 5
    assert app.verify("f").finished
    assert ran == [1]


LARGE = "x" * (9 * 1024 * 1024)


@pytest.mark.parametrize("way", ["argument", "result", "record", "data", "start", "register"])
def test_a_value_over_the_size_limit(store, way):
    app = store.app()

    @app.task(name="task")
    def task(text: str, grow: bool = False) -> str:
        return LARGE if grow else text

    @app.workflow(name="flow")
    def flow(text: str = "") -> object:
        uses = {
            "argument": lambda: task(LARGE),
            "result": lambda: task("x", grow=True),
            "record": lambda: wf.record("x", lambda: LARGE),
            "data": lambda: wf.set_data("x", LARGE),
        }
        try:
            uses[way]()
        except ValueTooLarge as error:
            return [str(error), task("fine")]
        return None

    if way in ("start", "register"):
        uses = {
            "start": lambda: flow.start(LARGE),
            "register": lambda: DeterministicExecutor(WorkflowIdentity("a", "b"), app).record(
                "x", lambda: LARGE
            ),
        }
        with pytest.raises(ValueTooLarge, match="the limit is 8,388,608"):
            uses[way]()
        assert app.workflows() == []
        return
    text, last = flow.options(id="f").start().result(LONG)
    assert "9,437,18" in text
    assert "8,388,608" in text
    assert "file or an object store" in text
    assert last == "fine"
    assert app.verify("f").finished


def test_a_record_of_a_class_that_is_not_registered_here_parks_and_goes_on(store):
    from dataclasses import dataclass

    @dataclass
    class Note:
        text: str

    def declare(app, *, known):
        if known:
            app.register(Note)

        @app.workflow(name="flow")
        def flow() -> object:
            note = wf.record("note", lambda: Note("a"))
            wf.sleep(50)
            return note.text

        return flow

    before = store.app(virtual=True, local_worker=False)
    declare(before, known=True).options(id="f").start()
    run_until_idle(before)
    after = store.app(virtual=True, local_worker=False)
    flow = declare(after, known=False)
    store.env.advance(100)
    (attempt,) = step(after)
    assert isinstance(attempt.error, DeserializationError)
    handle = flow.get("f")
    with pytest.raises(InvocationParked, match=r"app\.register\(Note\)"):
        handle.result(1)
    after.register(Note)
    assert handle.resume()
    run_until_idle(after)
    assert handle.result(1) == "a"


def test_a_name_that_nobody_here_knows(store):
    app = store.app()

    @app.workflow(name="flow")
    def flow() -> int:
        return 1

    handle = app.start("flwo")
    with pytest.raises(UnknownName, match=r"'flwo'.*flow.*Import"):
        app.verify(handle.invocation_id)
    with pytest.raises(UnknownName, match="'flwo'"):
        _ = handle.call
    with pytest.raises(PerdureError, match=r"flwo.*not registered|not registered.*flwo") as caught:
        handle.result(0.05)
    assert isinstance(caught.value, TimeoutError)
    assert handle.status is InvocationState.READY
    with pytest.raises(StartConflict):
        flow.options(id=handle.invocation_id).start()
    other = store.app()

    @other.workflow(name="flwo")
    def late() -> int:
        return 2

    assert late.get(handle.invocation_id).result(LONG) == 2
    assert handle.result(LONG) == 2
