"""Executors that the user gives, or a function that makes one: what they do well, and what not."""
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import asyncio
import multiprocessing
import os
import threading
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from typing import Any

import pytest

from perdure import InvocationState, Perdure
from perdure.engine import runtime
from perdure.errors import (
    ExecutorUnavailable,
    OperationRefused,
    RegistrationError,
    TaskTimeout,
)
from tests.executors.tasks import LONG


def run(app: Perdure, body: Any) -> Any:
    main = app.workflow(name="main")(body)
    return main.options(id="m").start().result(LONG)


@pytest.fixture
def soon(monkeypatch):
    """Bodies that could not be run are tried again at once."""
    monkeypatch.setattr(runtime, "UNAVAILABLE_SECONDS", 0.01)


class Scripted(Executor):
    """Does the first things with bodies that the test names, and then runs them where it is."""

    def __init__(self, *first: str) -> None:
        self.first = list(first)
        self.taken = 0
        self.closed = 0
        self.may_run = threading.Event()
        self.may_run.set()

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.taken += 1
        what = self.first.pop(0) if self.first else "run"
        future: Future[Any] = Future()
        if what == "refuse":
            raise RuntimeError("cannot schedule new futures after shutdown")
        if what == "broken":
            raise BrokenExecutor("it is broken")
        if what == "cancel":
            future.cancel()
            future.set_running_or_notify_cancel()
        elif what == "lose":
            future.set_exception(BrokenExecutor("a process in it ended"))
        elif what == "fail":
            future.set_exception(TypeError("cannot pickle"))
        elif what == "run":
            assert self.may_run.wait(LONG)
            future.set_result(fn(*args, **kwargs))
        return future  # "keep": it stays there and never runs

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self.closed += 1


@pytest.mark.parametrize("way", ["call", "start", "acall"])
def test_bodies_run_on_the_executor_that_is_given(made, way):
    with ThreadPoolExecutor(2, thread_name_prefix="mine") as pool:
        app, task = made(pool)

        def main() -> Any:
            return task["where"]() if way == "call" else task["where"].start().result()

        async def amain() -> Any:
            return (await asyncio.gather(*(task["where"].acall(n) for n in range(5))))[4]

        pid, thread = run(app, amain if way == "acall" else main)
        assert pid == os.getpid()
        assert thread.startswith("mine")
        app.close()
        assert pool.submit(int).result() == 0  # it is the user's, and still open


def test_nobody_can_be_told_of_heartbeats_from_there(made):
    with ThreadPoolExecutor(1) as pool:
        app, task = made(pool)
        with pytest.raises(OperationRefused, match="executor of yours"):
            run(app, lambda: task["refused"]("heartbeat"))
        with pytest.raises(RegistrationError, match="cannot tell heartbeats"):
            app.task(executor=pool, heartbeat_timeout=1)(LONG.hex)


def test_no_two_attempts_are_the_same_to_an_executor(made, tmp_path):
    """Dask gives what an equal call gave before, which would be the failed attempt's outcome."""
    payloads: list[bytes] = []

    class Keeping(Scripted):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            payloads.append(args[0])
            return super().submit(fn, *args, **kwargs)

    app, task = made(Keeping())
    assert run(app, lambda: task["flaky"](tmp_path)) == 2
    assert len(set(payloads)) == 3


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_a_process_pool_of_the_standard_library(made, method):
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        if method == "fork":
            pool.submit(int).result()  # its process is made now, while this one has few threads
        app, task = made(pool)
        with ThreadPoolExecutor(1) as threads:
            other, other_task = made(threads)
            first = run(app, lambda: task["draws"]())
            second = run(other, lambda: other_task["draws"]())
        assert [first[n] for n in (0, 1, 2, 5, 6)] == [second[n] for n in (0, 1, 2, 5, 6)]


@pytest.mark.parametrize("executor", [ThreadPoolExecutor, lambda: ThreadPoolExecutor(1)])
def test_a_function_makes_it_at_the_first_use_and_it_ends_with_the_app(made, executor):
    made_here: list[Executor] = []

    def factory() -> Executor:
        made_here.append(executor())
        return made_here[-1]

    app, task = made(factory)
    assert not made_here
    threads = run(app, lambda: [task["where"](n)[1] for n in range(3)])
    assert len(made_here) == 1
    assert all(name.startswith("ThreadPoolExecutor") for name in threads)
    app.close()
    with pytest.raises(RuntimeError, match="after shutdown"):
        made_here[0].submit(int)


@pytest.mark.parametrize("way", ["call", "start", "acall"])
@pytest.mark.parametrize("trouble", ["refuse", "broken", "cancel", "fail"])
def test_what_cannot_be_run_is_told_and_is_not_lost(made, soon, way, trouble):
    executor = Scripted(trouble)
    executor.may_run.clear()
    app, task = made(executor)

    def main() -> Any:
        return task["where"]() if way == "call" else task["where"].start().result()

    async def amain() -> Any:
        return await task["where"].acall()

    with pytest.raises(ExecutorUnavailable):
        run(app, amain if way == "acall" else main)
    executor.may_run.set()
    assert app.invocation("m").result(LONG)[0] == os.getpid()
    assert executor.taken == 2
    assert app.verify("m").finished
    (info,) = app.workflows()
    assert info.status is InvocationState.COMPLETED


def test_an_executor_that_stays_shut_down_is_asked_again_and_again(made, soon):
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    app, task = made(pool)
    with pytest.raises(ExecutorUnavailable, match="after shutdown"):
        run(app, lambda: task["where"]())
    with pytest.raises(ExecutorUnavailable, match="after shutdown"):
        app.invocation("m").result(LONG)


def test_a_sibling_goes_on_while_a_body_cannot_be_run(made, soon):
    """Its frame stays as long as one body runs in it, so that one does not run twice."""
    executor = Scripted(*["refuse"] * 100_000)
    app, task = made(executor)
    runs: list[int] = []
    told = threading.Event()

    @app.task(name="sibling")
    def sibling() -> str:
        runs.append(1)
        assert told.wait(LONG)
        return "done"

    async def main() -> Any:
        return await asyncio.gather(task["where"].acall(), sibling.acall())

    for number in range(5):
        with pytest.raises(ExecutorUnavailable):
            run(app, main) if number == 0 else app.invocation("m").result(LONG)
    executor.first.clear()
    told.set()
    assert app.invocation("m").result(LONG)[1] == "done"
    assert runs == [1]


@pytest.mark.parametrize("way", ["call", "start"])
def test_a_body_that_was_lost_counts_as_a_crash_and_runs_again(made, way):
    executor = Scripted("lose")
    app, task = made(executor, lease=1.0)

    def main() -> Any:
        return task["where"]() if way == "call" else task["where"].start().result()

    assert run(app, main)[0] == os.getpid()
    assert executor.taken >= 2
    assert app.verify("m").finished


def test_a_broken_executor_that_was_made_here_is_made_again(made):
    made_here = [Scripted("run", "broken"), Scripted()]
    left = iter(made_here)
    app, task = made(lambda: next(left))
    run(app, lambda: [task["where"](n) for n in range(4)])
    assert [each.taken for each in made_here] == [2, 3]
    assert made_here[0].closed == 1
    app.close()
    assert [each.closed for each in made_here] == [1, 1]


@pytest.mark.parametrize("made_of", ["nothing", "a number"])
def test_a_function_that_makes_none(made, made_of):
    def factory() -> Executor:
        if made_of == "nothing":
            raise OSError("no cluster there")
        wrong: Any = 7
        return wrong

    app, task = made(factory)
    match = "no cluster there" if made_of == "nothing" else "gave 7"
    with pytest.raises(ExecutorUnavailable, match=match):
        run(app, lambda: task["where"]())


@pytest.mark.parametrize("way", ["call", "acall"])
def test_past_its_timeout_a_body_that_waits_there_is_cancelled(made, way):
    futures: list[Future[Any]] = []

    class Keeping(Scripted):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            futures.append(super().submit(fn, *args, **kwargs))
            return futures[-1]

    app, task = made(Keeping("keep"), options={"timeout": 0.05})

    def main() -> str:
        with pytest.raises(TaskTimeout):
            task["where"]()
        return "late"

    async def amain() -> str:
        with pytest.raises(TaskTimeout):
            await task["where"].acall()
        return "late"

    assert run(app, amain if way == "acall" else main) == "late"
    assert [future.cancelled() for future in futures] == [True]


def test_a_cancelled_call_is_cancelled_there(made):
    futures: list[Future[Any]] = []
    kept = threading.Event()

    class Keeping(Scripted):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            futures.append(super().submit(fn, *args, **kwargs))
            kept.set()
            return futures[-1]

    app, task = made(Keeping("keep"))

    async def main() -> str:
        try:
            async with asyncio.timeout(0.05):
                await task["where"].acall()
        except TimeoutError:
            return "gave up"
        return "?"

    assert run(app, main) == "gave up"
    assert not kept.is_set() or futures[0].cancelled()


def test_no_more_bodies_there_than_attempts_here(made):
    class Counting(Scripted):
        def __init__(self) -> None:
            super().__init__()
            self.lock, self.now, self.most = threading.Lock(), 0, 0
            self.pool = ThreadPoolExecutor(32)

        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            with self.lock:
                self.now += 1
                self.most = max(self.most, self.now)
            future = self.pool.submit(fn, *args, **kwargs)
            future.add_done_callback(self.done)
            return future

        def done(self, _: Future[Any]) -> None:
            with self.lock:
                self.now -= 1

    executor = Counting()
    app, task = made(executor, concurrency=3)

    async def main() -> int:
        return len(await asyncio.gather(*(task["where"].acall(n) for n in range(40))))

    assert run(app, main) == 40
    assert 1 <= executor.most <= 3
    executor.pool.shutdown()
