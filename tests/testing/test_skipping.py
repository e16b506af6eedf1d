"""Time skipping and doubles, as tests of applications use them."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime, timedelta
from typing import Any

import pytest

from perdure import DistributedInvocation, InvocationState, Perdure, Retry, wf
from perdure.errors import ConfigurationError, RegistrationError, ResultTimeout, TaskError
from perdure.testing import START, double, replace, skip_time

DAY = timedelta(days=1)


@pytest.fixture
def app() -> Perdure:
    return Perdure("memory://", name="skipping")


def is_over(handle: DistributedInvocation[Any]) -> bool:
    return handle.status is InvocationState.COMPLETED


def reminder(app: Perdure) -> Any:
    @app.workflow
    def remind(days: int) -> list[datetime]:
        seen = []
        for _ in range(days):
            wf.sleep(DAY)
            seen.append(wf.now())
        return seen

    return remind


@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_sleeps_pass_at_once_and_to_the_moment(app: Perdure, store: Any) -> None:
    remind = reminder(app)
    with skip_time(app, store=store) as clock:
        assert remind(30) == [START + DAY * n for n in range(1, 31)]
        assert clock.now == START + DAY * 30


def test_time_stands_still_while_the_test_is_at_work(app: Perdure) -> None:
    @app.workflow
    async def patient() -> str:
        return await wf.receive_async("word", str, timeout=DAY, default="nobody")

    with skip_time(app) as clock:
        heard, unheard = patient.start(), patient.start()
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            time.sleep(0.05)
        assert clock.now == START
        heard.send("word", "yes")
        assert heard.result() == "yes"
        assert unheard.result() == "nobody"
        assert clock.now == START + DAY


def test_time_passes_for_who_awaits_in_a_loop_of_its_own(app: Perdure) -> None:
    remind = reminder(app)

    async def ask() -> list[datetime]:
        seen: list[datetime] = await remind.start(2)
        return seen

    with skip_time(app):
        assert asyncio.run(ask())[-1] == START + 2 * DAY


def test_advance_runs_what_comes_due_in_its_order(app: Perdure) -> None:
    remind = reminder(app)
    with skip_time(app) as clock:
        started = remind.start(3)
        clock.advance(2.5 * DAY)
        assert clock.now == START + 2.5 * DAY
        assert not is_over(started)
        clock.advance(DAY)
        assert is_over(started)
        assert started.result()[-1] == START + 3 * DAY


def test_schedules_and_delays_come_due(app: Perdure) -> None:
    seen: list[datetime] = []

    @app.schedule("0 3 * * *")
    @app.workflow
    def nightly() -> None:
        seen.append(wf.now())

    with skip_time(app) as clock:
        later = nightly.options(delay=DAY / 2).start()
        clock.advance(3 * DAY)
        three = timedelta(hours=3)
        assert seen == [
            START + three,
            START + DAY / 2,
            START + DAY + three,
            START + 2 * DAY + three,
        ]
        assert is_over(later)


def test_retries_pass_at_once_and_doubles_record_calls(app: Perdure) -> None:
    @app.task(retry=Retry(attempts=3, wait_initial=3600.0))
    def charge(cents: int, *, key: str = "none") -> str:
        raise AssertionError("never run")

    @app.workflow
    def order() -> str:
        return charge(1999)

    away = ConnectionError("away")
    with skip_time(app), double(charge, returns="charged", raises=[away]) as charges:
        assert order() == "charged"
        assert charge(1, key="k") == "charged"
        assert charges.calls == [{"cents": 1999, "key": "none"}] * 2 + [{"cents": 1, "key": "k"}]
        assert repr(charges).endswith(".charge', called 3 times>")
    with skip_time(app), double(charge, raises=[away] * 3), pytest.raises(ConnectionError):
        order()


def test_a_function_stands_in_for_a_task_of_either_colour(app: Perdure) -> None:
    @app.task
    async def fetch(url: str) -> int: ...  # type: ignore[empty-body]

    @app.task
    def count(text: str) -> int: ...  # type: ignore[empty-body]

    @app.workflow
    async def main() -> list[int]:
        return [await fetch("a"), await count.acall("abc")]

    async def aside(url: str) -> int:
        return len(url)

    with skip_time(app):
        with replace(fetch, lambda url: 7) as fetched, replace(count, len_of) as counted:
            assert main.call() == [7, 3]
        assert [fetched.calls, counted.calls] == [[{"url": "a"}], [{"text": "abc"}]]
        with replace(fetch, aside), replace(count, lambda **given: 1):
            assert main.call() == [1, 1]


def len_of(text: str) -> int:
    return len(text)


def test_a_double_that_does_not_fit_is_refused(app: Perdure) -> None:
    @app.task
    def charge(cents: int, key: str) -> str: ...  # type: ignore[empty-body]

    @app.workflow
    def order() -> None: ...

    async def late(cents: int, key: str) -> str: ...  # type: ignore[empty-body]

    for wrong in (order, "charge", charge.definition.function):
        with pytest.raises(RegistrationError, match=r"no task.*@app\.task"), replace(wrong, print):  # type: ignore[arg-type]
            pass
    with (
        pytest.raises(ConfigurationError, match=r"takes \(cents: .*key: .*\(cents\)"),
        replace(charge, lambda cents: ""),
    ):
        pass
    with pytest.raises(ConfigurationError, match="async"), replace(charge, late):
        pass
    with pytest.raises(ConfigurationError, match="no function"), replace(charge, 7):  # type: ignore[arg-type]
        pass
    with pytest.raises(ConfigurationError, match="expected exceptions"):
        double(charge, raises=["away"])  # type: ignore[list-item]


def test_a_result_that_the_task_could_not_have_is_refused(app: Perdure) -> None:
    @app.task
    def charge(cents: int) -> str: ...  # type: ignore[empty-body]

    @app.workflow
    def order() -> str:
        return charge(1)

    with skip_time(app), double(charge, returns=object()), pytest.raises(Exception, match="object"):
        order()


def test_a_body_that_runs_on_holds_time_up(app: Perdure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perdure.testing.skipping.ADVANCE_SECONDS", 0.2)
    hold = __import__("threading").Event()

    @app.task
    def slow() -> None:
        hold.wait(20)

    with skip_time(app) as clock:
        slow.start()
        with pytest.raises(ResultTimeout, match="still runs"):
            clock.advance(DAY)
        hold.set()


def test_the_app_is_as_it_was_after_the_block(app: Perdure) -> None:
    @app.workflow
    def fails() -> None:
        raise LookupError("on purpose")

    with app:
        fails.options(id="kept").start()
        with skip_time(app):
            with pytest.raises((LookupError, TaskError)):
                fails()
            assert len(app.workflows()) == 1
        assert [each.invocation_id for each in app.workflows()] == ["kept"]


def test_a_start_without_a_time_zone_is_refused(app: Perdure) -> None:
    with (
        pytest.raises(ConfigurationError, match="time zone"),
        skip_time(app, start=datetime(2030, 1, 1)),
    ):
        pass
