"""`delivery="at_most_once"`: a body that may have run does not run again; who decides then."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from perdure import InvocationState, Perdure, Retry, wf
from perdure.core.entries import EntryKind
from perdure.core.identity import InvocationKey
from perdure.errors import (
    ConfigurationError,
    DeserializationError,
    OutcomeUnknown,
    RegistrationError,
)
from tests.support.stores import LEASE, LONG, run_until_idle, step

KEY = InvocationKey("main", 1)
NOW = Retry(attempts=3, wait_initial=0.0, jitter=0.0)


class Dies(BaseException):
    """Stands for the end of the process: the test lets nothing of the attempt go on."""


def start(app: Perdure, body: Any) -> Any:
    return app.workflow(name="main")(body).options(id=KEY.invocation_id).start()


def kinds(app: Perdure) -> list[str]:
    return [entry.kind for entry in app.runtime.backend.read_journal(KEY)]


def die_in_commit(app: Perdure, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the process of this app end instead of committing such an entry."""
    committer = app.runtime.committer
    submit = committer.submit

    def dying(transition: Any) -> Any:
        if any(entry.kind == kind for entry in transition.entries):
            raise Dies
        return submit(transition)

    monkeypatch.setattr(committer, "submit", dying)
    monkeypatch.setattr("perdure.engine.ledger.commit_outcome", lambda _, asked: dying(asked))


class Shop:
    """The same code in each process; `ran` is what happened outside."""

    def __init__(self, app: Perdure, ran: list[str], asked: bool) -> None:
        @app.task(name="find")
        def find(what: str) -> str:
            ran.append(f"find {wf.idempotency_key()}")
            return f"found {what}"

        @app.task(name="pay", delivery="at_most_once", on_uncertain=find if asked else None)
        def pay(what: str) -> str:
            ran.append(f"pay {wf.idempotency_key()}")
            return f"paid {what}"

        def main() -> str:
            try:
                return pay("a")
            except OutcomeUnknown as error:
                return f"unknown: {error}"

        async def amain() -> str:
            try:
                return await pay.acall("a")
            except OutcomeUnknown as error:
                return f"unknown: {error}"

        self.pay, self.main, self.amain = pay, main, amain


@pytest.mark.parametrize("colour", ["main", "amain"])
@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("last", ["began", "task"])
def test_after_a_crash_it_is_not_run_again(store, monkeypatch, colour, asked, last):
    """It dies with the announcement (nothing has run) or with the outcome (it has run)."""
    first, ran = store.app(virtual=True), list[str]()
    start(first, getattr(Shop(first, ran, asked), colour))
    with monkeypatch.context() as patch:
        die_in_commit(first, last, patch)
        with pytest.raises(Dies):
            step(first)
    store.env.advance(LEASE + 1)
    second = store.app(virtual=True)
    handle = start(second, getattr(Shop(second, ran, asked), colour))
    run_until_idle(second)
    result = handle.result(LONG)
    pays = [text.removeprefix("pay ") for text in ran if text.startswith("pay")]
    if last == "began":
        assert (result, len(pays)) == ("paid a", 1), "it was not announced, so it had not begun"
    elif asked:
        assert result == "found a"
        assert ran == [f"pay {pays[0]}", f"find {pays[0]}"], "one key for both"
    else:
        assert result.startswith("unknown: The body of at-most-once task 'pay' may have run")
        assert len(ran) == 1
    second.verify("main")
    assert kinds(second).count(EntryKind.BEGAN) == 1


def test_only_recorded_failures_are_retried(store):
    app, ran = store.app(), list[int]()

    @app.task(name="flaky", delivery="at_most_once", retry=NOW)
    def flaky() -> int:
        ran.append(1)
        if len(ran) < 3:
            raise ConnectionError("down")
        return len(ran)

    handle = start(app, lambda: flaky())
    run_until_idle(app)
    assert handle.result(LONG) == 3
    assert kinds(app) == ["began", "attempt"] * 2 + ["began", "task", "end"]


@pytest.mark.parametrize("body", ["sync", "async"])
def test_time_that_is_over_is_unknown_and_not_retried(memory_store, body):
    app, go, ran = memory_store.app(), threading.Event(), list[int]()

    @app.task(name="slow", delivery="at_most_once", retry=NOW, timeout=0.05)
    def slow() -> None:
        ran.append(1)
        go.wait(LONG)

    @app.task(name="aslow", delivery="at_most_once", retry=NOW, timeout=0.05)
    async def aslow() -> None:
        ran.append(1)
        await asyncio.sleep(LONG)

    handle = start(app, lambda: slow() if body == "sync" else aslow.call())
    run_until_idle(app)
    with pytest.raises(OutcomeUnknown, match=r"did not return within 0\.05"):
        handle.result(LONG)
    go.set()
    assert ran == [1]


@pytest.mark.parametrize("fits", [True, False])
def test_who_is_asked_may_want_other_types_and_fail(memory_store, fits):
    app, go = memory_store.app(), threading.Event()

    @app.task(name="find")
    def find(what: str) -> str:
        return f"found {what}"

    @app.task(name="count")
    def count(what: int) -> str:
        return f"found {what}"

    @app.task(
        name="pay",
        delivery="at_most_once",
        timeout=0.05,
        on_uncertain=find if fits else count,
    )
    def pay(what: str) -> str:
        go.wait(LONG)
        return what

    handle = start(app, lambda: pay("a"))
    run_until_idle(app)
    if fits:
        assert handle.result(LONG) == "found a"
    else:
        with pytest.raises(DeserializationError, match="count"):
            handle.result(LONG)
    go.set()
    app.verify("main")


def test_a_stop_before_the_announcement_leaves_it_certain(memory_store):
    """The worker stops while the body before it runs: the next one is not announced."""
    app, ran = memory_store.app(), list[str]()

    @app.task(name="stop")
    def stop() -> None:
        ran.append("stop")
        app.runtime.stopping.set()

    @app.task(name="pay", delivery="at_most_once")
    def pay() -> str:
        ran.append("pay")
        return "paid"

    handle = start(app, lambda: [stop(), pay()])
    step(app)
    assert ran == ["stop"]
    assert kinds(app) == ["task"]
    app.runtime.stopping.clear()
    run_until_idle(app)
    assert handle.result(LONG) == [None, "paid"]


def test_a_stop_after_the_announcement_comes_too_late(memory_store):
    app = memory_store.app()
    commit = app.runtime.backend.commit

    @app.task(name="pay", delivery="at_most_once")
    def pay() -> str:
        return "paid"

    def stopping(transitions: Any) -> Any:
        if any(entry.kind == "began" for asked in transitions for entry in asked.entries):
            app.runtime.stopping.set()
        return commit(transitions)

    app.runtime.backend.commit = stopping
    handle = start(app, lambda: pay())
    step(app)
    app.runtime.stopping.clear()
    assert kinds(app)[:2] == ["began", "task"]
    run_until_idle(app)
    assert handle.result(LONG) == "paid"


def test_a_body_that_had_no_thread_any_more_is_told_of(memory_store):
    """With a timeout it runs on another thread, where a stop that came first keeps it back."""
    app = memory_store.app()
    commit = app.runtime.backend.commit

    @app.task(name="pay", delivery="at_most_once", timeout=LONG)
    def pay() -> str:
        return "paid"

    def stopping(transitions: Any) -> Any:
        if any(entry.kind == "began" for asked in transitions for entry in asked.entries):
            app.runtime.stopping.set()
        return commit(transitions)

    app.runtime.backend.commit = stopping
    handle = start(app, lambda: pay())
    step(app)
    assert kinds(app) == ["began", "unbegun"]
    app.runtime.backend.commit = commit
    app.runtime.stopping.clear()
    run_until_idle(app)
    assert handle.result(LONG) == "paid"
    assert kinds(app) == ["began", "unbegun", "began", "task", "end"]


# --- started ------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [False, True])
def test_a_started_one_whose_lease_ran_out(store, asked):
    first, ran = store.app(virtual=True), list[str]()
    shop = Shop(first, ran, asked)
    handle = shop.pay.options(id="pay-1").start("a")
    first.runtime.bodies.run = dies
    with pytest.raises(Dies):
        step(first)
    store.env.advance(LEASE + 1)
    second = store.app(virtual=True)
    Shop(second, ran, asked)
    run_until_idle(second)
    if asked:
        assert handle.result(LONG) == "found a"
    else:
        assert handle.status is InvocationState.FAILED
        with pytest.raises(OutcomeUnknown, match="'pay'"):
            handle.result(LONG)
    assert not [text for text in ran if text.startswith("pay")]


def dies(*_: Any) -> Any:
    raise Dies


def test_who_asks_may_fail_and_ask_again(memory_store):
    """Its failures are retried by its own policy, and the body does not run in between."""
    app, ran = memory_store.app(virtual=True), list[str]()

    @app.task(name="find", retry=NOW)
    def find() -> str:
        ran.append("find")
        if len(ran) < 2:
            raise ConnectionError("down")
        return "found"

    @app.task(name="pay", delivery="at_most_once", on_uncertain=find)
    def pay() -> str:
        ran.append("pay")
        return "paid"

    handle = pay.start()
    run, app.runtime.bodies.run = app.runtime.bodies.run, dies
    with pytest.raises(Dies):
        step(app)
    app.runtime.bodies.run = run
    memory_store.env.advance(LEASE + 1)
    run_until_idle(app)
    assert ran == ["find", "find"]
    assert handle.result(LONG) == "found"


def test_it_is_never_dead(memory_store):
    """A dead one that is resumed has forgotten its crashes, and would run."""
    app = memory_store.app(virtual=True)
    handle = Shop(app, [], asked=True).pay.start("a")
    app.runtime.bodies.run = dies
    for _ in range(app.runtime.settings.crash_limit):
        with pytest.raises(Dies):
            step(app)
        memory_store.env.advance(LEASE + 1)
    run_until_idle(app)
    assert handle.status is InvocationState.FAILED
    assert isinstance(handle.exception(), OutcomeUnknown)


# --- bad input ----------------------------------------------------------------------------------


def test_what_is_refused():
    app = Perdure("memory://")

    @app.task
    def find(what: str) -> str:
        return what

    @app.task(queue="far")
    def far(what: str) -> str:
        return what

    def pay(what: str) -> str:
        return what

    def other(number: int) -> str:
        return str(number)

    def refused(function: Any = pay, **options: Any) -> str:
        with pytest.raises(RegistrationError) as caught:
            app.task(**options)(function)
        return str(caught.value)

    once = {"delivery": "at_most_once"}
    assert "contradict" in refused(**once, pure=True)
    assert "executor" in refused(**once, executor=list)
    assert "is no task" in refused(**once, on_uncertain=pay)
    assert "takes" in refused(other, **once, on_uncertain=find)
    assert "queue" in refused(**once, on_uncertain=far)
    assert "never left uncertain" in refused(on_uncertain=find)
    with pytest.raises(ConfigurationError, match="expected one of at_least_once"):
        app.task(delivery="exactly_once")(pay)  # type: ignore[call-overload] # refused
