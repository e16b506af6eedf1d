"""What takes a taken id, another code, a damaged row or a second of bad luck to happen."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from typing import Any

import msgspec
import pytest

from perdure import InvocationState, Perdure, wf
from perdure.backends.base import Holding, Refusal, Transition
from perdure.backends.memory import MemoryBackend
from perdure.core.draws import derive_id
from perdure.core.identity import InvocationKey
from perdure.engine import bodies, heartbeats, stuck
from perdure.engine.branch import Pause
from perdure.engine.context import TaskContext, current_workflow
from perdure.engine.hearing import Hearing
from perdure.engine.heartbeats import HEARTBEAT, LEASE_LOST, CallKeeper, TaskKeeper
from perdure.engine.hub import Hub
from perdure.engine.ledger import Ledger
from perdure.engine.outside import LEFT_OPEN
from perdure.errors import (
    BackendUnavailable,
    Divergence,
    JournalCorrupted,
    OperationRefused,
    StartConflict,
    WaitCycle,
)
from tests.engine.test_small_parts import claimed
from tests.support.stores import LONG, Store, run_until_idle, step

KEY = InvocationKey("w", 1)
S = InvocationState


def kinds(app: Perdure) -> list[str]:
    return [entry.kind for entry in app.runtime.backend.read_journal(KEY)]


# --- ids that are taken --------------------------------------------------------------------------


def test_an_id_that_another_app_took_is_a_conflict_on_record(
    app: Perdure, backend: MemoryBackend
) -> None:
    with Perdure(backend=backend, name="other", local_worker=False) as other:
        other.workflow(name="child")(lambda: 1).options(id="taken").start()

    @app.workflow(name="child")
    def child() -> int:
        return 1

    def main() -> str:
        try:
            child.options(id="taken").start()
        except StartConflict as error:
            return str(error)
        return "started"

    handle = app.workflow(name="main")(main).options(id="w").start()
    run_until_idle(app)
    assert "by the app 'other', which shares this database" in handle.result(1)
    assert app.verify("w").finished


def test_an_id_that_is_taken_between_the_look_and_the_commit(
    app: Perdure, backend: MemoryBackend
) -> None:
    """The commit refuses all of it; what is there now decides, and is what is on record."""
    commit = backend.commit

    def racing(transitions: Any) -> Any:
        if any(transition.children for transition in transitions):
            backend.commit = commit  # type: ignore[method-assign]
            elsewhere = contextvars.Context()  # not the workflow's own doing
            elsewhere.run(
                lambda: child.options(id=transitions[0].children[0].invocation_id).start(2)
            )
        return commit(transitions)

    @app.workflow(name="child")
    def child(number: int) -> int:
        return number

    def main(number: int) -> Any:
        wf.random()
        try:
            return child.options(id=f"c{number}").start(number).result()
        except StartConflict as error:
            return type(error).__name__

    flow = app.workflow(name="main")(main)
    for number, expected in ((1, "StartConflict"), (2, 2)):
        backend.commit = racing  # type: ignore[method-assign]
        handle = flow.options(id=f"w{number}").start(number)
        run_until_idle(app)
        assert handle.result(1) == expected
        journal = [entry.kind for entry in backend.read_journal(handle.key)]
        assert journal.count("start") == 1
        assert app.verify(f"w{number}").finished


def take(app: Perdure, main: Any, taken: Any) -> Any:
    """Start it, take the id that it will derive, and run an attempt."""
    flow = app.workflow(name="main")(main)
    handle = flow.options(id="w").start()
    record = app.runtime.backend.read("w")
    assert record is not None

    @app.task(name="squatter")
    def squatter() -> None:
        return None

    squatter.options(id=taken(record.seed)).start()
    while handle.status is S.READY:
        step(app)
    return handle


def test_a_derived_id_that_is_taken_is_a_conflict_of_a_queued_call(app: Perdure) -> None:
    @app.task(name="queued", queue="slow")
    def queued() -> int:
        return 1

    def main() -> str:
        try:
            queued()
        except StartConflict:
            return "conflict"
        return "called"

    handle = take(app, main, lambda seed: derive_id(seed, "start", "", "1"))
    assert handle.result(1) == "conflict"
    assert app.verify("w").finished


def test_a_derived_id_of_a_memo_that_is_taken_is_our_bug(app: Perdure) -> None:
    @app.task(name="work")
    def work() -> int:
        return 1

    @app.workflow(name="asked")
    def asked() -> int:
        return 1

    call_ids: list[str] = []

    def main() -> Any:
        return wf.execute_task(work)

    app.workflow(name="first")(main).options(id="first").start()
    run_until_idle(app)
    memos = app.runtime.backend.read_journal(InvocationKey("first", 1))
    call_ids += [e.key.removeprefix("task_invocation:") for e in memos if e.kind == "memo"]
    handle = take(app, main, lambda seed: derive_id(seed, "memo", call_ids[0]))
    assert handle.status is S.PARKED
    record = app.runtime.backend.read("w")
    assert record is not None
    assert record.reason.startswith("InternalError: The derived id of 'task_invocation:")


# --- another code --------------------------------------------------------------------------------


def test_control_is_compared(memory_store: Store) -> None:
    app = memory_store.app(virtual=True, local_worker=False)
    reasons = ["one"]

    @app.workflow(name="child")
    def child() -> None:
        wf.receive("never")

    @app.workflow(name="main")
    def main() -> None:
        handle = child.options(id="c").start()
        handle.cancel(reasons[0])
        wf.sleep(50)

    main.options(id="w").start()
    run_until_idle(app)
    reasons[0] = "another"
    memory_store.env.advance(100)
    (attempt,) = step(app)
    assert isinstance(attempt.error, Divergence)
    assert "other arguments are given now" in str(attempt.error)


def test_forgotten_undos_and_refused_messages_replay(memory_store: Store) -> None:
    app = memory_store.app(virtual=True, local_worker=False)
    undone: list[str] = []

    @app.task(name="undo")
    def undo() -> None:
        undone.append("it")

    @app.workflow(name="main")
    def main() -> str:
        wf.compensate(undo)
        wf.forget_compensations()
        started = undo.start()
        try:
            started.send("m", 1)
            told = "sent"
        except OperationRefused as error:
            told = str(error)
        wf.sleep(50)
        raise ValueError(told)

    handle = main.options(id="w").start()
    run_until_idle(app)
    memory_store.env.advance(100)
    run_until_idle(app)
    with pytest.raises(ValueError, match="Only workflows receive messages"):
        handle.result(1)
    assert undone == ["it"], "as it was started, and not as it was registered"


def test_who_asked_what_became_of_a_call_must_be_there_to_replay(memory_store: Store) -> None:
    """The journal says that a task was asked, and the code names none any more."""

    def with_task(asked: bool) -> Perdure:
        app = memory_store.app(virtual=True, local_worker=False)

        @app.task(name="find")
        def find() -> str:
            return "found"

        @app.task(name="pay", delivery="at_most_once", on_uncertain=find if asked else None)
        def pay() -> str:
            app.runtime.leases.forget(Holding(KEY, 1))  # it dies here, for what it will record
            return "paid"

        @app.workflow(name="main")
        def main() -> str:
            result = pay()
            wf.sleep(50)
            return result

        main.options(id="w").start()
        return app

    first = with_task(asked=True)
    step(first)
    memory_store.env.advance(100)
    again = with_task(asked=True)
    run_until_idle(again)
    assert "task" in kinds(again)
    memory_store.env.advance(100)
    changed = with_task(asked=False)
    (attempt,) = step(changed)
    assert isinstance(attempt.error, Divergence)
    assert "it is not known what became of task" in str(attempt.error)


# --- heartbeats, leases, rows --------------------------------------------------------------------


class Caller:
    """As much of an attempt as its bodies need."""

    deadline: int | None = None

    def __init__(self, app: Perdure) -> None:
        self.runtime, self.record = app.runtime, claimed(app)
        self.ledger = Ledger(app.runtime, self.record, [])
        self.journal = self.ledger.journal


def test_who_has_no_lease_tells_nothing(app: Perdure) -> None:
    caller = Caller(app)
    key = caller.record.key
    keepers = (TaskKeeper(app.runtime, caller.record), CallKeeper(caller, key, ""))
    for keeper in keepers:
        assert keeper.tell(b"1") == ""
    assert set(app.runtime.backend.read_data(key)) == {HEARTBEAT, f"{HEARTBEAT}:"}
    app.runtime.leases.lose(Holding(key, caller.record.epoch))
    for keeper in keepers:
        assert keeper.tell(b"2") == LEASE_LOST
        assert keeper.load() == b"1"


def test_a_heartbeat_of_open_outcome_behind_other_commits_is_told_again(
    app: Perdure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refusal is of the head that it was sent with; the lease is held still."""
    caller = Caller(app)
    keeper = CallKeeper(caller, caller.record.key, "")
    submit, stale = app.runtime.committer.submit, [Refusal.STALE]

    def late(transition: Transition) -> Any:
        return stale.pop() if stale else submit(transition)

    monkeypatch.setattr(app.runtime.committer, "submit", late)
    assert keeper.tell(b"1") == ""
    assert keeper.load() == b"1"


def test_the_row_of_another_invocation_is_not_run(app: Perdure) -> None:
    record = claimed(app)
    app.runtime.check_identity(record)
    swapped = msgspec.structs.replace(record, seed=b"another's seed".rjust(32, b"-"))
    with pytest.raises(JournalCorrupted, match="leads to the arguments of another one"):
        app.runtime.check_identity(swapped)


def test_a_damaged_note_parks_a_task_that_was_left_open(
    app: Perdure, backend: MemoryBackend
) -> None:
    @app.task(name="open", completes_outside=True)
    def leave() -> Any:
        return wf.complete_later()

    leave.options(id="w").start()
    (first,) = step(app)
    assert first.error is None
    backend._data[KEY][LEFT_OPEN] = b"["
    backend._rows[KEY] = msgspec.structs.replace(backend._rows[KEY], state=S.READY)
    (attempt,) = step(app)
    assert isinstance(attempt.error, JournalCorrupted)
    assert app.invocation("w").status is S.PARKED


# --- at most once --------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [True, False])
def test_a_body_that_is_late_may_have_had_its_effect(app: Perdure, asked: bool) -> None:
    """The time of a started task was over while its body ran on; nobody knows what it does yet."""
    go = threading.Event()

    @app.task(name="find")
    def find() -> str:
        return "found"

    @app.task(
        name="pay", delivery="at_most_once", on_uncertain=find if asked else None, timeout=0.01
    )
    def pay() -> str:
        assert go.wait(LONG)
        return "paid"

    handle = pay.options(id="w").start()
    (attempt,) = step(app)
    assert attempt.give_back(), "its lease runs out: that it may have run is on record so"
    if asked:
        assert handle.status is S.RUNNING, "the claim after this one asks"
    else:
        assert handle.status is S.FAILED
    go.set()


# --- cycles --------------------------------------------------------------------------------------


def suspended_cycle(app: Perdure, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that were suspended at the same moment: neither saw the other."""

    @app.workflow(name="one")
    def one() -> Any:
        try:
            return two.options(id="two")()
        except WaitCycle as error:
            return str(error)

    @app.workflow(name="two")
    def two() -> Any:
        return one.options(id="one")()

    with monkeypatch.context() as patch:
        patch.setattr(stuck, "_cycle", lambda *_: None)
        one.options(id="one").start()
        run_until_idle(app)


def test_one_of_two_that_were_suspended_at_once_is_told_by_a_letter(
    app: Perdure, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    suspended_cycle(app, monkeypatch)
    record = app.runtime.backend.read("one")
    assert record is not None
    two = InvocationKey("two", 1)
    for _ in range(2):  # told twice, it is one letter
        stuck.look_for_cycle(app.runtime, record, record.head, (two,))
    assert caplog.text.count("one waits for itself") == 1
    assert len(app.runtime.backend.read_inbox(record.key)) == 1
    run_until_idle(app)
    told = app.invocation("one").result(1)
    assert told.startswith("Workflow 'one' waits for the end of 'two', which waits for 'one'")
    assert app.invocation("two").result(1) == told


def test_a_look_for_a_cycle_that_fails_is_told_and_forgotten(
    app: Perdure, backend: MemoryBackend, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    suspended_cycle(app, monkeypatch)
    record = backend.read("one")
    assert record is not None

    def away(*_: Any, **__: Any) -> Any:
        raise BackendUnavailable("away")

    monkeypatch.setattr(backend, "read_journal", away)
    two = InvocationKey("two", 1)
    assert stuck.end_of_cycle(app.runtime, record.key, (two,), 5) is None
    stuck.look_for_cycle(app.runtime, record, record.head, (two,))
    assert caplog.text.count("it was not found out whether one waits for itself: away") == 2
    assert backend.read_inbox(record.key) == []


def test_two_ways_to_one_workflow_are_one(
    app: Perdure, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """`top` waits for both of the others, who wait for it: each is looked at once."""

    @app.workflow(name="top")
    async def top() -> Any:
        handles = [low.options(id=f"low{n}").start(n) for n in (1, 2)]
        try:
            return await asyncio.gather(*handles)
        except WaitCycle:
            return "told"

    @app.workflow(name="low")
    def low(number: int) -> Any:
        if number == 1:
            return low.options(id="low2").start(2).result()
        return top.options(id="top").start().result()

    handle = top.options(id="top").start()
    run_until_idle(app)
    assert any("waits for itself" in record.message for record in caplog.records)
    assert {app.invocation(n).status for n in ("top", "low1", "low2")} <= {S.COMPLETED, S.FAILED}
    del handle


# --- branches that end as they are cancelled -----------------------------------------------------


def in_sync(child: Any) -> Any:
    handle = child.options(id="c").start()

    def z() -> Any:
        return wf.gather(handle.result)

    def a() -> Any:
        wf.sleep(1)
        return handle.result()

    return wf.select(y=lambda: wf.gather(z), a=a).key


async def in_async(child: Any) -> Any:
    handle = child.options(id="c").start()

    async def waits() -> Any:
        return await handle

    async def z() -> Any:
        return await wf.gather_async(waits)

    async def y() -> Any:
        return await wf.gather_async(z)

    async def a() -> Any:
        await wf.sleep(1)
        return await handle

    return (await wf.select_async(y=y, a=a)).key


@pytest.mark.parametrize("code", [in_sync, in_async])
def test_a_branch_whose_last_one_ends_as_it_is_given_up(memory_store: Store, code: Any) -> None:
    """`y` waits for `z`, which ends in the same turn in which who selected gives `y` up."""
    app = memory_store.app(virtual=True, local_worker=False)

    @app.workflow(name="child")
    def child() -> int:
        wf.sleep(10)
        return 1

    if code is in_sync:
        main = app.workflow(name="main")(lambda: in_sync(child))
    else:

        @app.workflow(name="main")
        async def main() -> Any:
            return await in_async(child)

    handle = main.options(id="w").start()
    for _ in range(6):
        run_until_idle(app)
        memory_store.env.advance(5)
    assert handle.result(1) == "a"
    assert app.verify("w").finished


def test_a_cancellation_reaches_the_branches_that_have_not_ended(memory_store: Store) -> None:
    app = memory_store.app(virtual=True, local_worker=False)
    seen: list[str] = []

    @app.workflow(name="main")
    def main() -> None:
        def slow() -> None:
            try:
                wf.sleep(3600)
            except wf.Cancelled:
                seen.append("slow")
                raise

        wf.gather(lambda: seen.append("quick"), slow)

    handle = main.options(id="w").start()
    run_until_idle(app)
    handle.cancel("enough")
    run_until_idle(app)
    assert handle.status is S.CANCELLED
    assert seen[-1] == "slow"


def test_nobody_waits_in_a_dropped_frame(app: Perdure) -> None:
    def main() -> None:
        context = current_workflow("this test")
        attempt: Any = context.attempt
        branches = attempt.branches(context)
        attempt.halt(None)
        branches.wait_in(Pause(branches.current))

    app.workflow(name="main")(main).options(id="w").start()
    (attempt,) = step(app)
    assert attempt.error is None
    assert (app.invocation("w").status, kinds(app)) == (S.RUNNING, [])


def test_an_interrupt_while_a_branch_has_control_waits_until_it_gives_it_back(
    app: Perdure,
) -> None:
    ended: list[str] = []

    def main() -> None:
        context = current_workflow("this test")
        attempt: Any = context.attempt
        branches = attempt.branches(context)
        back, interrupts = branches._back, ["once"]

        class Interrupted:
            def wait(self) -> None:
                if interrupts:
                    interrupts.clear()
                    raise KeyboardInterrupt
                back.wait()

            def __getattr__(self, name: str) -> Any:
                return getattr(back, name)

        branches._back = Interrupted()

        def branch() -> None:
            try:
                wf.sleep(3600)
            finally:
                ended.append("branch")

        wf.gather(branch)

    app.workflow(name="main")(main).options(id="w").start()
    step(app)
    assert ended == ["branch"]
    assert app.invocation("w").status is S.RUNNING


# --- heartbeats ----------------------------------------------------------------------------------


def test_a_heartbeat_that_others_are_always_before_is_left_to_the_next_one(
    app: Perdure, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[object] = []

    def late(*given: object) -> Refusal:
        tries.append(given)
        return Refusal.WRONG_HEAD

    @app.task(name="pay")
    def pay() -> str:
        with monkeypatch.context() as patch:
            patch.setattr(heartbeats, "_put", late)
            wf.heartbeat("at the till")
        assert app.runtime.backend.read_data(KEY) == {}
        return "paid"

    @app.workflow(name="main")
    def main() -> str:
        return pay()

    handle = main.options(id="w").start()
    with caplog.at_level(logging.INFO, "perdure.engine"):
        run_until_idle(app)
    assert handle.result(LONG) == "paid"
    assert len(tries) == heartbeats.TRIES_MAX
    assert "was not recorded: 10 commits of its workflow came in between" in caplog.text


def test_what_goes_wrong_behind_an_async_body_is_its_outcome(
    app: Perdure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it is, the workflow hears of it and does not wait for ever."""

    def fail(_: object) -> None:
        raise ZeroDivisionError("behind the body")

    monkeypatch.setattr(TaskContext, "has_untold", True)
    monkeypatch.setattr(bodies, "tell", fail)

    @app.task(name="pay")
    async def pay() -> None:
        raise ValueError("no money")

    @app.workflow(name="main")
    async def main() -> None:
        await pay()

    app.start_worker()
    with pytest.raises(ZeroDivisionError, match="behind the body"):
        main.options(id="w").start().result(LONG)


# --- what several threads do at once -------------------------------------------------------------


def test_two_that_begin_to_listen_at_once_have_one_ear() -> None:
    asked: list[object] = []

    class Listened(MemoryBackend):
        def hints(self, heard: Any) -> None:
            asked.append(heard)

    hearing = Hearing(Listened(), Hub())

    class Slow:
        """A lock that another one has until it has begun."""

        def __enter__(self) -> None:
            hearing._lock = lock
            hearing.begin()

        def __exit__(self, *_: object) -> None:
            pass

    lock = hearing._lock
    hearing._lock = Slow()  # type: ignore[assignment]
    hearing.begin()
    assert len(asked) == 1
