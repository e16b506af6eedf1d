"""Crash everywhere for users: what it finds, at which line, and what it lets pass."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from perdure import DistributedInvocation, Perdure, Retry, wf
from perdure.errors import ConfigurationError, RegistrationError, WrongColour
from perdure.testing import Kind, Report, UnsafeWorkflow, crash_everywhere
from tests.testing import planted
from tests.testing.planted import PLANTED

pytestmark = pytest.mark.timeout(60)

app_of_module = Perdure("memory://", name="of-the-module")
SOURCE = Path(planted.__file__).read_text("utf-8").splitlines()


def marks_of(file: str) -> list[str]:
    """`file:line` of each marked line of a file."""
    lines = enumerate(Path(file).read_text("utf-8").splitlines(), 1)
    return [f"{file}:{number}" for number, line in lines if line.endswith("# HERE")]


def marked_line(name: str) -> int:
    """The marked line of a planted workflow."""
    first = next(n for n, line in enumerate(SOURCE, 1) if f"def {name}(" in line)
    return next(n for n, line in enumerate(SOURCE, 1) if n >= first and line.endswith("# HERE"))


@pytest.fixture
def app() -> Perdure:
    return Perdure("memory://", name="mine")


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_mistake_is_found_at_its_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perdure.testing.lives.RESULT_SECONDS", 1.0)
    workflow, kinds = PLANTED[name]
    with pytest.raises(UnsafeWorkflow) as caught:
        crash_everywhere(workflow)
    report = caught.value.report
    where = f"{planted.__file__}:{marked_line(name)}"
    assert kinds <= {each.kind for each in report.findings if each.where == where}, str(report)
    assert not report.of(Kind.BROKEN), str(report)
    assert where in str(caught.value)


def sound(app: Perdure) -> Any:
    @app.task
    def charge(cents: int, key: str) -> str:
        return f"{cents} {random.random()}"

    @app.task(retry=Retry(attempts=3, wait_initial=3600.0))
    def pack(paid: str) -> str:
        return wf.idempotency_key()

    @app.task(delivery="at_most_once")
    def announce(text: str) -> str:
        return text

    @app.workflow
    def order(cents: int, *, item: str = "pen") -> list[object]:
        paid = charge(cents, key=wf.idempotency_key())
        wf.sleep(timedelta(days=30))
        boxes = [each.result() for each in [pack.start(item), pack.start("ink")]]
        try:
            told = announce(item)
        except Exception:
            told = "unknown"
        return [paid, boxes, told == item, wf.now()]

    return order


@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_a_sound_workflow_passes(app: Perdure, store: Any) -> None:
    report = crash_everywhere.options(store=store, pairs=5)(sound(app), 1999, item="ink")
    assert report.boundaries > 8
    assert report.runs > 4 * report.boundaries
    assert report.waits > report.runs
    assert {mode for _, mode in report.crashes} == {"before", "after", "unknown", "unknown_lost"}
    assert {each.protection for each in report.repeated} == {"keyed"}
    assert {each.name.rpartition(".")[2] for each in report.repeated} == {"charge", "pack"}
    assert "0 findings" in str(report)


def test_the_app_is_as_it_was_afterwards(app: Perdure) -> None:
    @app.workflow
    def order(cents: int) -> int:
        return cents

    with app:
        before = order.options(id="mine").start(1).result
        crash_everywhere(order, 2)
        assert before() == 1
        assert [each.invocation_id for each in app.workflows()] == ["mine"]


def test_a_driver_sends_what_the_workflow_waits_for(app: Perdure) -> None:
    @app.workflow
    async def approval() -> list[str]:
        first = await wf.receive_async("told", str, timeout=timedelta(days=7))
        late = await wf.receive_async("never", str, timeout=timedelta(days=7), default="nobody")
        return [first, late]

    seen: Counter[str] = Counter()

    def drive(handle: DistributedInvocation[Any]) -> None:
        handle.send("told", "yes", id="only")
        seen[str(handle.result())] += 1

    report = crash_everywhere.options(drive=drive)(approval)
    assert set(seen) == {"['yes', 'nobody']"}
    assert report.runs > 8


@app_of_module.workflow
def countdown(number: int) -> list[int]:
    """It names itself, as a global, also in a function of its own."""
    rest = [countdown.start(number - 1).result for _ in range(number > 0)]
    return [number, *(each for result in rest for each in result())]


@app_of_module.workflow
async def countdown_async(number: int) -> list[int]:
    async def rest() -> list[int]:
        return await countdown_async.start(number - 1)

    return [number, *(await rest() if number else [])]


def test_a_workflow_that_starts_itself_passes(app: Perdure) -> None:
    @app.workflow
    def local(number: int) -> list[int]:
        return [number, *(local.start(number - 1).result() if number else [])]

    ends: list[str] = []

    def drive(handle: DistributedInvocation[Any]) -> None:
        ends.append(str(handle.result()))

    for workflow in (countdown, countdown_async, local):
        report = crash_everywhere.options(drive=drive).report(workflow, 2)
        assert not report.findings, str(report)
    assert set(ends) == {"[2, 1, 0]"}


def test_listeners_of_a_topic_whose_emit_is_late_pass(app: Perdure) -> None:
    @app.workflow
    def listening() -> list[str]:
        def first() -> str:
            return wf.receive_topic("news", str, timeout=3600, default="none")

        def emitting() -> str:
            wf.sleep(60)
            wf.emit("news", "rain")
            return "told"

        never = wf.receive_topic("silence", str, timeout=60, default="none")
        return [never, *wf.gather(first, first, emitting)]

    @app.workflow
    async def listening_async() -> list[str]:
        async def first() -> str:
            return await wf.receive_topic_async("news", str, timeout=3600, default="none")

        async def emitting() -> str:
            await wf.sleep(60)
            wf.emit("news", "rain")
            return "told"

        never = await wf.receive_topic_async("silence", str, timeout=60, default="none")
        return [never, *(await asyncio.gather(first(), first(), emitting()))]

    for workflow in (listening, listening_async):
        report = crash_everywhere.report(workflow)
        assert not report.findings, str(report)


def test_tasks_that_wait_for_each_other_can_be_tried(
    app: Perdure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("perdure.testing.lives.ALONE_SECONDS", 0.5)

    @app.task
    def leaf() -> str:
        return "leaf"

    @app.task
    def branch() -> str:
        return leaf.start().result()

    @app.workflow
    def tree() -> str:
        return branch.start().result()

    assert crash_everywhere.options(idempotent=[leaf, branch])(tree).boundaries > 3


def test_transactions_are_held_to_once_in_a_world_that_begins_anew(
    app: Perdure, tmp_path: Path
) -> None:
    file = tmp_path / "orders.db"
    orders = app.database(f"sqlite:///{file}")
    begun: list[int] = []

    def begin() -> None:
        begun.append(1)
        for each in tmp_path.glob("orders.db*"):
            each.unlink()
        with sqlite3.connect(file) as tables:
            tables.execute("CREATE TABLE charges (cents INTEGER)")

    @app.transaction(orders)
    def charge(tx: sqlite3.Connection, cents: int) -> int:
        tx.execute("INSERT INTO charges VALUES (?)", (cents,))
        return int(tx.execute("SELECT count(*) FROM charges").fetchone()[0])

    @app.workflow
    def order(cents: int) -> list[int]:
        return [charge(cents), charge(cents), charge.start(cents).result()]

    report = crash_everywhere.options(begin=begin)(order, 1999)
    assert len(begun) > report.runs > 20
    with sqlite3.connect(file) as tables:
        assert tables.execute("SELECT count(*) FROM charges").fetchone() == (3,)


def test_what_a_driver_raises_reaches_the_test(app: Perdure) -> None:
    @app.workflow
    def approval() -> str:
        return wf.receive("told", str, timeout=3600, default="nobody")

    def drive(handle: DistributedInvocation[Any]) -> None:
        raise LookupError("lost")

    with pytest.raises(LookupError, match="lost"):
        crash_everywhere.options(drive=drive)(approval)


def test_tasks_can_be_declared_harmless_and_calls_allowed() -> None:
    pays, _ = PLANTED["pays_twice"]
    report = crash_everywhere.options(idempotent=[planted.pay])(pays)
    assert {(each.arguments, each.protection) for each in report.repeated} == {
        ("(cents=1999)", "idempotent"),
        ("('something')", "pure"),
    }
    sleeps, _ = PLANTED["slept_for_real"]
    crash_everywhere.options(allow=["time.sleep()"])(sleeps)


def test_recorded_reads_of_the_world_are_no_mistake(app: Perdure) -> None:
    @app.workflow
    def draws() -> list[Any]:
        return [wf.record("chance", random.random), wf.random.randint(1, 6), wf.uuid(), wf.now()]

    crash_everywhere(draws)


def test_a_workflow_that_fails_is_no_mistake(app: Perdure) -> None:
    @app.workflow
    def fails() -> None:
        wf.sleep(3600)
        raise ValueError("on purpose")

    assert crash_everywhere.options(raises=ValueError)(fails).boundaries > 2


def test_what_cannot_be_used_is_refused(app: Perdure) -> None:
    @app.task
    def work() -> None: ...

    with pytest.raises(RegistrationError, match=r"no workflow.*@app\.workflow"):
        crash_everywhere(work)
    with pytest.raises(RegistrationError, match=r"no workflow"):
        crash_everywhere(lambda: None)
    with pytest.raises(ConfigurationError, match="'memory', 'sqlite'"):
        crash_everywhere.options(store="disk")  # type: ignore[arg-type]

    async def in_a_loop() -> None:
        crash_everywhere(PLANTED["pays_twice"][0])

    with pytest.raises(WrongColour, match="to_thread"):
        asyncio.run(in_a_loop())
    assert str(Report("x")).startswith("x: 0 runs")
