"""Branches taken as they end, and the executor of `wf.threads`, as users see them."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from functools import partial
from typing import Any

import pytest

from perdure import InvocationState, Perdure, wf
from perdure.backends.memory import MemoryBackend
from perdure.core.entries import EntryKind
from perdure.errors import (
    ConfigurationError,
    DeadlineExceeded,
    InvocationCancelled,
    NotInWorkflow,
    OperationRefused,
    RegistrationError,
    WrongColour,
)
from tests.support.schedules import Schedule
from tests.support.stores import LONG, run_until_idle, step

bad: Any = wf
"""For arguments that a type checker would refuse."""


def result_of(app, function, *args):
    """What a workflow gives that is run here and now."""
    handle = app.workflow(name="flow")(function).start(*args)
    run_until_idle(app)
    return handle.result(LONG)


def late(seconds, word):
    wf.sleep(seconds)
    return word


# --- as_completed -------------------------------------------------------------------------------


def test_branches_come_in_the_order_in_which_they_end(store):
    app = store.app(virtual=True)

    def flow():
        runs = (partial(late, 30, "c"), partial(late, 10, "a"))
        with wf.as_completed(*runs, middle=partial(late, 20, "b")) as ended:
            return [(branch.key, branch.result(), repr(branch)) for branch in ended]

    handle = app.workflow(name="flow")(flow).start()
    for _ in range(4):
        run_until_idle(app)
        store.env.advance(10)
    assert handle.result(LONG) == [
        (1, "a", "<branch 1, returned>"),
        ("middle", "b", "<branch 'middle', returned>"),
        (0, "c", "<branch 0, returned>"),
    ]


def test_what_a_branch_raised_comes_with_its_result_alone(memory_store):
    def fails():
        raise LookupError("it")

    def flow():
        seen: list[Any] = []
        with wf.as_completed(fails, lambda: "fine") as ended:
            for branch in ended:
                seen.append((repr(branch), type(branch.exception()).__name__))
                if branch.key == 0:
                    with pytest.raises(LookupError, match="it"):
                        branch.result()
        with wf.as_completed(fails) as ended:
            pass
        return seen

    assert result_of(memory_store.app(), flow) == [
        ("<branch 0, raised LookupError>", "LookupError"),
        ("<branch 1, returned>", "NoneType"),
    ]


def test_leaving_early_cancels_the_others_and_waits_for_them(store):
    app = store.app()
    seen = []

    def waits():
        try:
            wf.receive("never")
        except wf.Cancelled as error:
            wf.sleep(0.001)
            seen.append(str(error))

    def flow():
        won: Any = None
        with wf.as_completed(waits, lambda: wf.uuid() and "won") as ended:
            for branch in ended:
                won = branch.result()
                break
        with pytest.raises(LookupError), wf.as_completed(waits):
            wf.sleep(0.001)  # they begin
            raise LookupError("mine")
        return won, list(seen)

    won, told = result_of(app, flow)
    assert won == "won"
    assert told[-2:] == ["The block of wf.as_completed was left.", "mine"]


@pytest.mark.keeps_frames("it is about what a frame does as it ends")
def test_a_cancelled_workflow_cancels_the_branches_of_the_block(store):
    app = store.app()
    seen = []

    @app.workflow(name="flow")
    def flow():
        def waits(word):
            try:
                wf.receive("never")
            finally:
                seen.append(word)

        try:
            with wf.as_completed(partial(waits, "a"), partial(waits, "b")) as ended:
                for branch in ended:
                    branch.result()
        finally:
            seen.append("root")

    handle = flow.start()
    run_until_idle(app)
    seen.clear()
    handle.cancel("enough")
    run_until_idle(app)
    with pytest.raises(InvocationCancelled):
        handle.result(LONG)
    assert seen == ["a", "b", "root"]


def test_mapped_branches_keep_to_their_limit_and_are_made_when_asked_for(memory_store):
    under_way, most = 0, 0
    taken: list[int] = []

    def numbers():
        for number in range(9):
            taken.append(number)
            yield number

    def flow():
        nonlocal under_way, most
        under_way = 0

        def each(number):
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            wf.sleep(0.001)
            under_way -= 1
            return number * 10

        taken.clear()
        with wf.map_as_completed(each, numbers(), limit=3) as ended:
            begun = len(taken)
            given = sorted((branch.key, branch.result()) for branch in ended)
        return begun, given

    assert result_of(memory_store.app(grace=5.0), flow) == (3, [(n, n * 10) for n in range(9)])
    assert most == 3


def test_the_awaited_form(store):
    app = store.app(virtual=True)

    async def flow():
        async def later(seconds, word):
            await wf.sleep(seconds)
            if word == "bad":
                raise LookupError(word)
            return word

        async def stuck():
            await wf.receive_async("never")

        seen = []
        runs = (partial(later, 20, "b"), partial(later, 10, "a"), stuck)
        async with wf.as_completed_async(*runs, bad=partial(later, 15, "bad")) as ended:
            async for branch in ended:
                seen.append((branch.key, type(branch.exception()).__name__))
                if len(seen) == 3:
                    break
        async with wf.map_as_completed_async(partial(later, 0), "xyz", limit=1) as mapped:
            return [*seen, [(branch.key, branch.result()) async for branch in mapped]]

    handle = app.workflow(name="flow")(flow).start()
    for _ in range(5):
        run_until_idle(app)
        store.env.advance(5)
    assert handle.result(LONG) == [
        (1, "NoneType"),
        ("bad", "LookupError"),
        (0, "NoneType"),
        [(0, "x"), (1, "y"), (2, "z")],
    ]


def test_outside_of_its_block_it_is_refused(memory_store):
    def flow():
        unused = wf.as_completed(wf.uuid)
        with pytest.raises(OperationRefused, match="outside of its block"):
            next(iter(unused))
        with unused as ended:
            with pytest.raises(OperationRefused, match="outside of its block"), ended:
                pass
            refused = wf.gather(lambda: next(ended), return_exceptions=True)
        with pytest.raises(OperationRefused, match="outside of its block"):
            next(ended)
        return type(refused[0]).__name__

    async def awaited():
        unused: Any = wf.as_completed_async()
        async with unused as ended:
            with pytest.raises(OperationRefused, match="Write: async with"):
                await unused.__aenter__()
        with pytest.raises(OperationRefused, match="Write: async with"):
            await anext(ended)
        return "refused"

    assert result_of(memory_store.app(), flow) == "OperationRefused"
    assert result_of(memory_store.app(), awaited) == "refused"


def test_what_cannot_be_a_branch_is_refused(memory_store):
    async def coroutine():
        return None

    def flow():
        with pytest.raises(RegistrationError, match="not callable"):
            bad.as_completed("text")
        with pytest.raises(WrongColour, match="async function"):
            bad.map_as_completed(coroutine, [])
        with pytest.raises(ConfigurationError, match="limit=0"):
            wf.map_as_completed(print, [], limit=0)
        with pytest.raises(WrongColour, match=r"Write: wf\.as_completed\("):
            wf.as_completed_async()
        return "refused"

    async def awaited():
        for make in (wf.as_completed, partial(wf.map_as_completed, print, [])):
            with pytest.raises(WrongColour, match=r"async with wf\.(map_)?as_completed_async"):
                make()
        with pytest.raises(WrongColour, match=r"Its asyncio tasks are branches"):
            wf.threads()
        return "refused"

    assert result_of(memory_store.app(), flow) == "refused"
    assert result_of(memory_store.app(), awaited) == "refused"
    for make in (wf.as_completed, wf.threads, wf.as_completed_async):
        with pytest.raises(NotInWorkflow):
            make()


# --- threads ------------------------------------------------------------------------------------


def plain(pool: concurrent.futures.Executor, call, numbers):
    """Code that knows nothing of workflows."""
    jobs = [pool.submit(call, number) for number in numbers]
    first = concurrent.futures.wait(jobs[:2], return_when=concurrent.futures.FIRST_COMPLETED)
    in_order = [job.result() for job in concurrent.futures.as_completed(jobs)]
    assert len(first.done | first.not_done) == 2
    assert concurrent.futures.wait(jobs).not_done == set()
    return in_order, [job.result() for job in jobs]


def test_bodies_of_submitted_calls_run_at_the_same_time(store):
    app = store.app()
    together = threading.Barrier(3)

    @app.task
    def meet(number: int) -> int:
        together.wait(LONG)
        return number * 10

    @app.workflow
    def flow() -> list[int]:
        with wf.threads() as pool:
            return list(pool.map(meet, range(3)))

    assert flow.start().result(LONG) == [0, 10, 20]


def test_plain_code_is_deterministic_in_any_schedule(monkeypatch):
    orders, maps = set(), set()
    for seed in range(100):
        backend = MemoryBackend(store_id=bytes(16))
        with monkeypatch.context() as patch, Perdure(backend=backend, name="schedules") as app:
            Schedule(seed).install(patch)

            @app.task(name="work")
            def work(*seen: object) -> list[object]:
                return [*seen, wf.random()]

            @app.workflow(name="flow")
            def flow() -> object:
                def call(number):
                    return work(number, wf.uuid())

                with wf.threads(max_workers=3) as pool:
                    return plain(pool, call, range(5))[1]

            handle = app.named("flow").options(id="flow").start()
            step(app)
            result = repr(handle.result(LONG))
            entries = backend.read_journal(handle.key)
        tasks = [entry for entry in entries if entry.kind == EntryKind.TASK]
        orders.add(tuple(entry.key for entry in tasks))
        maps.add((result, tuple(sorted((entry.key, entry.body) for entry in tasks))))
    assert len(orders) > 10
    assert len(maps) == 1


def test_the_order_of_ends_is_the_same_on_every_replay(store):
    app = store.app(virtual=True)
    orders = []

    def flow():
        with wf.threads() as pool:
            order = plain(pool, lambda number: late(number, number), [30, 10, 20])[0]
            ended = [pool.submit(int, number) for number in range(20)]
            concurrent.futures.wait(ended)  # it gives sets, which have an order, too
            order += [job.result() for job in concurrent.futures.as_completed(ended)]
            orders.append(order)
            wf.sleep(10)
        return orders[-1][:3]

    handle = app.workflow(name="flow")(flow).start()
    for _ in range(5):
        run_until_idle(app)
        store.env.advance(10)
    assert handle.result(LONG) == [10, 20, 30]
    assert len(orders) > 1
    assert len({tuple(order) for order in orders}) == 1


def test_further_calls_begin_in_order_when_one_ends(memory_store):
    begun: list[int] = []

    def flow():
        begun.clear()

        def each(number):
            begun.append(number)
            wf.sleep(0.001)
            return number

        with wf.threads(max_workers=2) as pool:
            jobs = [pool.submit(each, number) for number in range(1_500)]
            wf.sleep(0)
            early = len(begun)
            assert jobs[1_499].cancel()
            assert not jobs[0].cancel()
            assert jobs[1_499].cancelled()
            assert all(job.cancel() for job in jobs[6:])
        return early, [job.result() for job in jobs[:6]]

    assert result_of(memory_store.app(grace=5.0), flow) == (2, list(range(6)))
    assert begun == list(range(6))


def test_a_call_that_is_cancelled_before_it_begins(memory_store):
    called: list[str] = []

    def flow():
        with wf.threads() as pool:
            job = pool.submit(called.append, "called")
            assert job.cancel()
        with pytest.raises(concurrent.futures.CancelledError):
            job.result()
        return job.done()

    assert result_of(memory_store.app(), flow) is True
    assert called == []


def test_failures_are_raised_by_the_future_and_cancel_nothing(memory_store):
    ended: list[str] = []

    def flow():
        def fails():
            raise LookupError("theirs")

        def works():
            wf.sleep(0.001)
            ended.append("works")

        with pytest.raises(LookupError, match="mine"), wf.threads() as pool:
            job = pool.submit(fails)
            pool.submit(works)
            assert isinstance(job.exception(), LookupError)
            with pytest.raises(LookupError, match="theirs"):
                job.result()
            raise LookupError("mine")
        return ended[-1]

    assert result_of(memory_store.app(grace=5.0), flow) == "works"


def test_waiting_for_a_future_so_long_at_most(store):
    app = store.app(virtual=True)

    def flow():
        with wf.threads() as pool:
            job = pool.submit(late, 60, "late")
            with pytest.raises(DeadlineExceeded):
                job.result(timeout=10)
            return job.result(timeout=60), job.result(timeout=0)

    handle = app.workflow(name="flow")(flow).start()
    for _ in range(8):
        run_until_idle(app)
        store.env.advance(10)
    assert handle.result(LONG) == ("late", "late")


def test_cancelling_gives_up_what_has_not_begun_and_cancels_the_rest(store):
    app = store.app()
    seen: list[Any] = []

    @app.workflow(name="flow")
    def flow():
        def waits(word):
            try:
                wf.receive("never")
            except wf.Cancelled as error:
                seen.append((word, str(error)))
                raise

        with wf.threads(max_workers=2) as pool:
            jobs = [pool.submit(waits, word) for word in "abc"]
            jobs[2].add_done_callback(lambda job: seen.append(("c", job.cancelled())))

    handle = flow.start()
    run_until_idle(app)
    seen.clear()
    handle.cancel("enough")
    run_until_idle(app)
    with pytest.raises(InvocationCancelled):
        handle.result(LONG)
    assert seen == [("c", True), ("a", "enough"), ("b", "enough")]


def test_waiting_drops_the_frames_of_all_calls(store):
    app = store.app(virtual=True)
    left = []

    @app.workflow(name="flow")
    def flow():
        def waits(number):
            try:
                wf.sleep(60)
            finally:
                left.append(number)
            return number

        with wf.threads(max_workers=2) as pool:
            try:
                return list(pool.map(waits, range(3)))
            finally:
                left.append("root")

    handle = flow.start()
    step(app)
    assert handle.status is InvocationState.WAITING
    assert left == [1, 0, "root"]
    for _ in range(3):
        store.env.advance(61)
        run_until_idle(app)
    assert handle.result(LONG) == [0, 1, 2]


def test_an_executor_is_of_its_block_and_its_workflow(memory_store):
    app = memory_store.app()
    kept: list[Any] = []

    @app.task
    def body() -> None:
        kept[0].submit(print)

    def flow():
        pool = wf.threads()
        with pytest.raises(OperationRefused, match="outside of its block"):
            pool.submit(print)
        with pool:
            kept.append(pool)
            with pytest.raises(OperationRefused, match="inside the task"):
                body()
            for measured in (
                lambda: pool.map(print, [], timeout=1),
                lambda: concurrent.futures.wait([pool.submit(wf.sleep, 0)], timeout=1),
            ):
                with pytest.raises(OperationRefused, match=r"with wf\.timeout"):
                    measured()
        with pytest.raises(RuntimeError, match="after shutdown"):
            pool.submit(print)
        for many in (0, "many"):
            with pytest.raises(ConfigurationError, match="max_workers"):
                bad.threads(max_workers=many)
        return "refused"

    def other():
        wf.gather(wf.uuid)
        with pytest.raises(OperationRefused, match="or its workflow"):
            kept[0].submit(print)
        return "refused"

    assert result_of(app, flow) == "refused"
    app.workflow(name="other")(other).start()
    assert app.named("other").start() is not None
    handle = app.named("other").start()
    run_until_idle(app)
    assert handle.result(LONG) == "refused"


def test_a_future_that_a_thread_waits_for_is_refused(memory_store):
    caught: list[str] = []

    def flow():
        with wf.threads() as pool:
            job = pool.submit(wf.sleep, 0.001)

            def elsewhere():
                try:
                    job.result()
                except BaseException as error:
                    caught.append(type(error).__name__)

            thread = threading.Thread(target=elsewhere)
            thread.start()
            thread.join(LONG)
        return caught[-1]

    assert result_of(memory_store.app(grace=5.0), flow) == "ForeignScope"


def test_no_async_code_in_an_executor(memory_store):
    async def awaited():
        return await asyncio.sleep(0, "value")

    def flow():
        with wf.threads() as pool, pytest.raises(WrongColour, match="async function"):
            pool.submit(awaited)
        return "refused"

    assert result_of(memory_store.app(), flow) == "refused"
