"""`wf.compensate`: what is undone when, in which order, what is told, and what is refused."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from perdure import InvocationState, Perdure, Retry, wf
from perdure.cli.timeline import timeline
from perdure.core.identity import InvocationKey
from perdure.errors import (
    ConfigurationError,
    InvocationCancelled,
    NotInWorkflow,
    RegistrationError,
    SerializationError,
)
from tests.support.stores import LONG, run_until_idle, step

KEY = InvocationKey("main", 1)


class Undoing:
    """Tasks that note what they undo."""

    def __init__(self, app: Perdure) -> None:
        self.app = app
        self.done: list[str] = []

        @app.task(name="undo")
        def undo(what: str) -> None:
            self.done.append(what)

        @app.task(name="fails", retry=Retry(attempts=2, wait_initial=0.0, jitter=0.0))
        def fails(what: str) -> None:
            self.done.append(f"tried {what}")
            raise ValueError(f"no {what}")

        self.undo, self.fails = undo, fails

    def start(self, body: Any) -> Any:
        return self.app.workflow(name="main")(body).options(id=KEY.invocation_id).start()

    def run(self, body: Any) -> Any:
        handle = self.start(body)
        run_until_idle(self.app)
        return handle


def names(app: Perdure) -> list[tuple[str, str]]:
    return [(entry.kind, entry.name) for entry in app.runtime.backend.read_journal(KEY)]


def test_newest_first_and_one_that_fails_does_not_stop_the_others(store):
    undoing = Undoing(store.app())
    undo, fails = undoing.undo, undoing.fails

    def main() -> None:
        wf.compensate(undo, "one")
        wf.compensate(fails, "two")
        wf.compensate(undo, what="three")
        raise KeyError("lost")

    handle = undoing.run(main)
    assert undoing.done == ["three", "tried two", "tried two", "one"]
    assert handle.status is InvocationState.FAILED
    error = handle.exception()
    assert isinstance(error, KeyError)
    assert error.__notes__ == [
        'Undone: undo({"what":"three"}), undo({"what":"one"}).',
        'Not undone: fails({"what":"two"}) (ValueError: no two).',
    ]
    with pytest.raises(KeyError) as raised:
        handle.result(LONG)
    assert raised.value.__notes__ == error.__notes__
    assert names(undoing.app) == [
        *[("compensate", name) for name in ("undo", "fails", "undo")],
        *[("task", "undo"), ("attempt", "fails"), ("task", "fails"), ("task", "undo")],
        ("end", "failed"),
    ]
    undoing.app.verify("main")


def test_an_undo_may_be_a_workflow(store):
    app = store.app(virtual=True, local_worker=False)
    undoing = Undoing(app)

    @app.workflow(name="give_back")
    def give_back(what: str) -> str:
        wf.sleep(60)
        undoing.undo(what)
        if what == "bad":
            raise ValueError("not today")
        return what

    def main() -> None:
        for what in ("one", "bad"):
            wf.compensate(give_back.options(deadline="inherit"), what)
        wf.compensate(give_back.options(timeout=1), "late")
        wf.receive("never")

    app.workflow(name="main", timeout=10)(main).options(id=KEY.invocation_id).start()
    handle = app.invocation(KEY.invocation_id)
    run_until_idle(app)
    for _ in range(4):
        handle.cancel()  # also while it undoes, which changes nothing
        store.env.advance(60)
        run_until_idle(app)
    assert undoing.done == ["bad", "one"]
    error = handle.exception()
    assert isinstance(error, InvocationCancelled)
    undone, left = error.__notes__
    assert undone == 'Undone: give_back({"what":"one"}).'
    assert left.startswith('Not undone: give_back({"what":"late"}) (DeadlineReached: ')
    assert 'give_back({"what":"bad"}) (ValueError: not today).' in left
    states = {each.status for each in app.workflows(name="give_back")}
    assert states == {InvocationState.COMPLETED, InvocationState.FAILED, InvocationState.CANCELLED}
    assert app.verify("main").finished


def test_the_timeline_tells_of_it(memory_store):
    undoing = Undoing(memory_store.app())

    def main() -> None:
        wf.compensate(undoing.undo, "one")
        wf.forget_compensations()
        wf.compensate(undoing.undo, "two")
        raise KeyError("lost")

    undoing.run(main)
    lines = timeline(undoing.app.runtime.backend.read_journal(KEY))
    assert [(line.what, line.value) for line in lines][:4] == [
        ('compensate by undo(what="one")', ""),
        ("compensations", "forgotten"),
        ('compensate by undo(what="two")', ""),
        ('undo(what="two")', "null"),
    ]


def test_who_returns_is_not_undone(memory_store):
    undoing = Undoing(memory_store.app())

    def main() -> str:
        wf.compensate(undoing.undo, "one")
        return "well"

    assert undoing.run(main).result(LONG) == "well"
    assert undoing.done == []


def test_a_result_that_cannot_be_recorded_is_a_failure(memory_store):
    undoing = Undoing(memory_store.app())

    def main() -> object:
        wf.compensate(undoing.undo, "one")
        return object()

    with pytest.raises(SerializationError):
        undoing.run(main).result(LONG)
    assert undoing.done == ["one"]


def test_behind_the_point_of_no_return(memory_store):
    undoing = Undoing(memory_store.app())

    def main() -> None:
        wf.compensate(undoing.undo, "before")
        wf.forget_compensations()
        wf.compensate(undoing.undo, "after")
        raise KeyError

    undoing.run(main)
    assert undoing.done == ["after"]
    assert ("compensate", "compensations") in names(undoing.app)


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_cancelled_ones_are_undone_and_say_so(store, colour):
    undoing = Undoing(store.app())

    def main() -> None:
        wf.compensate(undoing.undo, "one")
        wf.receive("never")

    async def amain() -> None:
        wf.compensate(undoing.undo, "one")
        await wf.receive_async("never")

    handle = undoing.start(main if colour == "sync" else amain)
    step(undoing.app)
    handle.cancel("enough")
    run_until_idle(undoing.app)
    assert handle.status is InvocationState.CANCELLED
    assert undoing.done == ["one"]
    note = 'Undone: undo({"what":"one"}).'
    assert handle.exception().__notes__ == [note]
    with pytest.raises(InvocationCancelled) as raised:
        handle.result(LONG)
    assert raised.value.__notes__ == [note]


def notes_of(handle: Any) -> list[str]:
    """What is told of the end of this one, to whoever asks."""
    with pytest.raises(InvocationCancelled) as raised:
        handle.result(LONG)
    notes: list[str] = getattr(raised.value, "__notes__", [])
    assert getattr(handle.exception(), "__notes__", []) == notes
    return notes


def test_a_terminated_one_says_what_it_leaves_behind(store):
    app = store.app()
    undoing = Undoing(app)

    @app.workflow(name="main")
    def child() -> None:
        wf.compensate(undoing.undo, "forgotten")
        wf.forget_compensations()
        wf.compensate(undoing.undo, "one")
        wf.compensate(undoing.undo, "two")
        wf.compensate(undoing.undo, "two")
        undoing.undo("two")
        undoing.undo("other")
        wf.receive("never")

    @app.workflow(name="parent")
    def parent() -> list[str]:
        try:
            child.options(id=KEY.invocation_id)()
        except InvocationCancelled as error:
            return error.__notes__
        return []

    @app.workflow(name="nothing")
    def nothing() -> None:
        wf.receive("never")

    above, idle = parent.options(id="above").start(), nothing.options(id="idle").start()
    run_until_idle(app)
    handle = child.get(KEY.invocation_id)
    handle.terminate("enough")
    idle.terminate("enough")
    run_until_idle(app)
    assert notes_of(handle) == ['Not undone: undo({"what":"two"}), undo({"what":"one"}).']
    assert above.result(LONG) == notes_of(handle)
    assert undoing.done == ["two", "other"]
    assert notes_of(idle) == []


def test_of_what_it_began_to_undo_a_terminated_one_leaves_what_did_not_come_to_its_end(store):
    app = store.app()
    undoing = Undoing(app)

    @app.workflow(name="give_back")
    def give_back(what: str) -> None:
        if what == "refused":
            raise ValueError(what)
        if what == "slow":
            wf.receive("never")

    def main() -> None:
        for what in ("never begun", "slow", "refused", "quick"):
            wf.compensate(give_back, what)
        for undo in (undoing.fails, undoing.undo):
            wf.compensate(undo, "five")
        give_back.start("unrelated")
        raise KeyError("lost")

    handle = undoing.run(main)
    assert undoing.done == ["five", "tried five", "tried five"]
    handle.terminate("enough")
    run_until_idle(app)
    what = ("refused", "slow", "never begun")
    left = ['fails({"what":"five"})', *(f'give_back({{"what":"{each}"}})' for each in what)]
    assert notes_of(handle) == [f"Not undone: {', '.join(left)}."]
    ended = {each.status for each in app.workflows(name="give_back")}
    assert ended == {
        InvocationState.COMPLETED,
        InvocationState.FAILED,
        InvocationState.TERMINATED,
    }


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_a_cancellation_while_it_undoes_changes_nothing(memory_store, colour):
    app = memory_store.app()
    undoing = Undoing(app)

    @app.task(name="cancels")
    def cancels() -> None:
        undoing.done.append("cancelled")
        app.invocation("main").cancel()

    def register() -> None:
        wf.compensate(undoing.undo, "one")
        wf.compensate(undoing.undo.options(queue="far"), "two")
        wf.compensate(cancels)

    def main() -> None:
        register()
        raise KeyError("lost")

    async def amain() -> None:
        register()
        raise KeyError("lost")

    handle = undoing.run(main if colour == "sync" else amain)
    assert undoing.done == ["cancelled", "two", "one"]
    assert handle.status is InvocationState.FAILED
    app.verify("main")


def test_branches_are_undone_in_one_order(memory_store):
    app = memory_store.app()
    undoing = Undoing(app)

    @app.task(name="book")
    async def book(what: str) -> str:
        return what

    async def branch(what: str) -> None:
        wf.compensate(undoing.undo, what)
        await book(what)
        wf.compensate(undoing.undo, await book(what + what))

    async def main() -> None:
        await asyncio.gather(*(branch(what) for what in "abc"))
        raise KeyError

    undoing.run(main)
    assert sorted(undoing.done) == ["a", "aa", "b", "bb", "c", "cc"]
    assert undoing.done[-3:] == ["c", "b", "a"]
    registered = [name for kind, name in names(app) if kind == "compensate"]
    assert len(registered) == 6
    app.verify("main")


def test_the_exception_of_the_user_is_left_alone(memory_store):
    """It may be raised again and again, and would gather the notes of all runs."""
    undoing, error = Undoing(memory_store.app()), KeyError("one of its kind")

    def main() -> None:
        wf.compensate(undoing.undo, "one")
        raise error

    undoing.run(main)
    assert not hasattr(error, "__notes__")


def test_what_is_refused(memory_store):
    app = memory_store.app()
    undoing = Undoing(app)

    @app.workflow(name="child")
    def child() -> None:
        """Not to be called."""

    def main() -> list[str]:
        seen = []
        for thing, args in (
            (len, ()),
            (undoing.undo, (object(),)),
            (undoing.undo, ()),
            (child.options(on_existing="raise"), ()),
            (child.options(message=("a", 1)), ()),
        ):
            try:
                wf.compensate(thing, *args)  # type: ignore[arg-type] # refused
            except (
                ConfigurationError,
                RegistrationError,
                SerializationError,
                TypeError,
            ) as error:
                seen.append(type(error).__name__)
        return seen

    refused = ["RegistrationError", "SerializationError", "TypeError"]
    refused += ["ConfigurationError"] * 2
    assert undoing.run(main).result(LONG) == refused
    assert names(app) == [("end", "completed")]
    with pytest.raises(NotInWorkflow):
        wf.compensate(undoing.undo, "one")
    with pytest.raises(NotInWorkflow):
        wf.forget_compensations()
