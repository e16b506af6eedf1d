"""Tasks that are completed from outside, as users meet them; what goes wrong is told."""

import base64
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from perdure import InvocationState, Retry, wf
from perdure.backends.base import Stop
from perdure.core.lifecycle import TERMINAL
from perdure.errors import (
    AlreadyCompleted,
    ConfigurationError,
    InvalidToken,
    InvocationCancelled,
    InvocationEnded,
    NotInWorkflow,
    OperationRefused,
    RegistrationError,
    SerializationError,
    TaskTimeout,
)
from tests.support.stores import LONG, run_until_idle


@dataclass
class Decision:
    by: str
    day: date


def open_task(app, **options):
    """A task that is left open, and the tokens that its bodies got."""
    tokens: list[str] = []

    @app.task(name="ask", completes_outside=True, **options)
    def ask(text: str = "") -> Decision:
        tokens.append(wf.completion_token())
        return wf.complete_later()

    return ask, tokens


def caller(app, ask):
    @app.workflow(name="flow")
    def flow() -> Any:
        return ask("direct")

    return flow


def test_a_direct_call_waits_and_holds_nothing(store):
    app = store.app()
    ask, tokens = open_task(app)
    handle = caller(app, ask).start()
    run_until_idle(app)
    assert handle.status is InvocationState.WAITING
    (task,) = app.tasks()
    record = app.runtime.backend.read(task.invocation_id)
    assert (record.state, record.owner, record.lease_until) == (InvocationState.WAITING, "", None)
    app.complete(tokens[0], Decision("ada", date(2026, 1, 2)))
    assert handle.result(LONG) == Decision("ada", date(2026, 1, 2))
    assert len(tokens) == 1


def test_from_a_process_without_the_code(store):
    app = store.app()
    tokens = []

    @app.task(name="ask", completes_outside=True)
    async def ask() -> dict[str, int]:
        tokens.append(wf.completion_token())
        return wf.complete_later()

    handle = ask.start()
    run_until_idle(app)
    store.app().complete(tokens[0], {"a": 1})
    assert handle.result(LONG) == {"a": 1}


def test_failing(store):
    app = store.app()
    ask, tokens = open_task(app, raises=[KeyError], retry=Retry(attempts=5))
    handle = ask.start()
    run_until_idle(app)
    app.fail(tokens[0], KeyError("who"))
    with pytest.raises(KeyError, match="who"):
        handle.result(LONG)
    assert len(tokens) == 1, "what is said from outside is final"


def test_a_second_completion_names_the_first(store):
    app = store.app()
    ask, tokens = open_task(app)
    handle = ask.start()
    run_until_idle(app)
    first = Decision("ada", date(2026, 1, 2))
    app.complete(tokens[0], first)
    with pytest.raises(AlreadyCompleted, match="has completed already, with the very same") as told:
        app.complete(tokens[0], first)
    assert (told.value.same, told.value.state) == (True, "completed")
    assert told.value.finished_at == app.runtime.backend.read(handle.invocation_id).finished_at
    with pytest.raises(AlreadyCompleted, match="with another outcome") as told:
        app.complete(tokens[0], Decision("bob", date(2026, 1, 2)))
    assert not told.value.same
    with pytest.raises(AlreadyCompleted, match="has completed already"):
        app.fail(tokens[0], ValueError("late"))
    assert handle.result(LONG) == first


def test_after_a_failure(store):
    app = store.app()
    ask, tokens = open_task(app)
    ask.start()
    run_until_idle(app)
    app.fail(tokens[0], ValueError("no"))
    with pytest.raises(AlreadyCompleted, match="has failed with ValueError already"):
        app.complete(tokens[0], Decision("ada", date(2026, 1, 2)))


@pytest.mark.parametrize("how", ["cancel", "terminate"])
def test_what_was_cancelled_stays_so(store, how):
    app = store.app()
    ask, tokens = open_task(app)
    handle = ask.start()
    run_until_idle(app)
    getattr(handle, how)()
    with pytest.raises(InvocationEnded, match="nobody waits") as told:
        app.complete(tokens[0], Decision("ada", date(2026, 1, 2)))
    assert not isinstance(told.value, AlreadyCompleted)
    with pytest.raises(InvocationCancelled):
        handle.result(LONG)


def test_cancelling_the_caller_ends_the_open_task(store):
    app = store.app()
    ask, tokens = open_task(app)
    handle = caller(app, ask).start()
    run_until_idle(app)
    handle.cancel()
    run_until_idle(app)
    with pytest.raises(InvocationEnded):
        app.complete(tokens[0], Decision("ada", date(2026, 1, 2)))


def forged(token: str) -> list[Any]:
    prefix, _, text = token.partition("-")
    content = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    wrong = bytes([content[0] ^ 1]) + content[1:]
    other = content[:-1] + bytes([content[-1] + 1])  # the generation
    made = [base64.urlsafe_b64encode(each).decode().rstrip("=") for each in (wrong, other)]
    return [
        *(f"{prefix}-{each}" for each in made),
        token[:-3],
        token + "AAAA",
        token + "ä",
        token.upper(),
        text,
        f"{prefix}-",
        "",
        "x" * 1_000,
        None,
        7,
    ]


@pytest.mark.parametrize("number", range(12))
def test_tokens_that_nobody_gave(store, number):
    app = store.app()
    ask, tokens = open_task(app)
    handle = ask.start()
    run_until_idle(app)
    wrong = forged(tokens[0])[number]
    assert wrong != tokens[0]
    with pytest.raises(InvalidToken, match="no completion token"):
        app.complete(wrong, Decision("eve", date(2026, 1, 2)))
    with pytest.raises(InvalidToken):
        app.fail(wrong, ValueError())
    assert handle.status is InvocationState.WAITING


def test_a_token_of_another_app(store):
    app, other = store.app(), store.app(name="other")
    ask, tokens = open_task(app)
    ask.start()
    run_until_idle(app)
    with pytest.raises(InvalidToken):
        other.complete(tokens[0], None)


def test_a_wrong_value_leaves_it_open(store):
    app = store.app()
    ask, tokens = open_task(app)
    handle = ask.start()
    run_until_idle(app)
    with pytest.raises(SerializationError):
        app.complete(tokens[0], "yes")
    with pytest.raises(ConfigurationError, match="expected an exception"):
        app.fail(tokens[0], "no")
    assert handle.status is InvocationState.WAITING


def test_nobody_completes_it(store):
    app = store.app()
    ask, tokens = open_task(app, timeout=0.01, retry=Retry(attempts=2, wait_initial=0.0))
    handle = ask.start()
    with pytest.raises(TaskTimeout, match=r"nobody completed it within 0\.01 seconds"):
        handle.result(LONG)
    assert len(tokens) == 2
    assert tokens[0] == tokens[1]
    with pytest.raises(AlreadyCompleted, match="has failed with TaskTimeout already"):
        app.complete(tokens[0], Decision("ada", date(2026, 1, 2)))


def test_a_claim_of_an_open_task_does_not_run_it_again(store):
    """Whoever claims it before its time, after it was parked say, puts it back."""
    app = store.app()
    ask, tokens = open_task(app, timeout=LONG)
    handle = ask.start()
    run_until_idle(app)
    before = app.runtime.backend.read(handle.invocation_id)
    app.runtime.backend.seize(
        handle.key, before.epoch, bytes(16), Stop(InvocationState.PARKED, "by a test")
    )
    assert handle.resume()
    run_until_idle(app)
    after = app.runtime.backend.read(handle.invocation_id)
    assert (after.state, after.wake_at) == (before.state, before.wake_at)
    assert after.epoch > before.epoch
    assert len(tokens) == 1
    app.complete(tokens[0], Decision("ada", date(2026, 1, 2)))
    assert handle.result(LONG).by == "ada"


def test_completed_before_its_body_returned(store):
    app = store.app()
    runs = []

    @app.task(name="ask", completes_outside=True)
    def ask() -> str:
        runs.append(wf.completion_token())
        app.complete(runs[-1], "early")
        return wf.complete_later()

    assert ask.start().result(LONG) == "early"
    run_until_idle(app)
    assert len(runs) == 1


def test_a_body_may_give_its_result_itself(store):
    app = store.app()

    @app.task(name="ask", completes_outside=True)
    def ask(known: str) -> str:
        return known or wf.complete_later()

    assert ask.start("at once").result(LONG) == "at once"


def test_asking_without_returning_it(store):
    app = store.app()

    @app.task(name="ask", completes_outside=True, raises=[OperationRefused])
    def ask() -> None:
        wf.complete_later()

    with pytest.raises(OperationRefused, match=r"return wf\.complete_later\(\)"):
        ask.start().result(LONG)


@pytest.mark.parametrize("operation", ["complete_later", "completion_token"])
def test_where_there_is_nothing_to_complete(store, operation):
    app = store.app()
    call = getattr(wf, operation)
    with pytest.raises(NotInWorkflow):
        call()

    @app.task(name="plain", raises=[OperationRefused])
    def plain() -> Any:
        return call()

    @app.workflow(name="flow")
    def flow() -> list[str]:
        seen = []
        for run in (call, plain):
            try:
                run()
            except OperationRefused as error:
                seen.append(str(error))
        return seen

    in_workflow, in_task = flow.start().result(LONG)
    assert "in a workflow" in in_workflow
    assert "@app.task(completes_outside=True)" in in_task


def test_completing_in_a_workflow_or_a_pure_task(store):
    app = store.app()
    ask, tokens = open_task(app)
    handle = ask.start()
    run_until_idle(app)

    @app.task(name="pure", pure=True, raises=[OperationRefused])
    def pure() -> None:
        app.complete(tokens[0], None)

    @app.workflow(name="flow", raises=[OperationRefused])
    def flow(here: bool) -> None:
        app.fail(tokens[0], ValueError()) if here else pure()

    for here in (True, False):
        with pytest.raises(OperationRefused):
            flow.start(here).result(LONG)
    assert handle.status not in TERMINAL


def test_what_does_not_go_together(store):
    with pytest.raises(RegistrationError, match="completed from outside"):
        open_task(store.app(), pure=True)
    with pytest.raises(RegistrationError, match="nobody could tell"):
        open_task(store.app(), delivery="at_most_once")


def left_elsewhere(folder: str) -> str:
    (Path(folder) / "token").write_text(wf.completion_token())
    return wf.complete_later()


def test_on_an_executor(store, tmp_path):
    app = store.app()
    with ThreadPoolExecutor(1) as executor:
        ask = app.task(name="ask", executor=executor, completes_outside=True)(left_elsewhere)
        handle = ask.start(str(tmp_path))
        run_until_idle(app)
        assert handle.status is InvocationState.WAITING
        app.complete((tmp_path / "token").read_text(), "done")
        assert handle.result(LONG) == "done"
