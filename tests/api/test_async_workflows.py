"""Plain asyncio inside async workflows: deterministic on the first run and on every replay."""
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import asyncio
import gc
from itertools import pairwise

import pytest

from perdure import InvocationState, wf
from perdure.engine.loop import ScopedTask
from perdure.errors import ForeignScope, OperationRefused, TaskError
from tests.support.stores import LONG, run_until_idle


class Program:
    """An async workflow and tasks whose results differ at each call, as the world's do."""

    def __init__(self, app):
        self.app = app
        self.ran: list[int] = []

        @app.task(name="fetch")
        async def fetch(n: int) -> tuple[int, int]:
            for _ in range((n * 7) % 5):  # bodies end in an order of their own
                await asyncio.sleep(0)
            self.ran.append(n)
            return n, len(self.ran)

        @app.task(name="charge")
        def charge(n: int) -> tuple[int, int]:
            self.ran.append(n)
            return n, len(self.ran)

        @app.task(name="fail")
        async def fail(n: int) -> None:
            raise ValueError(n)

        self.fetch, self.charge, self.fail = fetch, charge, fail

    def twice(self, code):
        """Run `code`, and once more over its finished journal; the value and the journal."""
        flow = self.app.workflow(name="flow")(code)
        handle = flow.options(id="f").start()
        first = handle.result(LONG)
        ran = list(self.ran)
        verification = self.app.verify("f")
        assert verification.finished
        assert verification.value == first
        assert self.ran == ran
        return first


@pytest.fixture
def program(store):
    return Program(store.app())


def test_gather(program):
    async def code():
        async def branch(n):
            first = wf.random()
            got = await program.fetch(n)
            return [first, got, wf.uuid(), await program.charge.acall(n + 100), wf.random()]

        return await asyncio.gather(*(branch(n) for n in range(6)))

    rows = program.twice(code)
    assert [row[1][0] for row in rows] == list(range(6))
    assert [row[3][0] for row in rows] == [n + 100 for n in range(6)]
    assert sorted(program.ran) == [*range(6), *range(100, 106)]
    assert len({row[0] for row in rows} | {row[4] for row in rows}) == 12


def test_the_order_of_completions_is_replayed(program):
    async def code():
        order = []

        async def branch(n):
            order.append(await program.fetch(n))

        await asyncio.gather(*(branch(n) for n in range(8)))
        return order

    order = program.twice(code)
    assert sorted(n for n, _ in order) == list(range(8))


def test_task_group(program):
    async def code():
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(program.fetch(n)) for n in range(4)]
        return [task.result() for task in tasks]

    assert [n for n, _ in program.twice(code)] == [0, 1, 2, 3]


def test_task_group_with_an_error(program):
    async def code():
        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as group:
                group.create_task(program.fetch(1))
                group.create_task(program.fail(3))
        return [error.args for error in caught.value.exceptions]

    assert program.twice(code) == [(3,)]


def test_gather_that_keeps_errors(program):
    async def code():
        found = await asyncio.gather(
            program.fetch(1), program.fail(2), program.fetch(3), return_exceptions=True
        )
        return [type(item).__name__ for item in found]

    assert program.twice(code) == ["tuple", "ValueError", "tuple"]


def test_wait_for_the_first(program):
    async def code():
        tasks = {asyncio.create_task(program.fetch(n)) for n in range(5)}
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        first = [task.result() for task in done]
        for task in pending:
            task.cancel()
        cancelled = await asyncio.gather(*pending, return_exceptions=True)
        return first, [type(item).__name__ for item in cancelled]

    first, others = program.twice(code)
    assert first
    assert set(others) <= {"CancelledError", "tuple"}


def test_as_completed(program):
    async def code():
        tasks = [asyncio.create_task(program.fetch(n)) for n in range(5)]
        return [await each for each in asyncio.as_completed(tasks)]

    assert sorted(n for n, _ in program.twice(code)) == list(range(5))


def test_as_completed_of_what_are_no_tasks_is_refused(program):
    """It makes the tasks itself, in the order of a set, which is another one on every run."""

    async def code():
        calls = [program.fetch(n) for n in range(5)]
        with pytest.raises(OperationRefused, match="create_task"):
            for each in asyncio.as_completed(calls):
                await each
        for call in calls:
            call.close()
        return await program.fetch(7)

    assert program.twice(code)[0] == 7


def test_events_queues_locks_and_semaphores(program):
    async def code():
        queue: asyncio.Queue[tuple[int, int]] = asyncio.Queue(2)
        ready, lock, slots = asyncio.Event(), asyncio.Lock(), asyncio.Semaphore(2)
        log: list[object] = []

        async def produce(n):
            await ready.wait()
            async with slots:
                await queue.put(await program.fetch(n))

        async def consume():
            for _ in range(4):
                item = await queue.get()
                async with lock:
                    log.append((item, wf.random()))
                queue.task_done()

        async with asyncio.TaskGroup() as group:
            for n in range(4):
                group.create_task(produce(n))
            group.create_task(consume())
            ready.set()
        await queue.join()
        return log

    assert len(program.twice(code)) == 4


def test_timeouts_are_durable(store):
    program = Program(app := store.app(virtual=True, local_worker=False))
    seen = []

    @app.workflow(name="flow")
    async def flow() -> list[str]:
        found = []
        try:
            async with asyncio.timeout(60):
                await asyncio.Event().wait()
        except TimeoutError:
            found.append("timeout")
        try:
            await asyncio.wait_for(asyncio.Event().wait(), 60)
        except TimeoutError:
            found.append("wait_for")
        await asyncio.sleep(60)
        found.append("slept")
        seen.append(found)
        async with asyncio.timeout(60):
            await program.fetch(1)
        await wf.sleep(60)
        return found

    handle = flow.options(id="f").start()
    for _ in range(4):
        run_until_idle(app)
        assert handle.status is InvocationState.WAITING
        store.env.advance(61)
    run_until_idle(app)
    assert handle.result() == ["timeout", "wait_for", "slept"]
    assert app.verify("f").finished
    assert program.ran == [1]


def test_a_cancelled_call_keeps_its_place(program):
    async def code():
        task = asyncio.create_task(program.fetch(1))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await program.fetch(2)

    got = program.twice(code)
    assert got[0] == 2


def test_a_failure_that_is_a_cancellation_is_not_lost(program):
    """asyncio's groups take a CancelledError of a branch for one that they asked for."""

    @program.app.task(name="gives up")
    async def gives_up() -> None:
        raise asyncio.CancelledError("of its own")

    @program.app.workflow(name="child")
    async def child() -> None:
        sleeping = asyncio.create_task(wf.receive_async("go"))
        await asyncio.sleep(0)
        sleeping.cancel()
        await sleeping

    async def code():
        seen = []
        for fails in (gives_up, child):
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(fails())
                    group.create_task(program.fetch(1))
            except* TaskError as errors:
                seen += [str(each) for each in errors.exceptions]
        async with asyncio.timeout(60):
            try:
                await gives_up()
            except Exception as error:
                seen.append(type(error).__name__)
        return seen

    told = "asyncio.exceptions.CancelledError"
    assert program.twice(code) == [f"{told}: of its own", told, "TaskError"]

    async def client() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(child())

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(client())
    assert [type(each) for each in caught.value.exceptions] == [TaskError]


def test_scopes_are_named_by_creation_order(program):
    async def code():
        async def inner():
            return await program.fetch(1)

        async def outer():
            return await asyncio.gather(inner(), inner())

        return await asyncio.gather(outer(), inner())

    program.twice(code)
    backend = program.app.runtime.backend
    entries = backend.read_journal(program.app.invocation("f").key)
    tasks = sorted((entry.scope, entry.key) for entry in entries if entry.kind == "task")
    assert tasks == [("/1/1", "/1/1:task:1"), ("/1/2", "/1/2:task:1"), ("/2", "/2:task:1")]


def test_wait_for_makes_no_scope(program):
    """On every Python version alike, although before 3.12 `wait_for` makes an asyncio task."""

    async def code():
        return await asyncio.wait_for(program.fetch(1), 60), await asyncio.gather(program.fetch(2))

    program.twice(code)
    backend = program.app.runtime.backend
    entries = backend.read_journal(program.app.invocation("f").key)
    assert [entry.scope for entry in entries if entry.kind == "task"] == ["", "/1"]


def test_wait_for_gives_the_scope_back(program):
    async def code():
        async def slow():
            wf.random()
            await asyncio.wait_for(asyncio.Event().wait(), 0.001)

        found = [wf.random()]
        try:
            await asyncio.wait_for(slow(), 60)
        except TimeoutError:
            found.append(wf.random())
        found.append((await asyncio.wait_for(program.fetch(1), 60))[0])
        inner = asyncio.create_task(asyncio.wait_for(asyncio.Event().wait(), 60))
        await asyncio.sleep(0)
        inner.cancel()
        with pytest.raises(asyncio.CancelledError):
            await inner
        return [*found, wf.random()]

    found = program.twice(code)
    assert found[2] == 1
    assert len(set(found)) == 4


def test_the_clock_of_a_join_is_the_latest_of_its_branches(program):
    async def code():
        async def branch(n):
            times = [wf.utc_now() for _ in range(n)]
            await program.fetch(n)
            return [*times, wf.utc_now()]

        before = wf.utc_now()
        branches = await asyncio.gather(branch(1), branch(50))
        return before, branches, wf.utc_now()

    before, branches, after = program.twice(code)
    for times in branches:
        readings = [before, *times, after]
        assert all(a < b for a, b in pairwise(readings))


def test_children_and_handles_are_awaited(program):
    @program.app.workflow(name="child")
    async def child(n: int) -> int:
        return n * 10

    async def code():
        started = child.start(1)
        return await asyncio.gather(started, child(2), asyncio.shield(child(3)))

    assert program.twice(code) == [10, 20, 30]


def test_what_a_workflow_may_not_do_itself_is_refused_by_name(program):
    async def code():
        loop = asyncio.get_running_loop()
        found = []
        for use in (
            lambda: loop.run_in_executor(None, print),
            lambda: asyncio.open_connection("localhost", 1),
            lambda: asyncio.create_subprocess_exec("true"),
            lambda: loop.getaddrinfo("localhost", 1),
        ):
            try:
                value = use()
                await value
            except OperationRefused as error:
                found.append(str(error))
        with pytest.raises(ForeignScope):
            loop.call_soon_threadsafe(print)
        return found, await program.fetch(1)

    found, (n, _) = program.twice(code)
    assert len(found) == 4
    assert all("in a task" in text for text in found)
    assert n == 1


def test_background_tasks_are_cancelled_at_the_end(program):
    async def code():
        seen = []

        async def background():
            try:
                await asyncio.Event().wait()
            finally:
                seen.append(wf.random())

        running = asyncio.create_task(background())
        await program.fetch(1)
        assert not running.done()
        return "done"

    assert program.twice(code) == "done"


def test_outside_of_workflows_asyncio_is_the_users_own(program):
    async def main():
        @program.app.workflow(name="flow")
        async def flow(n: int) -> int:
            return (await program.fetch(n))[0]

        handles = [flow.start(n) for n in range(3)]
        return [*await asyncio.gather(*handles), await flow(3), await handles[0].result_async(LONG)]

    assert asyncio.run(main()) == [0, 1, 2, 3, 0]


def test_a_long_wait_outside_does_not_block_the_loop(program):
    release = asyncio.Event()

    async def main():
        @program.app.task(name="blocked")
        async def blocked() -> str:
            await asyncio.sleep(0)
            return "done"

        @program.app.workflow(name="flow")
        async def flow() -> str:
            return await blocked()

        ticks = 0
        waiting = asyncio.ensure_future(flow.start().result_async())
        while not waiting.done():
            ticks += 1
            await asyncio.sleep(0)
        release.set()
        return ticks, await waiting

    ticks, result = asyncio.run(main())
    assert result == "done"
    assert ticks > 1


@pytest.mark.keeps_frames("it counts what each attempt compares")
def test_a_workflow_is_not_compared_with_those_that_have_ended(program, monkeypatch):
    """The first tasks of all workflows have one hash, and asyncio keeps tasks in a set."""
    compared = []

    def is_same(task, other):
        compared.append(task)
        return task is other

    monkeypatch.setattr(ScopedTask, "__eq__", is_same)

    @program.app.workflow(name="flow")
    async def flow(n: int) -> int:
        await asyncio.gather(program.charge.acall(n), program.charge.acall(-n))
        return n

    count = 60
    gc.disable()  # or chance would take some of the tasks away
    try:
        for n in range(count):
            assert flow.start(n).result(LONG) == n
    finally:
        gc.enable()
    assert len(compared) < 10 * count
