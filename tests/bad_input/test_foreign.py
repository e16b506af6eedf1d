"""Operations from where no replay could repeat them: threads, copied contexts, forks, nowhere."""
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import asyncio
import contextvars
import functools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from perdure import wf
from perdure.errors import ForeignScope, NotInWorkflow, OperationRefused, PerdureError
from tests.support.stores import LONG

OPERATIONS: dict[str, Callable[[], Any]] = {
    "random": wf.random,
    "choice": lambda: wf.random.choice([1, 2]),
    "uuid": wf.uuid,
    "utc_now": wf.utc_now,
    "now": wf.now,
    "token": wf.token,
    "record": lambda: wf.record("x", lambda: 1),
    "sleep": lambda: wf.sleep(0),
    "set_data": lambda: wf.set_data("x", 1),
    "get_data": lambda: wf.get_data("x", None),
    "idempotency_key": wf.idempotency_key,
    "executor": wf.executor,
}


def fails_with(operation):
    """The error of an operation as text, or what it gave instead."""
    try:
        return f"gave {operation()!r}"
    except PerdureError as error:
        return f"{type(error).__name__}: {error}"


@pytest.mark.parametrize("name", OPERATIONS)
def test_outside_of_any_workflow(name):
    with pytest.raises(NotInWorkflow, match=r"@app\.workflow") as caught:
        OPERATIONS[name]()
    assert "wf." in str(caught.value) or name == "executor"


def test_execute_task_outside_of_any_workflow(memory_store):
    app = memory_store.app()

    @app.task(name="t")
    def task() -> int:
        return 1

    with pytest.raises(NotInWorkflow):
        wf.execute_task(task)


def in_bare_thread(work):
    done = []
    thread = threading.Thread(target=lambda: done.append(work()))
    thread.start()
    thread.join(LONG)
    return done[0]


def in_thread_of_a_thread(work):
    return in_bare_thread(lambda: in_bare_thread(work))


def in_thread_pool(work):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result(LONG)


def in_copied_context(work):
    context = contextvars.copy_context()
    return in_bare_thread(lambda: context.run(work))


def in_pool_with_copied_context(work):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(contextvars.copy_context().run, work).result(LONG)


def in_timer(work):
    done = []
    timer = threading.Timer(0.0, lambda: done.append(work()))
    timer.start()
    timer.join(LONG)
    return done[0]


def in_asyncio_thread(work):
    return asyncio.run(asyncio.to_thread(work))


THREADS = [
    in_bare_thread,
    in_thread_of_a_thread,
    in_thread_pool,
    in_copied_context,
    in_pool_with_copied_context,
    in_timer,
    in_asyncio_thread,
]


@pytest.mark.parametrize("run", THREADS, ids=lambda f: f.__name__)
def test_in_a_foreign_thread(store, run):
    app = store.app()
    ran = []

    @app.task(name="task")
    def task() -> str:
        ran.append(1)
        return "ran"

    @app.task(name="atask")
    async def atask() -> str:
        ran.append(1)
        return "ran"

    @app.workflow(name="child")
    def child() -> str:
        return "ran"

    @app.workflow(name="flow")
    def flow() -> tuple[dict[str, str], str]:
        calls = {
            **OPERATIONS,
            "task": task,
            "start": task.start,
            "call": atask.call,
            "child": child,
            "child start": child.start,
            "execute": lambda: wf.execute_task(task),
        }
        refused = {name: run(lambda c=c: fails_with(c)) for name, c in calls.items()}
        return refused, task()

    refused, last = flow.options(id="order-42").start().result(LONG)
    for name, text in refused.items():
        assert text.startswith("ForeignScope: "), (name, text)
        assert "order-42" in text
        assert "inside a task" in text
    assert last == "ran"  # nothing is lost: the workflow went on
    assert ran == [1]
    assert app.verify("order-42").finished


def test_a_thread_of_a_task_may_use_its_own_context(store):
    """A task is recorded as a whole, so what its threads do is its own affair."""
    app = store.app()

    @app.task(name="inner")
    def inner() -> int:
        return 5

    @app.task(name="task")
    def task() -> list[int]:
        return [in_bare_thread(inner), in_asyncio_thread(inner), in_copied_context(inner)]

    @app.workflow(name="flow")
    def flow() -> list[int]:
        return task()

    assert flow() == [5, 5, 5]


def test_in_threads_of_an_async_workflow(store):
    app = store.app()

    @app.task(name="task")
    def task() -> str:
        return "ran"

    @app.workflow(name="flow")
    async def flow() -> tuple[list[str], str]:
        refused = [
            in_bare_thread(lambda: fails_with(task)),
            in_copied_context(lambda: fails_with(wf.uuid)),
        ]
        with pytest.raises(OperationRefused, match="run_in_executor"):
            await asyncio.to_thread(print)
        return refused, await task.acall()

    refused, last = flow.options(id="f").start().result(LONG)
    assert all(text.startswith("ForeignScope") for text in refused)
    assert last == "ran"
    assert app.verify("f").finished


def test_in_another_asyncio_task_that_borrowed_the_scope(store):
    app = store.app()

    @app.workflow(name="flow")
    async def flow() -> list[str]:
        seen: list[str] = []
        done = asyncio.Event()

        def callback() -> None:
            seen.append(fails_with(wf.uuid))
            done.set()

        asyncio.get_running_loop().call_soon(callback)
        await done.wait()
        return seen

    handle = flow.options(id="f").start()
    assert handle.result(LONG)[0].startswith("ForeignScope")


def test_in_a_forked_process(store):
    app = store.app()

    @app.task(name="task")
    def task() -> int:
        return 1

    @app.workflow(name="flow")
    def flow() -> tuple[str, int]:
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            try:
                lines = [fails_with(wf.random), fails_with(task), fails_with(lambda: wf.sleep(0))]
                os.write(writing, "\n".join(lines).encode())
            finally:
                os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            text = pipe.read()
        os.waitpid(child, 0)
        return text, task()

    text, last = flow.options(id="order-42").start().result(LONG)
    assert last == 1
    lines = text.splitlines()
    assert len(lines) == 3
    for line in lines:
        assert line.startswith("ForeignScope"), line
        assert "forked process" in line
        assert "order-42" in line


def test_inside_of_a_record_function(store):
    app = store.app()
    ran = []

    @app.task(name="task")
    def task() -> int:
        ran.append(1)
        return 1

    @app.workflow(name="flow")
    def flow() -> tuple[dict[str, str], int]:
        calls = {**OPERATIONS, "task": task, "start": task.start}
        del calls["executor"]
        refused = {
            name: wf.record("seen", functools.partial(fails_with, c)) for name, c in calls.items()
        }
        return refused, task()

    refused, last = flow.options(id="f").start().result(LONG)
    for name, text in refused.items():
        assert text.startswith("OperationRefused"), (name, text)
        assert "wf.record('seen', ...)" in text
    assert last == 1
    assert ran == [1]
    assert app.verify("f").finished


def test_inside_of_a_record_function_of_an_async_workflow(store):
    app = store.app()

    @app.workflow(name="flow")
    async def flow() -> list[str]:
        return [wf.record("seen", lambda: fails_with(wf.random)), str(wf.random())]

    refused, drawn = flow.options(id="f").start().result(LONG)
    assert refused.startswith("OperationRefused")
    assert 0 <= float(drawn) < 1
    assert app.verify("f").finished


@pytest.mark.parametrize("name", ["record", "sleep", "set_data"])
def test_what_a_task_may_not_do(store, name):
    app = store.app()

    @app.task(name="task")
    def task() -> str:
        return fails_with(OPERATIONS[name])

    @app.workflow(name="flow")
    def flow() -> str:
        return task()

    text = flow()
    assert text.startswith("OperationRefused"), text
    assert "'task'" in text


def test_a_foreign_scope_is_an_ordinary_error():
    assert issubclass(ForeignScope, PerdureError)
    assert issubclass(ForeignScope, Exception)
