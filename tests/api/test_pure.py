"""`pure=True`: what is committed when, what is refused, what a crash, a stop or a thief leaves."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from perdure import InvocationState, Perdure, Retry, wf
from perdure.core.identity import InvocationKey
from perdure.core.journal import HELD_BYTES_MAX
from perdure.engine import ledger
from perdure.errors import InvocationDead, OperationRefused, RegistrationError
from tests.support.stores import LEASE, LONG, claim, run_until_idle, step

KEY = InvocationKey("main", 1)


class Commits:
    """What each commit of one app appended, as the names of its entries."""

    def __init__(self, app: Perdure) -> None:
        backend: Any = app.runtime.backend
        self.all: list[list[str]] = []
        commit = backend.commit

        def noting(transitions: Any) -> Any:
            self.all += [[entry.name or entry.kind for entry in t.entries] for t in transitions]
            return commit(transitions)

        backend.commit = noting


def start(app: Perdure, body: Any) -> Any:
    return app.workflow(name="main")(body).options(id=KEY.invocation_id).start()


def look_and_act(app: Perdure) -> tuple[Any, Any]:
    @app.task(name="look", pure=True)
    def look(*seen: Any) -> list[Any]:
        return ["look", *seen]

    @app.task(name="act")
    def act(*seen: Any) -> list[Any]:
        return ["act", *seen]

    return look, act


@pytest.mark.parametrize("pure", [True, False])
@pytest.mark.keeps_frames("what is held back for a frame is committed when that is dropped")
def test_five_tasks_are_one_commit_and_not_five(store, pure):
    app = store.app()

    @app.task(name="look", pure=pure)
    def look(number: int) -> int:
        return number

    handle = start(app, lambda: [look(number) for number in range(5)])
    commits = Commits(app)
    run_until_idle(app)
    assert handle.result(LONG) == [0, 1, 2, 3, 4]
    alone = [["look"]] * 5 + [["completed"]]
    assert commits.all == ([["look"] * 5 + ["completed"]] if pure else alone)


@pytest.mark.keeps_frames("what is held back for a frame is committed when that is dropped")
def test_async_branches_are_one_commit(memory_store):
    app = memory_store.app()
    together = asyncio.Barrier(5)

    @app.task(name="look", pure=True)
    async def look(number: int) -> int:
        await together.wait()
        return number

    async def main() -> list[int]:
        first = await asyncio.gather(*(look(number) for number in range(5)))
        return [*first, *await asyncio.gather(*(look(number) for number in first))]

    handle = start(app, main)
    commits = Commits(app)
    run_until_idle(app)
    assert handle.result(LONG) == [0, 1, 2, 3, 4] * 2
    assert len(commits.all) == 1


LEAVING = {
    "act": lambda act: act(),
    "start": lambda act: act.start(),
    "memo": lambda act: wf.execute_task(act),
    "record": lambda _: wf.record("seen", lambda: 1),
    "send": lambda _: wf.invocation().send("hello"),
    "sleep": lambda _: wf.sleep(0.001),
}


@pytest.mark.parametrize("way", LEAVING)
@pytest.mark.keeps_frames("what is held back for a frame is committed when that is dropped")
def test_it_is_durable_before_anything_leaves(memory_store, way):
    """The commit that holds it comes before the body, or with the start."""
    app = memory_store.app()
    look, act = look_and_act(app)
    durable: list[int] = []

    @app.task(name="peek")
    def peek() -> None:
        durable.append(len(app.runtime.backend.read_journal(KEY)))

    def main() -> Any:
        seen = look(look())
        if way == "act":
            peek()
        elif way == "record":
            wf.record("peek", lambda: durable.append(len(app.runtime.backend.read_journal(KEY))))
        else:
            LEAVING[way](act)
        return seen

    handle = start(app, main)
    commits = Commits(app)
    app.start_worker()
    assert handle.result(LONG) == ["look", ["look"]]
    assert commits.all[0][:2] == ["look", "look"]
    assert durable == [2] * (way in {"act", "record"})


@pytest.mark.keeps_frames("what is held back for a frame is committed when that is dropped")
def test_what_does_not_leave_needs_no_commit(memory_store):
    app = memory_store.app()
    look, _ = look_and_act(app)
    handle = start(app, lambda: [look(), wf.now(), wf.token(4), wf.uuid(), look.definition.name])
    commits = Commits(app)
    run_until_idle(app)
    assert handle.result(LONG)[0] == ["look"]
    assert commits.all == [["look", "draws", "now", "token", "completed"]]


def test_what_is_observed_is_durable_before_a_pure_body_too(memory_store):
    app = memory_store.app()

    @app.task(name="look", pure=True)
    def look() -> Any:
        return wf.get_data("state")

    def main() -> Any:
        wf.set_data("state", 7)
        return look()

    handle = start(app, main)
    run_until_idle(app)
    assert handle.result(LONG) == 7


@pytest.mark.keeps_frames("what is held back for a frame is committed when that is dropped")
def test_much_of_it_is_not_held_back(memory_store, monkeypatch):
    app = memory_store.app()

    @app.task(name="large", pure=True)
    def large() -> str:
        return "x" * (HELD_BYTES_MAX // 3)

    handle = start(app, lambda: sum(len(large()) for _ in range(4)))
    commits = Commits(app)
    run_until_idle(app)
    handle.result(LONG)
    assert commits.all == [["large"] * 3, ["large", "completed"]]
    monkeypatch.setattr(ledger, "HELD_SECONDS_MAX", 0.0)  # any work is more than that
    other = app.registry["main"].public.options(id="slow").start()
    run_until_idle(app)
    other.result(LONG)
    assert commits.all[2:] == [["large"]] * 4 + [["completed"]]


def test_a_body_that_takes_its_time_does_not_hold_up_what_others_gave(memory_store):
    app = memory_store.app()
    look, _ = look_and_act(app)
    released = asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    @app.task(name="slow", pure=True)
    async def slow() -> str:
        loops.append(asyncio.get_running_loop())
        await released.wait()
        return "slow"

    async def main() -> list[Any]:
        return [*await asyncio.gather(slow(), look.acall())]

    handle = start(app, main)
    app.start_worker()
    backend, signal = app.runtime.backend, app.runtime.env.signal()
    for _ in range(int(LONG / 0.01)):
        if any(entry.name == "look" for entry in backend.read_journal(KEY)):
            break
        signal.wait(0.01)
    else:
        raise AssertionError("the outcome of the other body was not committed")
    loops[0].call_soon_threadsafe(released.set)
    assert handle.result(LONG) == ["slow", ["look"]]


# --- crashes, stops, thieves --------------------------------------------------------------------


def dying_in(app: Perdure, name: str, times: int) -> list[str]:
    """Let the bodies of one task end what their process can record; gives what bodies began."""
    bodies: Any = app.runtime.bodies
    leases = app.runtime.leases
    run, deaths = bodies.run, iter(range(times))
    began: list[str] = []

    def running(call: Any, *rest: Any) -> Any:
        began.append(call.function.name)
        if call.function.name == name and next(deaths, None) is not None:
            for key, epoch in leases.held():
                leases.remove(key, epoch)
        return run(call, *rest)

    bodies.run = running
    return began


def crash(store: Any, app: Perdure) -> None:
    """Claim it after the lease ran out, and die in it."""
    store.env.advance(LEASE + 1)
    (attempt,) = step(app)
    assert attempt.halted


@pytest.mark.keeps_frames("what is held back for a frame is committed when that is dropped")
def test_a_crash_loses_what_is_held_back_and_it_runs_again(memory_store):
    app = memory_store.app(virtual=True)
    look, act = look_and_act(app)
    began = dying_in(app, "act", 1)
    handle = start(app, lambda: [look(1), look(2), act(look(3)), look(4)])
    crash(memory_store, app)
    assert began == ["look"] * 3 + ["act"], "durable before the body of the other"
    began.clear()
    memory_store.env.advance(LEASE + 1)
    run_until_idle(app)
    assert began == ["act", "look"], "and so not run again"
    assert handle.result(LONG)[2] == ["act", ["look", 3]]


@pytest.mark.keeps_frames("what is held back for a frame is committed when that is dropped")
def test_a_crash_between_pure_bodies_loses_them_all(memory_store):
    app = memory_store.app(virtual=True)
    look, _ = look_and_act(app)
    last = app.task(name="last", pure=True)(lambda: None)
    began = dying_in(app, "last", 1)
    handle = start(app, lambda: [look(1), look(2), last()])
    crash(memory_store, app)
    assert app.runtime.backend.read_journal(handle.key) == []
    memory_store.env.advance(LEASE + 1)
    run_until_idle(app)
    assert began == ["look", "look", "last"] * 2
    assert handle.result(LONG) == [["look", 1], ["look", 2], None]


@pytest.mark.keeps_frames("what is held back for a frame is committed when that is dropped")
def test_a_pure_body_that_kills_its_process_is_found_by_name(memory_store):
    """Each crash is counted against the body it happened in, not against one that was lost too."""
    app = memory_store.app(virtual=True, crash_limit=3)
    look, _ = look_and_act(app)
    poison = app.task(name="poison", pure=True)(lambda: None)
    began = dying_in(app, "poison", 99)
    handle = start(app, lambda: [look(1), look(2), poison()])
    for _ in range(20):
        memory_store.env.advance(LEASE + 1)
        if not step(app):
            break
    with pytest.raises(InvocationDead, match="'poison'"):
        handle.result(LONG)
    first, careful = ["look", "look", "poison"], ["look", "poison"]
    assert began == [*first, *first, *careful, "poison", "poison"], "each crash costs one look"


@pytest.mark.keeps_frames("what is held back for a frame is committed when that is dropped")
def test_a_worker_that_stops_commits_what_is_held_back(memory_store):
    app = memory_store.app()
    stopping = app.runtime.stopping

    @app.task(name="look", pure=True)
    def look(last: bool) -> bool:
        if last:
            stopping.set()
        return last

    handle = start(app, lambda: [look(False), look(True), look(False)])
    step(app)
    journal = app.runtime.backend.read_journal(KEY)
    assert [entry.name for entry in journal] == ["look", "look"]
    assert handle.status is InvocationState.READY


@pytest.mark.keeps_frames("what is held back for a frame is committed when that is dropped")
def test_who_lost_the_lease_commits_nothing_of_it(memory_store):
    app = memory_store.app(virtual=True)
    ran: list[str] = []

    @app.task(name="look", pure=True)
    def look(number: int) -> str:
        ran.append(f"look {number}")
        if number == 2:
            memory_store.env.advance(LEASE + 1)
            (taken,) = claim(app).records
            assert taken.epoch == 2
        return f"{len(ran)}"

    @app.task(name="act")
    def act(seen: list[str]) -> list[str]:
        ran.append(f"act {seen}")
        return seen

    handle = start(app, lambda: act([look(1), look(2)]))
    step(app)
    assert ran == ["look 1", "look 2"], "the other body did not start"
    assert app.runtime.backend.read_journal(handle.key) == []


# --- what it cannot be --------------------------------------------------------------------------


def test_it_cannot_have_a_queue_or_a_key():
    app = Perdure("memory://")
    for policy in ({"queue": "slow"}, {"key": "item"}):
        with pytest.raises(RegistrationError, match="pure=True and has a queue or a key"):
            app.task(pure=True, **policy)(lambda item: item)  # type: ignore[call-overload]


@pytest.mark.parametrize("way", ["call", "start"])
def test_nothing_can_leave_its_body(store, way):
    app = store.app()
    _, act = look_and_act(app)

    @app.workflow(name="child")
    def child() -> None:
        return None

    @app.task(name="start", pure=True, retry=Retry(attempts=1))
    def starting(what: str) -> None:
        if what == "task":
            act.start()
        elif what == "workflow":
            child.start()
        else:
            app.invocation(KEY.invocation_id).send("hello")

    def main() -> list[str]:
        said = []
        for what in ("task", "workflow", "message"):
            try:
                starting(what) if way == "call" else starting.start(what).result()
            except OperationRefused as error:
                said.append(str(error))
        return said

    handle = start(app, main)
    app.start_worker()
    first, second, third = handle.result(LONG)
    assert "start of 'act' was asked for inside the task 'start', which is pure=True" in first
    assert "start of 'child'" in second
    assert "Message 'hello' to 'main'" in third


def test_on_a_queue_of_the_call_it_is_an_invocation_like_others(memory_store):
    app = memory_store.app()
    look, _ = look_and_act(app)
    handle = start(app, lambda: look.options(queue="other")(1))
    run_until_idle(app)
    assert handle.result(LONG) == ["look", 1]
    kinds = [entry.kind for entry in app.runtime.backend.read_journal(KEY)]
    assert kinds == ["start", "watch", "done", "end"]


@pytest.mark.parametrize("later", [True, False])
def test_the_option_can_be_changed_under_way(memory_store, later):
    first, second = memory_store.app(), memory_store.app()

    def build(app: Perdure, *, pure: bool) -> Any:
        @app.task(name="look", pure=pure)
        def look(number: int) -> int:
            return number

        def main() -> list[int]:
            seen = [look(1), look(2)]
            wf.sleep(0.001)
            return [*seen, look(3)]

        return app.workflow(name="main")(main)

    handle = build(first, pure=not later).options(id="main").start()
    step(first)
    build(second, pure=later)
    signal = second.runtime.env.signal()
    while handle.status is not InvocationState.COMPLETED:
        run_until_idle(second)
        signal.wait(0.002)
    assert handle.result(LONG) == [1, 2, 3]
    assert second.verify("main").finished
