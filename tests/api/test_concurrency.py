"""Branches of workflows as users make them: results, failures, cancelling, refusals."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from functools import partial
from typing import Any

import pytest

from perdure import InvocationState, Perdure, wf
from perdure.backends.memory import MemoryBackend
from perdure.core.entries import EntryKind
from perdure.engine import branches as engine_branches
from perdure.errors import (
    ConfigurationError,
    ForeignScope,
    InvocationCancelled,
    InvocationParked,
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


def test_bodies_run_at_the_same_time_and_results_come_in_order(store):
    app = store.app()
    together = threading.Barrier(3)

    @app.task
    def meet(number: int) -> int:
        together.wait(LONG)
        return number * 10

    @app.workflow
    def flow() -> list[int]:
        return wf.gather(*[partial(meet, number) for number in range(3)])

    assert flow.start().result(LONG) == [0, 10, 20]


def test_one_branch_runs_at_a_time(memory_store):
    app = memory_store.app()
    inside = threading.Lock()

    @app.task
    def nothing() -> None:
        return None

    def flow():
        def branch():
            for _ in range(20):
                assert inside.acquire(blocking=False)
                wf.uuid()
                inside.release()
                nothing()

        return len(wf.gather(*[branch] * 10))

    assert result_of(app, flow) == 10


def test_the_first_failure_is_raised_when_all_have_ended(store):
    app = store.app(virtual=True)
    ended = []

    def flow():
        def fails(after, word):
            wf.sleep(after)
            ended.append(word)
            raise LookupError(word)

        def works():
            wf.sleep(30)
            ended.append("works")

        try:
            wf.gather(partial(fails, 20, "late"), works, partial(fails, 10, "early"))
        except LookupError as error:
            return str(error)
        return "nothing"

    handle = app.workflow(name="flow")(flow).start()
    for _ in range(4):
        run_until_idle(app)
        store.env.advance(10)
    assert handle.result(LONG) == "early"
    assert ended[-3:] == ["early", "late", "works"]


def test_map_makes_no_further_branch_after_a_failure(memory_store):
    begun: list[int] = []

    def flow():
        def each(number):
            begun.append(number)
            if number == 2:
                raise LookupError(number)
            wf.sleep(0)
            return number

        with pytest.raises(LookupError):
            wf.map(each, range(10), limit=2)
        return [type(given).__name__ for given in wf.map(each, range(4), return_exceptions=True)]

    got = result_of(memory_store.app(grace=1.0), flow)
    assert got == ["int", "int", "LookupError", "int"]
    assert set(begun) <= {0, 1, 2, 3}


@pytest.mark.keeps_frames("it counts what one frame has under way")
def test_map_keeps_to_its_limit(memory_store):
    under_way, most = 0, 0

    def flow():
        def each(number):
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            wf.sleep(0.001)
            under_way -= 1
            return number

        return wf.map(each, iter(range(9)), limit=3)

    assert result_of(memory_store.app(grace=5.0), flow) == list(range(9))
    assert most == 3


def test_a_thousand_schedules_leave_one_map_from_operation_to_value(monkeypatch):
    orders, maps = set(), set()
    for seed in range(1_000):
        backend = MemoryBackend(store_id=bytes(16))
        with monkeypatch.context() as patch, Perdure(backend=backend, name="schedules") as app:
            Schedule(seed).install(patch)
            handle = branching(app).options(id="flow").start()
            step(app)
            result = repr(handle.result(LONG))
            entries = backend.read_journal(handle.key)
        tasks = [entry for entry in entries if entry.kind == EntryKind.TASK]
        orders.add(tuple(entry.key for entry in tasks))
        maps.add((result, tuple(sorted((entry.key, entry.body) for entry in tasks))))
    assert len(orders) > 500
    assert len(maps) == 1


def branching(app):
    @app.task(name="work")
    def work(*seen: object) -> list[object]:
        return [*seen, wf.random(), wf.idempotency_key()]

    @app.workflow(name="flow")
    def flow() -> list[object]:
        def leaf(word):
            return [work(word, wf.uuid()), work(word, wf.random())]

        def branch(word):
            below = wf.gather(partial(leaf, word + "1"), partial(leaf, word + "2"))
            return [work(word, wf.idempotency_key()), below]

        mapped = wf.map(lambda number: work(number, wf.uuid()), range(3), limit=2)
        return [wf.gather(*[partial(branch, word) for word in "abc"]), mapped, wf.random()]

    return flow


def test_waiting_drops_the_frames_of_all_branches(store):
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

        try:
            return wf.gather(*[partial(waits, number) for number in range(3)])
        finally:
            left.append("root")

    handle = flow.start()
    step(app)
    assert handle.status is InvocationState.WAITING
    assert left == [2, 1, 0, "root"]
    store.env.advance(61)
    run_until_idle(app)
    assert handle.result(LONG) == [0, 1, 2]


def test_a_branch_that_swallows_the_suspension_parks_and_the_others_are_dropped(memory_store):
    app = memory_store.app(virtual=True)
    left = []

    @app.workflow(name="flow")
    def flow():
        def swallows():
            while True:
                try:  # noqa: SIM105 - users write this mistake out
                    wf.sleep(60)
                except BaseException:
                    pass

        def waits():
            try:
                wf.sleep(60)
            finally:
                left.append("waits")

        wf.gather(waits, swallows)

    handle = flow.start()
    step(app)
    with pytest.raises(InvocationParked, match=r"SuspensionSwallowed.*Branch '/2'.*test_concurr"):
        handle.result(LONG)
    assert left == ["waits"]


def test_select_cancels_who_loses(store):
    app = store.app()
    seen = []

    def flow():
        def loses():
            try:
                wf.receive("never")
            except wf.Cancelled as error:
                seen.append(str(error))
                wf.sleep(0.001)
                return "late"

        return tuple(wf.select(loses, quick=lambda: wf.uuid() and "won"))

    assert result_of(app, flow) == ("quick", "won")
    assert seen[-1] == "Another branch of wf.select ended first."


def test_select_raises_what_the_first_one_raised(memory_store):
    def flow():
        def fails():
            raise LookupError("first")

        with pytest.raises(LookupError, match="first"):
            wf.select(lambda: wf.receive("never"), fails)
        return "caught"

    assert result_of(memory_store.app(), flow) == "caught"


@pytest.mark.keeps_frames("it is about what a frame does as it ends")
def test_cancelling_is_passed_on_in_order(store):
    app = store.app()
    seen = []

    @app.workflow(name="flow")
    def flow():
        def waits(word):
            try:
                wf.receive("never")
            except wf.Cancelled as error:
                seen.append((word, str(error)))
                raise

        def below():
            wf.gather(partial(waits, "b"), partial(waits, "c"))

        try:
            wf.gather(partial(waits, "a"), below, partial(waits, "d"))
        finally:
            seen.append(("root", ""))

    handle = flow.start()
    run_until_idle(app)
    seen.clear()
    handle.cancel("enough")
    run_until_idle(app)
    with pytest.raises(InvocationCancelled):
        handle.result(LONG)
    assert seen == [*((word, "enough") for word in "abcd"), ("root", "")]


def test_a_branch_sees_the_context_variables_of_its_maker(memory_store):
    variable = contextvars.ContextVar("variable", default="unset")

    def flow():
        variable.set("root")

        def branch():
            before = variable.get()
            variable.set("branch")
            return before

        return [*wf.gather(branch, branch), variable.get()]

    assert result_of(memory_store.app(), flow) == ["root", "root", "root"]


def test_a_thread_that_a_branch_starts_is_foreign(memory_store):
    app = memory_store.app()

    @app.task
    def nothing() -> None:
        return None

    def flow():
        def branch():
            values = contextvars.copy_context()
            caught = []

            def elsewhere(run):
                try:
                    run()
                except ForeignScope as error:
                    caught.append(type(error).__name__)

            copied = threading.Thread(target=values.run, args=(elsewhere, wf.uuid))
            plain = threading.Thread(target=elsewhere, args=(nothing,))
            for thread in (copied, plain):
                thread.start()
                thread.join(LONG)
            return caught

        return wf.gather(branch)

    assert result_of(app, flow) == [["ForeignScope", "ForeignScope"]]


def test_too_many_branches_are_refused_before_they_begin(memory_store, monkeypatch):
    monkeypatch.setattr(engine_branches, "BRANCHES_MAX", 20)
    begun: list[int] = []

    def flow():
        with pytest.raises(OperationRefused, match="20 branches at a time"):
            wf.gather(*[partial(begun.append, number) for number in range(21)])
        return len(wf.map(begun.append, range(100), limit=20))

    assert result_of(memory_store.app(), flow) == 100
    assert len(begun) == 100


def test_without_threads_it_goes_on_later(store, monkeypatch):
    app = store.app(virtual=True)

    @app.workflow(name="flow")
    def flow():
        return wf.gather(wf.uuid, lambda: wf.record("nothing", lambda: None), lambda: "last")[2]

    handle = flow.start()
    with monkeypatch.context() as patch:

        def refuse(job):
            raise RuntimeError("can't start new thread")

        patch.setattr(app.runtime.bodies.branches, "submit", refuse)
        step(app)
    assert handle.status is InvocationState.WAITING
    store.env.advance(6)
    run_until_idle(app)
    assert handle.result(LONG) == "last"


def test_code_that_changed_is_found_in_branches(store):
    first = store.app(virtual=True)

    def before():
        wf.gather(lambda: wf.sleep(60), lambda: wf.sleep(60))

    handle = first.workflow(name="flow")(before).start()
    step(first)
    changed = store.app(virtual=True)

    def after():
        wf.gather(lambda: wf.sleep(60), lambda: wf.receive("other"))

    changed.workflow(name="flow")(after)
    store.env.advance(61)
    run_until_idle(changed)
    with pytest.raises(InvocationParked, match=r"(?s)Divergence.*/2:sleep:1"):
        handle.result(LONG)


def test_no_branches_outside_of_workflows(memory_store):
    for make in (wf.gather, partial(wf.map, print, []), partial(wf.select, print)):
        with pytest.raises(NotInWorkflow):
            make()
    for start in (wf.gather_async, partial(wf.map_async, print, []), partial(wf.select_async)):
        with pytest.raises(NotInWorkflow):
            asyncio.run(start())


def test_no_branches_in_tasks_and_records(memory_store):
    app = memory_store.app()

    @app.task
    def body() -> None:
        wf.gather()

    def flow():
        with pytest.raises(OperationRefused, match="inside the task"):
            body()
        with pytest.raises(OperationRefused, match=r"inside wf\.record"):
            wf.record("value", wf.gather)
        return "refused"

    assert result_of(app, flow) == "refused"


def test_what_cannot_be_a_branch_is_refused(memory_store):
    async def awaited():
        return None

    def flow():
        for make in (bad.gather, bad.select, lambda it: bad.map(it, [])):
            with pytest.raises(RegistrationError, match="not callable"):
                make(awaited())
            with pytest.raises(WrongColour, match="async function"):
                make(awaited)
        for limit in (0, -1, 1.5, True, "2"):
            with pytest.raises(ConfigurationError, match="limit="):
                bad.map(print, [], limit=limit)
        with pytest.raises(ConfigurationError, match="nothing to select"):
            bad.select()
        for start in (bad.gather_async(), bad.map_async(print, []), bad.select_async()):
            with pytest.raises(WrongColour, match=r"Write: wf\.\w+\("):
                start.send(None)
        return bad.gather()

    assert result_of(memory_store.app(), flow) == []


def test_the_async_spellings_refuse_alike(memory_store):
    async def flow():
        for make in (bad.gather, bad.select, lambda: bad.map(print, [])):
            with pytest.raises(WrongColour, match=r"await wf\.\w+_async"):
                make()
        with pytest.raises(RegistrationError, match="not callable"):
            await bad.gather_async(3)
        with pytest.raises(WrongColour, match="cannot be awaited"):
            await bad.gather_async(lambda: 3)
        with pytest.raises(ConfigurationError, match="limit="):
            await bad.map_async(print, [], limit=0)
        with pytest.raises(ConfigurationError, match="nothing to select"):
            await bad.select_async()
        return await bad.gather_async()

    assert result_of(memory_store.app(), flow) == []


def test_a_branch_that_raises_what_ends_a_program_fails_like_any_other(memory_store):
    def flow():
        def leaves():
            raise SystemExit(3)

        try:
            wf.gather(leaves)
        except SystemExit as error:
            return error.code
        return None

    assert result_of(memory_store.app(), flow) == 3
