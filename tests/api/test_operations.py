"""`wf` inside workflows: drawn, recorded, replayed; data; time; handles; child workflows."""
# mypy: disable-error-code="comparison-overlap, no-any-return, unused-coroutine"

from __future__ import annotations

import random as stdlib_random
import uuid
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from perdure import DistributedInvocation, InvocationState, wf
from perdure.errors import (
    ConfigurationError,
    InvalidIdentifier,
    OperationRefused,
    RegistrationError,
    ResultTimeout,
    SerializationError,
    StartConflict,
)
from tests.support.stores import LONG, run_until_idle


def replayed(app, code, *, is_async=False):
    """Run `code` twice over one journal, with a dropped frame between; the values of both runs."""
    runs = []

    @app.workflow(name="flow")
    def flow() -> None:
        runs.append(code())
        wf.sleep(50)

    handle = flow.options(id="flow").start()
    run_until_idle(app)
    assert handle.status is InvocationState.WAITING
    app.runtime.env.advance(100)
    run_until_idle(app)
    assert handle.status is InvocationState.COMPLETED
    assert len(runs) == 2
    return runs


@pytest.fixture
def app(store):
    return store.app(virtual=True, local_worker=False)


EMPTY: list[object] = [None, 0, "", [], False]


def same(value):
    return value


RANDOM: dict[str, Any] = {
    "call": lambda r: r(),
    "random": lambda r: r.random(),
    "choice": lambda r: r.choice("abcdef"),
    "choices": lambda r: r.choices([1, 2, 3], k=5),
    "sample": lambda r: r.sample(range(100), 5),
    "shuffle": lambda r: (lambda items: (r.shuffle(items), items)[1])(list(range(20))),
    "randint": lambda r: r.randint(1, 10**30),
    "randrange": lambda r: r.randrange(0, 100, 3),
    "getrandbits": lambda r: r.getrandbits(200),
    "randbytes": lambda r: r.randbytes(9),
    "uniform": lambda r: r.uniform(1, 2),
    "gauss": lambda r: r.gauss(0, 1),
    "normalvariate": lambda r: r.normalvariate(0, 1),
    "triangular": lambda r: r.triangular(0, 1, 0.5),
    "betavariate": lambda r: r.betavariate(1, 2),
    "expovariate": lambda r: r.expovariate(1.0),
    "gammavariate": lambda r: r.gammavariate(1, 2),
    "vonmisesvariate": lambda r: r.vonmisesvariate(0, 4),
    "paretovariate": lambda r: r.paretovariate(3),
    "weibullvariate": lambda r: r.weibullvariate(1, 2),
    "lognormvariate": lambda r: r.lognormvariate(0, 1),
}


@pytest.mark.keeps_frames("it counts attempts")
def test_the_whole_of_random_is_replayed(app):
    first, second = replayed(
        app, lambda: {name: [use(wf.random) for _ in range(3)] for name, use in RANDOM.items()}
    )
    assert first == second
    assert isinstance(wf.random, stdlib_random.Random)


@pytest.mark.parametrize("name", ["seed", "getstate", "setstate"])
@pytest.mark.keeps_frames("it counts attempts")
def test_a_stateless_generator_has_no_state(app, name):
    def code():
        with pytest.raises(OperationRefused):
            getattr(wf.random, name)(*([()] if name == "setstate" else []))

    replayed(app, code)


@pytest.mark.keeps_frames("it counts attempts")
def test_other_draws_are_replayed(app):
    def code():
        return [
            [wf.uuid(), wf.uuid()],
            [wf.idempotency_key(), wf.idempotency_key()],
            [wf.utc_now(), wf.utc_now()],
            [wf.executor().uuid(), wf.executor().random()],
        ]

    first, second = replayed(app, code)
    assert first == second
    uuids, keys, times, _ = first
    assert uuid.UUID(uuids[0]).version == 4
    assert uuids[0] != uuids[1]
    assert keys[0] != keys[1]
    assert all(len(key) == 32 and int(key, 16) >= 0 for key in keys)
    assert times[1] - times[0] == timedelta(seconds=1)


@pytest.mark.keeps_frames("it counts attempts")
def test_observed_values_are_recorded_once(app):
    ran = []

    def code():
        return [
            wf.now(),
            wf.token(),
            wf.token(4),
            [wf.record("x", lambda: ran.append(1)) for _ in range(2)],
            [wf.record("empty", partial(same, v)) for v in EMPTY],
        ]

    first, second = replayed(app, code)
    assert first == second
    assert ran == [1, 1]
    now, token, short, _, empty = first
    assert now.tzinfo is UTC
    assert (len(token), len(short)) == (64, 8)
    assert [type(v) for v in empty] == [type(None), int, str, list, bool]


@pytest.mark.keeps_frames("it counts attempts")
def test_a_recorded_exception_is_raised_again(app):
    ran = []

    def fail():
        ran.append(1)
        raise LookupError("gone", 7)

    def code():
        with pytest.raises(LookupError) as caught:
            wf.record("x", fail)
        return type(caught.value), caught.value.args

    first, second = replayed(app, code)
    assert first == second == (LookupError, ("gone", 7))
    assert ran == [1]


@pytest.mark.keeps_frames("it counts attempts")
def test_names_of_records(app):
    def code():
        for name in ("", "random", "a b", "counter", "sleep"):
            with pytest.raises(InvalidIdentifier):
                wf.record(name, lambda: 1)
        return wf.record("fine", lambda: 1)

    assert replayed(app, code) == [1, 1]


@pytest.mark.keeps_frames("it counts attempts")
def test_async_functions_are_not_for_record(app):
    async def look():
        return 1

    def code():
        with pytest.raises(RegistrationError, match="async"):
            wf.record("x", look)

    replayed(app, code)


@pytest.mark.keeps_frames("it counts attempts")
def test_utc_now_goes_on_by_seconds_and_never_falls_behind_an_event(app, store):
    def code():
        base = wf.executor().get_base_time()
        before = [wf.utc_now() for _ in range(3)]
        event = wf.now()  # a durable event at the real time
        return base, before, event, [wf.utc_now() for _ in range(3)]

    store.env.advance(5)
    (base, before, event, after), second = replayed(app, code)
    assert (base, before, event, after) == second
    assert before == [base + timedelta(seconds=n) for n in (1, 2, 3)]
    readings = [*before, *after]
    assert all(a < b for a, b in pairwise(readings))
    assert after[0] >= event


def test_utc_now_after_a_long_sleep_is_not_before_its_end(store):
    app = store.app(virtual=True, local_worker=False)

    @app.workflow(name="flow")
    def flow() -> tuple[datetime, datetime, datetime]:
        start = wf.utc_now()
        wf.sleep(timedelta(days=30))
        return start, wf.utc_now(), wf.utc_now()

    handle = flow.start()
    run_until_idle(app)
    store.env.advance(30 * 86_400)
    run_until_idle(app)
    start, after, later = handle.result()
    assert after - start >= timedelta(days=30) - timedelta(seconds=1)
    assert later - after == timedelta(seconds=1)
    assert app.verify(handle.invocation_id).value == (start, after, later)


def test_sleeping_takes_as_long_as_it_says(store):
    app = store.app(virtual=True, local_worker=False)

    @app.workflow(name="flow")
    def flow(duration: float) -> str:
        wf.sleep(duration)
        return "slept"

    handle = flow.start(10.5)
    run_until_idle(app)
    store.env.advance(10.4)
    run_until_idle(app)
    assert handle.status is InvocationState.WAITING
    store.env.advance(0.2)
    run_until_idle(app)
    assert handle.result() == "slept"


@pytest.mark.parametrize("wrong", [-1, float("nan"), float("inf"), "3", None, True])
@pytest.mark.keeps_frames("it counts attempts")
def test_durations_that_mean_nothing(app, wrong):
    def code():
        with pytest.raises(ConfigurationError, match=r"wf\.sleep"):
            wf.sleep(wrong)

    replayed(app, code)


# --- data ---------------------------------------------------------------------------------------


def test_data_is_read_by_the_workflow_its_tasks_and_clients(store):
    app = store.app()

    @app.task(name="look")
    def look() -> tuple[object, object]:
        return wf.get_data("step"), wf.get_data("never", "default")

    @app.workflow(name="child")
    def child() -> object:
        return wf.get_data("step", "not mine")

    @app.workflow(name="flow")
    def flow() -> list[object]:
        seen: list[object] = [wf.get_data("step", None)]
        wf.set_data("step", {"n": (1, 2)})
        seen += [wf.get_data("step"), look()]
        wf.set_data("step", None)
        seen += [wf.get_data("step", "default"), look(), look.start().result(), child()]
        with pytest.raises(KeyError):
            wf.get_data("never")
        return seen

    handle = flow.options(id="f").start()
    value = {"n": (1, 2)}
    assert handle.result(LONG) == [
        None,
        value,
        (value, "default"),
        None,
        (None, "default"),
        (None, "default"),
        "not mine",
    ]
    assert handle.get_data("step") is None
    assert store.app().invocation("f").get_data("step", "absent") is None
    with pytest.raises(KeyError):
        handle.get_data("never")
    assert handle.get_data("never", 5) == 5
    assert app.verify("f").finished


def test_data_of_an_async_workflow_is_one_for_all_its_branches(store):
    import asyncio

    app = store.app()

    @app.workflow(name="flow")
    async def flow() -> list[object]:
        wf.set_data("a", 1)

        async def branch() -> object:
            seen = wf.get_data("a", "absent")
            wf.set_data("b", 2)
            return seen

        (seen,) = await asyncio.gather(branch())
        return [seen, wf.get_data("b", "absent")]

    assert flow.options(id="f").start().result(LONG) == [1, 2]
    assert app.verify("f").finished


def test_data_that_cannot_be_recorded_changes_nothing(store):
    app = store.app()

    @app.workflow(name="flow")
    def flow() -> object:
        wf.set_data("a", 1)
        with pytest.raises(SerializationError, match="'a'"):
            wf.set_data("a", object())
        with pytest.raises(InvalidIdentifier):
            wf.set_data("", 1)
        return wf.get_data("a")

    assert flow() == 1


def test_only_the_workflow_itself_writes_its_data(store):
    app = store.app()

    @app.task(name="task")
    def task() -> str:
        with pytest.raises(OperationRefused):
            wf.set_data("a", 1)
        return "refused"

    @app.workflow(name="flow")
    def flow() -> str:
        return task()

    assert flow() == "refused"


# --- handles and children -----------------------------------------------------------------------


def test_handles_are_arguments_and_results(store):
    app = store.app()

    @app.task(name="slow")
    def slow(n: int) -> int:
        return n * 2

    @app.workflow(name="collect")
    def collect(handles: list[DistributedInvocation[int]]) -> list[int]:
        return [handle.result() for handle in handles]

    @app.workflow(name="flow")
    def flow() -> DistributedInvocation[list[int]]:
        return collect.start([slow.start(1), slow.start(2)])

    inner = flow()
    assert isinstance(inner, DistributedInvocation)
    assert inner.result(LONG) == [2, 4]


def test_the_status_of_a_handle_can_be_recorded_and_nothing_else(store):
    app = store.app()

    @app.task(name="task")
    def task() -> int:
        return 1

    @app.workflow(name="flow")
    def flow() -> InvocationState:
        handle = task.start()
        handle.result()
        with pytest.raises(OperationRefused, match=r"wf\.record"):
            _ = handle.status
        return wf.record("status", lambda: handle.status)

    assert flow.options(id="f").start().result(LONG) is InvocationState.COMPLETED
    assert app.verify("f").finished


def test_result_with_a_timeout_inside_a_workflow(store):
    app = store.app(virtual=True, local_worker=False)
    ready = []

    @app.workflow(name="child")
    def child() -> str:
        wf.sleep(100)
        return "late"

    @app.workflow(name="flow")
    def flow() -> list[str]:
        handle = child.start()
        try:
            handle.result(timeout=10)
        except ResultTimeout as error:
            ready.append(str(error))
        return [ready[-1], handle.result(timeout=timedelta(hours=1))]

    handle = flow.options(id="f").start()
    run_until_idle(app)
    store.env.advance(11)
    run_until_idle(app)
    store.env.advance(100)
    run_until_idle(app)
    text, late = handle.result()
    assert "within 10" in text
    assert late == "late"
    assert app.verify("f").finished


def test_waiting_twice_for_one_invocation(store):
    app = store.app()

    @app.task(name="task")
    def task() -> list[int]:
        return [1]

    @app.workflow(name="flow")
    def flow() -> bool:
        handle = task.start()
        first, second = handle.result(), handle.result()
        first.append(2)
        return second == [1]

    assert flow() is True


def test_children_by_call_and_by_start(store):
    app = store.app()

    @app.workflow(name="child")
    def child(n: int) -> tuple[str | None, int]:
        return wf.executor().workflow_identity.parent_workflow_id, n

    @app.workflow(name="parent")
    def parent() -> list[object]:
        started = child.options(id="mine").start(2)
        again = child.options(id="mine").start(2)
        assert started == again
        with pytest.raises(StartConflict):
            child.options(id="mine").start(3)
        return [child(1), started.result(), child.start(4).result()]

    handle = parent.options(id="p").start()
    assert handle.result(LONG) == [("p", 1), ("p", 2), ("p", 4)]
    infos = app.workflows(name="child")
    assert {info.parent_id for info in infos} == {"p"}
    assert len(infos) == 3
    identity = app.invocation("mine").identity
    assert identity.parent_workflow_id == "p"
    assert identity.is_subworkflow
    assert app.verify("p").finished


def test_the_error_of_a_child_is_raised_in_the_parent(store):
    app = store.app()

    @app.workflow(name="child")
    def child() -> None:
        raise LookupError("in the child", 3)

    @app.workflow(name="parent")
    def parent() -> tuple[object, ...]:
        with pytest.raises(LookupError) as caught:
            child()
        return caught.value.args

    assert parent.options(id="p").start().result(LONG) == ("in the child", 3)
    assert app.verify("p").finished


def test_execute_task_in_a_workflow_is_one_invocation_per_call(store):
    app = store.app()
    ran = []

    @app.task(name="task")
    def task(n: int, unit: str = "kg") -> int:
        ran.append(n)
        return n

    @app.workflow(name="flow")
    def flow() -> list[str]:
        handles = [
            wf.execute_task(task, 1),
            wf.execute_task(task, n=1),
            wf.executor().execute_task(task, 1, unit="kg"),
            wf.execute_task(task, 2),
        ]
        assert [handle.result() for handle in handles] == [1, 1, 1, 2]
        return [handle.invocation_id for handle in handles]

    ids = flow.options(id="f").start().result(LONG)
    assert len(set(ids)) == 2
    assert ids[0] == ids[1] == ids[2]
    assert sorted(ran) == [1, 2]
    assert app.verify("f").finished
