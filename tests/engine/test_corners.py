"""Attempts at the corners of their code: signals that nobody sent, faults in a row, lost races."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from perdure import InvocationState, Perdure, wf
from perdure.backends.base import CommitResult, Refusal, Release, Transition
from perdure.backends.memory import MemoryBackend
from perdure.core.entries import EntryKind
from perdure.core.identity import InvocationKey
from perdure.core.journal import HELD_MAX
from perdure.engine.context import current_workflow
from perdure.engine.effects import MayBegin, RunBody, Wait, WaitAny
from perdure.engine.ledger import settle
from perdure.errors import (
    BackendUnavailable,
    CommitUnknown,
    Divergence,
    InternalError,
    LeaseLost,
    Suspended,
    WrongColour,
)
from tests.support.stores import Store, claim, run_until_idle, step

KEY = InvocationKey("w", 1)
S = InvocationState


class Failing(MemoryBackend):
    """Fails the commits that the test chooses. `after`: they happened all the same."""

    def __init__(self) -> None:
        super().__init__()
        self.fails: Callable[[Transition], bool] = lambda _: False
        self.error: Exception = BackendUnavailable("away")
        self.after = False

    def commit(self, transitions: Sequence[Transition]) -> list[CommitResult]:
        if not any(map(self.fails, transitions)):
            return super().commit(transitions)
        if self.after:
            super().commit(transitions)
        raise self.error


@pytest.fixture
def backend() -> Failing:
    return Failing()


@pytest.fixture
def app(backend: Failing) -> Any:
    with Perdure(backend=backend, local_worker=False, grace=0.0, lease=0.5) as made:
        yield made


def run(app: Perdure, main: Any) -> Any:
    """Start it and run one attempt, which is given."""
    app.workflow(name="main")(main).options(id="w").start()
    (attempt,) = step(app)
    return attempt


def handle(app: Perdure) -> Any:
    return app.invocation("w")


def state(app: Perdure) -> InvocationState:
    record = app.runtime.backend.read("w")
    assert record is not None
    return record.state


def kinds(app: Perdure) -> list[str]:
    return [entry.kind for entry in app.runtime.backend.read_journal(KEY)]


# --- what a user's code raises -------------------------------------------------------------------


def leave_by(error: BaseException) -> tuple[Any, Any]:
    def main() -> None:
        raise error

    async def amain() -> None:
        await asyncio.sleep(0)
        raise error

    return main, amain


@pytest.mark.parametrize("colour", [0, 1])
def test_a_signal_of_ours_that_nobody_sent_parks_the_workflow(app: Perdure, colour: int) -> None:
    """Taken for a suspension, it would wait for ever; taken for a failure, it would be recorded."""
    attempt = run(app, leave_by(Suspended("of the user's own"))[colour])
    assert isinstance(attempt.error, InternalError)
    assert "without its cause" in str(attempt.error)
    assert (state(app), kinds(app)) == (S.PARKED, [])


@pytest.mark.parametrize("colour", [0, 1])
@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_an_exit_of_a_workflow_is_its_failure(
    app: Perdure, colour: int, error: BaseException
) -> None:
    run(app, leave_by(error)[colour])
    assert (state(app), kinds(app)) == (S.FAILED, ["end"])
    record = app.runtime.backend.read("w")
    assert record is not None
    assert record.outcome is not None
    assert type(error).__name__.encode() in record.outcome


def test_a_cancellation_in_a_record_is_recorded_as_what_it_raised(app: Perdure) -> None:
    def give_up() -> None:
        raise Suspended("of the user's own")

    attempt = run(app, lambda: wf.record("note", give_up))
    assert isinstance(attempt.error, InternalError)
    assert (state(app), kinds(app)) == (S.PARKED, []), "a signal of ours is no value"


# --- faults of the engine and of the store -------------------------------------------------------


def test_a_bug_of_ours_parks_this_workflow_and_no_other(
    app: Perdure, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr("perdure.engine.attempt.Attempt.conclude", broken)
        attempt = run(app, lambda: 1)
    assert isinstance(attempt.error, InternalError)
    record = app.runtime.backend.read("w")
    assert record is not None
    assert record.state is S.PARKED
    assert record.reason == "InternalError: A bug of perdure: ZeroDivisionError: a bug"
    assert "met a bug of perdure" in caplog.text
    handle(app).resume()
    run_until_idle(app)
    assert handle(app).result(1) == 1


@pytest.mark.parametrize("kind", ["workflow", "task"])
def test_a_lease_that_cannot_be_given_back_is_left_to_run_out(
    app: Perdure, backend: Failing, kind: str
) -> None:
    backend.fails = lambda _: True
    if kind == "workflow":
        attempt = run(app, lambda: wf.sleep(1))
    else:
        app.task(name="main")(lambda: 1).options(id="w").start()
        (attempt,) = step(app)
    assert isinstance(attempt.error, BackendUnavailable)
    assert not attempt.give_back()
    assert state(app) is S.RUNNING
    backend.fails = lambda _: False
    assert attempt.give_back()
    assert state(app) is S.READY
    assert attempt.give_back(), "there is nothing to give back any more"
    assert state(app) is S.READY


def test_draws_that_cannot_be_made_durable_end_the_attempt(app: Perdure, backend: Failing) -> None:
    drawn: list[float] = []

    def main() -> int:
        drawn.clear()
        drawn.extend(wf.random() for _ in range(HELD_MAX + 10))
        return len(drawn)

    backend.fails = lambda each: any(entry.kind == EntryKind.DRAWS for entry in each.entries)
    attempt = run(app, main)
    assert isinstance(attempt.error, BackendUnavailable)
    assert (state(app), kinds(app)) == (S.READY, [])
    assert len(drawn) == HELD_MAX, "it was told at the first one more than may be held back"
    backend.fails = lambda _: False
    run_until_idle(app)
    assert handle(app).result(1) == HELD_MAX + 10


@pytest.mark.parametrize("made", [True, False])
def test_after_a_commit_of_open_outcome_the_lease_is_given_back_where_the_journal_stands(
    app: Perdure, backend: Failing, made: bool
) -> None:
    """Whether it happened is not known to the attempt; its head may be one behind the store's."""
    opens = [True]

    def first_with_entries(each: Transition) -> bool:
        return bool(each.entries) and bool(opens)

    def main() -> str:
        wf.record("note", lambda: "noted")
        wf.sleep(3600)
        return "done"

    backend.fails, backend.error, backend.after = first_with_entries, CommitUnknown("open"), made
    real_read = backend.read

    def away(*_: Any, **__: Any) -> Any:
        raise BackendUnavailable("away")

    app.workflow(name="main")(main).options(id="w").start()
    runtime = app.runtime
    settle = runtime.committer._settle

    def unsettled(transition: Transition) -> CommitResult:
        if not transition.entries:
            return settle(transition)
        opens.clear()
        backend.read = away  # type: ignore[method-assign]
        try:
            return settle(transition)
        finally:
            backend.read = real_read  # type: ignore[method-assign]

    runtime.committer._settle = unsettled  # type: ignore[method-assign]
    (attempt,) = step(app)
    assert isinstance(attempt.error, CommitUnknown)
    assert state(app) is S.READY
    assert bool(kinds(app)) == made
    run_until_idle(app)
    assert kinds(app) == ["record", "sleep"], "and nothing of it is there twice"


def test_who_finds_another_owner_as_it_gives_back_leaves_it_alone(
    app: Perdure, backend: Failing
) -> None:
    """Its commit was refused for its head: that of the row, which another attempt has by now."""
    app.workflow(name="main")(lambda: wf.sleep(1)).options(id="w").start()
    (record,) = claim(app).records
    told: list[Refusal] = []
    read, locks = backend.read, list[bool]()

    def locking(*given: Any, locked: bool = False) -> Any:
        locks.append(locked)
        return read(*given, locked=locked)

    backend.read = locking  # type: ignore[method-assign, assignment]

    def refuse(transition: Transition) -> CommitResult:
        told.append(Refusal.WRONG_HEAD)
        return Refusal.WRONG_HEAD

    app.runtime.committer.submit = refuse  # type: ignore[method-assign]
    with pytest.raises(LeaseLost):  # of the same epoch: at the head that it found, refused again
        settle(app.runtime, record, None, Release())
    assert len(told) == 2
    (later,) = claim(app, owner="another", dead_owners=frozenset({"a test"})).records
    assert later.epoch == record.epoch + 1
    with pytest.raises(LeaseLost):
        settle(app.runtime, record, None, Release())
    assert len(told) == 3, "what another owner has is not asked for again"
    assert locks == [True, True], "a look that waits for the writes in flight"
    del backend.read
    assert state(app) is S.RUNNING


def test_a_row_names_the_seal_of_its_last_entry(app: Perdure) -> None:
    run(app, lambda: [wf.record("note", lambda: 1), wf.sleep(3600)])
    record = app.runtime.backend.read("w")
    assert record is not None
    entries = app.runtime.backend.read_journal(KEY)
    assert (record.head, record.head_hash) == (len(entries), entries[-1].checksum)
    assert {entry.epoch for entry in entries} == {record.epoch} == {1}
    assert {len(entry.token) for entry in entries} == {16}
    assert record.state is S.WAITING, "it was given back where the journal stands"


# --- what the colours refuse ---------------------------------------------------------------------


NO_CALL: Any = None


def blocking(effect: Any) -> Any:
    def flow() -> Any:
        yield effect

    return flow()


@pytest.mark.parametrize(
    "effect", [RunBody(NO_CALL, ("", 1), 0), WaitAny((Wait(due=1),))], ids=["body", "wait"]
)
def test_nothing_may_block_an_async_workflow(app: Perdure, effect: Any) -> None:
    async def main() -> None:
        context = current_workflow("this test")
        context.perform(blocking(effect))

    attempt = run(app, main)
    assert isinstance(attempt.error, InternalError)
    assert "was to block an async workflow" in str(attempt.error)
    assert state(app) is S.PARKED


def test_nothing_may_hold_an_async_workflow_up(app: Perdure) -> None:
    async def main() -> None:
        current_workflow("this test").perform(blocking(MayBegin()))

    attempt = run(app, main)
    assert isinstance(attempt.error, InternalError)
    assert state(app) is S.PARKED


def test_nothing_is_awaited_in_a_sync_workflow(app: Perdure) -> None:
    def main() -> None:
        waiting = current_workflow("this test").perform_async(blocking(WaitAny((Wait(due=1),))))
        waiting.send(None)

    run(app, main)
    assert state(app) is S.FAILED
    with pytest.raises(WrongColour, match="cannot await"):
        handle(app).result(1)


# --- divergences in async workflows --------------------------------------------------------------


@pytest.mark.parametrize("now", ["draw", "command", "record", "timer"])
def test_another_code_of_an_async_workflow_is_parked_wherever_it_differs(
    memory_store: Store, now: str
) -> None:
    app = memory_store.app(virtual=True, local_worker=False)
    changed: list[str] = []

    @app.task(name="work")
    def work(number: int) -> int:
        return number

    async def branch() -> int:
        if changed == ["draw"]:
            wf.random()
        result = await work.acall(1)
        if not changed:
            wf.random()
        return result

    @app.workflow(name="main")
    async def main() -> int:
        if changed == ["command"]:
            await work.acall(7)
        if changed == ["record"]:
            wf.record("novel", lambda: 1)
        if changed == ["timer"]:
            await asyncio.sleep(7)
        first = await asyncio.create_task(branch())
        await wf.sleep(50)
        return first

    main.options(id="w").start()
    run_until_idle(app)
    before = kinds(app)
    changed.append(now)
    memory_store.env.advance(100)
    (attempt,) = step(app)
    assert isinstance(attempt.error, Divergence)
    assert (state(app), kinds(app)) == (S.PARKED, before)
    changed.clear()
    handle(app).resume()
    run_until_idle(app)
    assert handle(app).result(1) == 1


def test_a_branch_that_ends_otherwise_than_on_record_parks_the_workflow(
    memory_store: Store,
) -> None:
    app = memory_store.app(virtual=True, local_worker=False)
    draws = [2]

    async def branch() -> None:
        wf.record("note", lambda: 1)
        for _ in range(draws[0]):
            wf.random()

    @app.workflow(name="main")
    async def main() -> str:
        await asyncio.create_task(branch())
        await wf.sleep(50)
        return "done"

    main.options(id="w").start()
    run_until_idle(app)
    before = kinds(app)
    draws[0] = 1
    memory_store.env.advance(100)
    (attempt,) = step(app)
    assert isinstance(attempt.error, Divergence)
    assert "ended as 'returned' after the draws {'random': 2}" in str(attempt.error)
    assert (state(app), kinds(app)) == (S.PARKED, before)
