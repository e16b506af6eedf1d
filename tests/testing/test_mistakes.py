"""Mistakes of users in their tests and workflows: each is told, at its line, and nothing hangs."""

from __future__ import annotations

import asyncio
import socket
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from perdure import DistributedInvocation, Perdure, wf
from perdure.backends.memory import MemoryBackend
from perdure.core.entries import Entry, EntryKind
from perdure.errors import (
    ConfigurationError,
    InvocationCancelled,
    InvocationEnded,
    OperationRefused,
    ResultTimeout,
)
from perdure.testing import (
    START,
    Kind,
    VirtualClock,
    crash_everywhere,
    double,
    fuzz_schedules,
    skip_time,
)
from perdure.testing.comparing import first_difference
from perdure.testing.watching import Watch


def marked(mark: str) -> str:
    """`file:line` of the line of this file with this mark."""
    lines = Path(__file__).read_text("utf-8").splitlines()
    return next(f"{__file__}:{n}" for n, line in enumerate(lines, 1) if line.endswith(f"# {mark}"))


@pytest.fixture
def app() -> Perdure:
    return Perdure("memory://", name="mine")


# --- workflows that fail at once --------------------------------------------------------------


def test_a_workflow_that_fails_unmeant_is_found_at_its_line(app: Perdure) -> None:
    @app.workflow
    def order(items: list[str]) -> int:
        wf.sleep(3600)
        return len(items) // 0  # FAILS

    report = crash_everywhere.report(order, ["pen"])
    [found] = report.findings
    assert (found.kind, found.where) == (Kind.FAILED, marked("FAILS"))
    assert "ZeroDivisionError" in found.message
    assert ".options(raises=ZeroDivisionError)" in found.message


def test_a_failure_that_is_meant_is_said_and_held_to(app: Perdure) -> None:
    @app.workflow
    def fails() -> None:
        raise LookupError("nobody")

    @app.workflow
    def returns() -> str:
        return "all is well"

    @app.workflow
    def waits() -> str:
        return wf.receive("answer", str, timeout=3600, default="none")

    def cancel(handle: DistributedInvocation[str]) -> None:
        handle.cancel()

    assert not crash_everywhere.options(raises=(LookupError, KeyError)).report(fails).findings
    report = crash_everywhere.options(raises=ValueError).report(fails)
    [found] = report.of(Kind.FAILED)
    assert "to raise ValueError" in found.message
    [found] = crash_everywhere.options(raises=LookupError).report(returns).findings
    assert "returned 'all is well' and was to raise LookupError" in found.message
    cancelled = crash_everywhere.options(drive=cancel, raises=InvocationCancelled)
    assert not cancelled.report(waits).findings
    with pytest.raises(ConfigurationError, match="a class of exceptions"):
        crash_everywhere.options(raises="LookupError")  # type: ignore[arg-type]


# --- sets -------------------------------------------------------------------------------------


def test_only_the_set_whose_order_matters_is_blamed(app: Perdure) -> None:
    @app.task(pure=True)
    def use(text: str) -> str:
        return text

    @app.workflow
    def order(parts: list[str]) -> str:
        total = 0
        for part in set(parts):
            total += len(part)
        for part in set(parts):  # GUILTY
            use(part)
        return str(total)

    report = crash_everywhere.report(order, ["paper", "ink", "pen", "glue"])
    assert [each.where for each in report.of(Kind.SET_ORDER)] == [marked("GUILTY")]


# --- other apps -------------------------------------------------------------------------------


def test_a_task_of_another_app_is_told_at_its_line(app: Perdure) -> None:
    @Perdure("memory://", name="other").task
    def notify(text: str) -> str:
        return text

    @app.workflow
    def order() -> str:
        return notify("ready")  # FOREIGN

    report = crash_everywhere.report(order)
    assert [each.where for each in report.of(Kind.FOREIGN)] == [marked("FOREIGN")]
    assert not report.of(Kind.BROKEN)


# --- what never ends --------------------------------------------------------------------------


def test_waiting_for_nobody_is_told_at_once_at_its_line(app: Perdure) -> None:
    @app.workflow
    def order() -> str:
        wf.sleep(60)
        return wf.receive("paid", str)  # NOBODY

    def wrong_name(handle: DistributedInvocation[str]) -> None:
        handle.send("refunded", "yes", id="only")
        handle.result()

    for drive in (None, wrong_name):
        report = crash_everywhere.options(drive=drive).report(order)
        [found] = report.of(Kind.STOPPED)
        assert found.where == marked("NOBODY")
        assert "is waiting, and nothing is due that could wake it" in found.message
        assert report.runs == 1
    [found] = fuzz_schedules.report(order).findings
    assert found.kind is Kind.STOPPED


def test_a_driver_that_does_not_end_is_told(app: Perdure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perdure.testing.lives.RESULT_SECONDS", 0.5)
    never = threading.Event()

    @app.workflow
    def order() -> str:
        return "done"

    def drive(handle: DistributedInvocation[str]) -> None:
        handle.result()
        never.wait()

    [found] = crash_everywhere.options(drive=drive).report(order).findings
    assert found.kind is Kind.STOPPED
    assert "drive= has not come to an end" in found.message


def test_a_message_without_an_id_is_explained(app: Perdure) -> None:
    @app.workflow
    def order() -> str:
        return wf.receive("paid", str)

    def drive(handle: DistributedInvocation[str]) -> None:
        handle.send("paid", "yes")

    with pytest.raises(InvocationEnded) as caught:
        crash_everywhere.options(drive=drive)(order)
    assert 'id="only"' in "".join(caught.value.__notes__)


# --- options and stores -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"idempotent": "charge"}, r"idempotent='charge': expected a list"),
        ({"idempotent": crash_everywhere}, r"expected a list, such as idempotent=\[charge\]"),
        ({"idempotent": [3]}, "expected a list"),
        ({"allow": "time.time()"}, "expected a list"),
        ({"pairs": "3"}, "pairs='3': expected a whole number"),
        ({"seed": None}, "seed=None: expected a whole number"),
        ({"drive": 5}, "drive=5: expected a function"),
        ({"drive": lambda: None}, "must take the handle of the workflow"),
        ({"begin": len}, "must take no arguments"),
    ],
)
def test_options_of_no_use_are_refused(given: Any, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        crash_everywhere.options(**given)


def test_an_async_driver_and_an_unknown_option_or_task_are_refused(app: Perdure) -> None:
    async def drive(handle: DistributedInvocation[str]) -> None:
        handle.send("paid", "yes", id="only")

    @app.task
    def charge() -> None: ...

    @app.workflow
    def order() -> None:
        charge()

    with pytest.raises(ConfigurationError, match="async function, which nobody would await"):
        crash_everywhere.options(drive=drive)
    wrong: Any = {"pair": 3}
    with pytest.raises(TypeError, match="no option 'pair', only allow, begin"):
        crash_everywhere.options(**wrong)
    with pytest.raises(ConfigurationError, match="runs='3'"):
        fuzz_schedules.options(runs="3")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"no task of the app has this name.*charge"):
        crash_everywhere.options(idempotent=["chrage"])(order)


def test_a_store_that_is_none_or_not_empty_is_no_broken_promise(app: Perdure) -> None:
    @app.workflow
    def order() -> None: ...

    kept = MemoryBackend(lambda: 0)
    with pytest.raises(ConfigurationError, match="gave None: expected a state backend"):
        crash_everywhere.options(store=lambda clock: None)(order)  # type: ignore[arg-type, return-value]
    with pytest.raises(ConfigurationError, match=r"holds .* already"):
        crash_everywhere.options(store=lambda clock: kept)(order)


def test_a_workflow_that_fails_unmeant_compares_nothing(app: Perdure) -> None:
    @app.workflow
    def order() -> None:
        raise LookupError("nobody")  # FUZZED

    [found] = fuzz_schedules.options(runs=2).report(order).findings
    assert (found.kind, found.where) == (Kind.FAILED, marked("FUZZED"))
    assert not fuzz_schedules.options(runs=2, raises=LookupError).report(order).findings


# --- false alarms, and time -------------------------------------------------------------------


def test_what_arrived_in_another_order_is_no_other_question() -> None:
    def entry(kind: EntryKind, name: str) -> Entry:
        return Entry(0, kind, "", 1, name, name, b"", b"{}", b"{}", 0, 1, b"", b"")

    message, done = entry(EntryKind.MESSAGE, "pickup"), entry(EntryKind.DONE, "child")
    sleep, send = entry(EntryKind.SLEEP, "sleep"), entry(EntryKind.SEND, "told")
    assert first_difference("order", [message, done], [done, message]) is None
    assert first_difference("order", [sleep], [send]) is not None


def test_a_transaction_of_a_dead_process_keeps_no_failure(app: Perdure, tmp_path: Path) -> None:
    orders = app.database(f"sqlite:///{tmp_path / 'orders.db'}")

    @app.transaction(orders)
    def charge(tx: sqlite3.Connection, cents: int) -> int:
        return cents

    watch = Watch()
    with watch.over(app):
        watch.process.kill()
        definition = app.registry[charge.name]
        assert definition.function(3) == 3


def test_time_stands_still_when_what_was_waited_for_has_come(app: Perdure) -> None:
    @app.workflow
    def order(number: int) -> int:
        return number

    @app.workflow
    def later() -> None:
        wf.sleep(86_400)

    with skip_time(app) as clock:
        later.start()
        for number in range(200):
            assert order.start(number).result() == number
            assert clock.now == START, number


def test_waiting_for_ever_in_skipped_time_is_told(
    app: Perdure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("perdure.testing.skipping.STUCK_SECONDS", 0.5)

    @app.workflow
    def order() -> str:
        return wf.receive("paid", str)

    async def asks(handle: DistributedInvocation[str]) -> None:
        await handle

    with skip_time(app):
        started = order.start()
        for wait in (
            started.result,
            lambda: started.result(3600),
            lambda: asyncio.run(asks(started)),
        ):
            with pytest.raises(ResultTimeout, match="a message that nobody sends"):
                wait()
        started.send("paid", "yes")
        assert started.result() == "yes"


def test_what_is_no_app_or_no_time_is_refused(app: Perdure) -> None:
    wrong: Any = "app"
    with pytest.raises(ConfigurationError, match="expected the app itself"), skip_time(wrong):
        pass
    with pytest.raises(ConfigurationError, match="no moment with a time zone"):
        VirtualClock("2030-01-01")  # type: ignore[arg-type]
    with skip_time(app) as clock:
        pass
    with pytest.raises(OperationRefused, match="block has ended"):
        clock.advance(5)


# --- doubles ----------------------------------------------------------------------------------


def test_a_double_returns_only_what_its_task_could(app: Perdure) -> None:
    @app.task
    def charge(cents: int) -> str:
        return "charge"

    @app.task
    async def notify(cents: int) -> list[str]:
        return ["told"]

    @app.task
    def anything(cents: Any) -> Any:
        return cents

    @app.workflow
    def order() -> str:
        return charge(3)

    @app.workflow
    async def telling() -> list[str]:
        return await notify(3)

    @app.workflow
    def free() -> Any:
        return anything(3)

    with skip_time(app), double(charge), double(notify, returns=5), double(anything, returns=5):
        with pytest.raises(ConfigurationError, match=r"charge.*it gave None, which the task"):
            order()
        with pytest.raises(ConfigurationError, match=r"notify.*it gave 5, which the task"):
            telling.call()
        assert free() == 5
    with double(charge):
        assert crash_everywhere.report(order).of(Kind.FAILED)
    alone: Any = ConnectionError()
    with pytest.raises(ConfigurationError, match="expected a list of exceptions"):
        double(charge, raises=alone)


# --- calls that a replay answers differently --------------------------------------------------


def test_files_and_the_machine_are_not_for_workflow_code(app: Perdure, tmp_path: Path) -> None:
    file = tmp_path / "prices"
    file.write_text("3", "utf-8")

    @app.workflow
    def order() -> list[str]:
        year = time.strftime("%Y")
        with open(file, encoding="utf-8") as prices:  # noqa: PTH123 - the call that is looked for
            return [year, prices.read(), socket.gethostname()]

    told = [each.message.partition("()")[0] for each in crash_everywhere.report(order).findings]
    assert told == ["time.strftime", "open", "socket.gethostname"]
