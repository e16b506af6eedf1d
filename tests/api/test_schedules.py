"""Schedules: one run per tick, whatever happens to those who start them. By virtual time."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from perdure import InvocationState, Perdure, wf
from perdure.api.moments import from_datetime, to_datetime
from perdure.backends.memory import MemoryBackend
from perdure.errors import (
    ConfigurationError,
    InvalidIdentifier,
    OperationRefused,
    RegistrationError,
)
from perdure.testing.faults import Fault, FaultyBackend, Mode, MortalEnv, SimulatedCrash
from tests.support.stores import Store, in_threads, run_until_idle

START = datetime(2026, 3, 2, 12, 0, 30, tzinfo=UTC)
MINUTE = 60


def at(store: Store, moment: datetime) -> None:
    store.env.moment = from_datetime(moment)


def scheduled(store: Store, cron: str = "* * * * *", /, **options: Any) -> Perdure:
    """An app with a schedule "tick" of a workflow that waits for a message to end."""
    app = store.app(virtual=True)
    options = {"name": "tick", **options}
    declare = app.schedule(**options) if "every" in options else app.schedule(cron, **options)

    @declare
    @app.workflow(name="flow")
    def flow(*seen: Any) -> None:
        wf.receive("end")

    return app


def ids(app: Perdure) -> list[str]:
    return sorted(info.invocation_id for info in app.workflows(limit=10_000))


def minutes(*numbers: int) -> list[str]:
    return [f"tick@2026-03-02T12:{number:02}:00Z" for number in numbers]


def test_each_tick_has_one_run(store: Store) -> None:
    at(store, START)
    app = scheduled(store)
    assert app.schedules.run_due() == [], "what was before it was seen is not missed"
    store.env.advance(29.999999)
    assert app.schedules.run_due() == []
    store.env.advance(0.000001)
    assert [run.invocation_id for run in app.schedules.run_due()] == minutes(1)
    assert app.schedules.run_due() == []
    store.env.advance(MINUTE)
    assert [run.invocation_id for run in scheduled(store).schedules.run_due()] == minutes(2)
    assert ids(app) == minutes(1, 2)


def test_schedulers_race(store: Store) -> None:
    at(store, START)
    apps = [scheduled(store, catch_up="all", catch_up_limit=9) for _ in range(3)]
    apps[0].schedules.run_due()
    store.env.advance(9 * MINUTE)
    started = in_threads(3, lambda number: apps[number].schedules.run_due())
    assert sorted(run.invocation_id for each in started for run in each) == minutes(*range(1, 10))
    assert ids(apps[0]) == minutes(*range(1, 10))
    assert all(app.schedules.run_due() == [] for app in apps)


CATCH_UP: list[tuple[dict[str, Any], float, list[int]]] = [
    ({"catch_up": "last"}, 10 * MINUTE, [10]),
    ({"catch_up": "all"}, 10 * MINUTE, list(range(1, 11))),
    ({"catch_up": "all", "catch_up_limit": 3}, 10 * MINUTE, [7, 8, 9, 10]),
    ({"catch_up": "none"}, 10 * MINUTE, [10]),
    ({"cron": "*/10 * * * *", "catch_up": "none"}, 15 * MINUTE, []),
    ({"cron": "*/10 * * * *", "catch_up": "last"}, 45 * MINUTE, [40]),
    ({"cron": "*/10 * * * *", "catch_up": "all"}, 45 * MINUTE, [10, 20, 30, 40]),
    ({"cron": "*/10 * * * *", "catch_up": "all", "catch_up_limit": 2}, 45 * MINUTE, [30, 40]),
    ({"every": timedelta(minutes=7), "catch_up": "all"}, 22 * MINUTE, [2, 9, 16]),
]


@pytest.mark.parametrize(("options", "away", "expected"), CATCH_UP)
def test_missed_ticks(
    memory_store: Store, options: dict[str, Any], away: float, expected: list[int]
) -> None:
    at(memory_store, START)
    cron = options.get("cron", "* * * * *")
    chosen = {key: value for key, value in options.items() if key != "cron"}
    app = scheduled(memory_store, cron, **chosen)
    app.schedules.run_due()
    memory_store.env.advance(away)
    app.schedules.run_due()
    assert ids(app) == minutes(*expected)
    assert app.schedules.run_due() == [], "what was passed over is settled"


def test_a_late_tick_is_not_missed(memory_store: Store) -> None:
    at(memory_store, START)
    app = scheduled(memory_store, catch_up="none", every=timedelta(seconds=20))
    app.schedules.run_due()
    memory_store.env.advance(59)
    assert len(app.schedules.run_due()) == 3


def test_missed_ticks_that_are_not_started_are_told(
    memory_store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    at(memory_store, START)
    app = scheduled(memory_store, "*/10 * * * *", catch_up="none")
    app.schedules.run_due()
    memory_store.env.advance(1500)
    app.schedules.run_due()
    assert "'tick'" in caplog.text
    assert "2026-03-02T12:20:00Z" in caplog.text
    info = app.schedules["tick"].info()
    assert (info.last_became, info.last_tick) == (
        "missed",
        datetime(2026, 3, 2, 12, 20, tzinfo=UTC),
    )


def test_runs_that_overlap_are_skipped_if_asked(store: Store) -> None:
    at(store, START)
    app = scheduled(store, overlap="skip")
    app.schedules.run_due()
    for _ in range(2):
        store.env.advance(MINUTE)
        app.schedules.run_due()
    assert ids(app) == minutes(1)
    assert app.schedules["tick"].info().last_became == "skipped"
    app.invocation(minutes(1)[0]).send("end")
    run_until_idle(app)
    assert app.schedules.run_due() == [], "a skipped tick stays skipped"
    store.env.advance(MINUTE)
    app.schedules.run_due()
    assert ids(app) == minutes(1, 3)


def test_runs_of_other_schedules_do_not_count(memory_store: Store) -> None:
    at(memory_store, START)
    app = scheduled(memory_store, overlap="skip")
    app.schedule("* * * * *", name="tick.2", overlap="skip")(app.named("flow"))
    app.named("flow").options(id="tick-1").start()
    app.schedules.run_due()
    memory_store.env.advance(MINUTE)
    assert len(app.schedules.run_due()) == 2


@pytest.mark.parametrize("mode", [Mode.BEFORE, Mode.AFTER, Mode.UNKNOWN, Mode.UNKNOWN_LOST])
@pytest.mark.parametrize("number", range(1, 5))
@pytest.mark.parametrize("overlap", ["allow", "skip"])
def test_a_crash_at_any_boundary_between_ticks(mode: Mode, number: int, overlap: Any) -> None:
    moment = [from_datetime(START)]
    store = MemoryBackend(lambda: moment[0])

    def process(fault: Fault | None) -> Perdure:
        env = MortalEnv()
        app = Perdure(backend=FaultyBackend(store, env, fault), env=env, name="crash")

        @app.schedule("* * * * *", name="tick", catch_up="all", overlap=overlap)
        @app.task(name="task")
        def task() -> None:
            return

        return app

    first, second = process(Fault(number, mode)), process(None)
    try:
        first.schedules.run_due()  # boundary 1: the schedule is seen
        moment[0] += 3 * 60_000_000
        first.schedules.run_due()  # boundaries 2 to 4: the ticks
    except SimulatedCrash:
        assert mode.is_deadly
    second.schedules.run_due()
    if moment[0] == from_datetime(START):
        moment[0] += 3 * 60_000_000
        second.schedules.run_due()
    found = sorted(info.invocation_id for info in second.tasks())
    assert found == (minutes(1, 2, 3) if overlap == "allow" else minutes(1))
    assert second.schedules.run_due() == []


def test_pause_and_resume(store: Store) -> None:
    at(store, START)
    app, other = scheduled(store, catch_up="all"), scheduled(store, catch_up="all")
    schedule = app.schedules["tick"]
    app.schedules.run_due()
    assert not schedule.resume(), "it is not paused"
    assert schedule.pause("the printer is out of ink")
    assert not other.schedules["tick"].pause()
    info = other.schedules["tick"].info()
    assert (info.paused, info.reason, info.next_tick) == (True, "the printer is out of ink", None)
    store.env.advance(10 * MINUTE)
    assert other.schedules.run_due() == []
    assert other.schedules["tick"].resume()
    assert app.schedules.run_due() == [], "the ticks of a pause are not missed"
    assert app.schedules["tick"].info().next_tick == datetime(2026, 3, 2, 12, 11, tzinfo=UTC)
    store.env.advance(MINUTE)
    app.schedules.run_due()
    assert ids(app) == minutes(11)
    assert [schedule.pause(), schedule.resume(), schedule.pause()] == [True] * 3
    store.env.advance(MINUTE)
    assert app.schedules.run_due() == []


def test_what_was_due_before_a_pause_is_not_lost_by_it(store: Store) -> None:
    at(store, START)
    app = scheduled(store, catch_up="all")
    schedule = app.schedules["tick"]
    app.schedules.run_due()
    for _ in range(2):  # 12:01 and 12:02 are due, 12:04 again, and nobody looks
        store.env.advance(1.75 * MINUTE)
        schedule.pause()
        store.env.advance(0.75 * MINUTE)
        schedule.resume()
    store.env.advance(MINUTE)
    started = [run.invocation_id for run in app.schedules.run_due()]
    assert started == minutes(1, 2, 4, 6)
    assert schedule.info().last_became == "started"
    store.env.advance(MINUTE)
    assert [run.invocation_id for run in app.schedules.run_due()] == minutes(7)


def test_what_was_due_before_a_pause_is_missed_as_the_policy_says(store: Store) -> None:
    at(store, START)
    app = scheduled(store, "*/5 * * * *", catch_up="all", catch_up_limit=1)
    schedule = app.schedules["tick"]
    app.schedules.run_due()
    store.env.advance(10 * MINUTE)
    schedule.pause()
    store.env.advance(11 * MINUTE)
    schedule.resume()
    store.env.advance(4 * MINUTE)
    assert [run.invocation_id for run in app.schedules.run_due()] == minutes(10, 25)


def test_pauses_race(store: Store) -> None:
    apps = [scheduled(store) for _ in range(4)]
    changed = in_threads(4, lambda number: apps[number].schedules["tick"].pause(str(number)))
    assert sorted(changed) == [False, False, False, True]
    assert apps[0].schedules["tick"].info().reason == str(changed.index(True))


def test_backfill_starts_what_has_no_run(store: Store) -> None:
    at(store, START)
    app = scheduled(store, jitter=3600)
    app.schedules.run_due()
    store.env.advance(5 * MINUTE)
    app.schedules.run_due()
    assert ids(app) == minutes(5)
    end = to_datetime(store.env.moment)
    runs = app.schedules["tick"].backfill(datetime(2026, 3, 2, 12, 2, tzinfo=UTC), end)
    assert [run.invocation_id for run in runs] == minutes(2, 3, 4, 5)
    assert ids(app) == minutes(2, 3, 4, 5)
    before = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
    runs = app.schedules["tick"].backfill(before, datetime(2026, 3, 2, 12, 2, tzinfo=UTC))
    assert [run.invocation_id for run in runs] == minutes(0, 1), "the end is not part of it"
    app.schedules["tick"].backfill(before, end)
    assert ids(app) == minutes(0, 1, 2, 3, 4, 5)
    assert app.schedules.run_due() == []


WRONG_SPANS: list[tuple[Any, Any, str]] = [
    (START, START + timedelta(hours=1), "future"),
    (START - timedelta(days=8), START, "more than 10,000"),
    (datetime(2026, 3, 1), START, "no time zone"),
    (date(2026, 3, 1), START, "aware datetime"),
    (START, START - timedelta(hours=1), "ends before it starts"),
]


@pytest.mark.parametrize(("start", "end", "said"), WRONG_SPANS)
def test_a_span_that_cannot_be_filled(memory_store: Store, start: Any, end: Any, said: str) -> None:
    at(memory_store, START)
    app = scheduled(memory_store)
    with pytest.raises(ConfigurationError, match=said):
        app.schedules["tick"].backfill(start, end)
    assert ids(app) == []


def test_jitter_follows_from_the_tick(memory_store: Store) -> None:
    at(memory_store, START)
    app = scheduled(memory_store, "*/10 * * * *", jitter=timedelta(minutes=5))
    app.schedules.run_due()
    delays = []
    for _ in range(4):
        memory_store.env.moment = app.schedules["tick"].next_tick(memory_store.env.moment) or 0
        memory_store.env.advance(1)
        (run,) = app.schedules.run_due()
        record = app.runtime.backend.read(run.invocation_id)
        assert record is not None
        delays.append((record.wake_at or 0) - memory_store.env.moment + 1_000_000)
    assert all(0 <= delay <= 300_000_000 for delay in delays)
    assert delays == [139561581, 240549485, 77917079, 92595690], (
        "the same in every process and version"
    )


def test_a_zone_is_named_or_given(memory_store: Store) -> None:
    app = memory_store.app(virtual=True)
    for name, zone in (("named", "Europe/Berlin"), ("given", ZoneInfo("Europe/Berlin"))):
        app.schedule("0 0 * * *", timezone=zone, name=name)(app.task(name=name)(lambda: None))
    assert [app.schedules[each].timezone for each in ("named", "given")] == ["Europe/Berlin"] * 2


def test_arguments(memory_store: Store) -> None:
    at(memory_store, datetime(2026, 3, 28, 22, 59, tzinfo=UTC))
    app = memory_store.app(virtual=True)
    seen: list[Any] = []

    @app.schedule(
        "0 0 * * *",
        timezone="Europe/Berlin",
        name="daily",
        arguments=lambda tick: {"day": tick.date(), "region": "eu"},
    )
    @app.schedule("0 23 * * *", name="fixed", arguments={"day": date(2026, 1, 1)})
    @app.task(name="report")
    def report(day: date, region: str = "us") -> None:
        seen.append((day, region))

    app.schedules.run_due()
    memory_store.env.advance(MINUTE)
    assert len(app.schedules.run_due()) == 2
    run_until_idle(app)
    assert sorted(seen) == [(date(2026, 1, 1), "us"), (date(2026, 3, 29), "eu")]


def test_arguments_that_cannot_be_made_leave_the_tick_to_the_next_look(memory_store: Store) -> None:
    at(memory_store, START)
    given: list[Any] = [{"nothing": 1}, {}]
    app = memory_store.app(virtual=True)

    @app.schedule("* * * * *", name="tick", arguments=lambda tick: given[0])
    @app.workflow(name="flow")
    def flow() -> None:
        return

    app.schedules.run_due()
    memory_store.env.advance(MINUTE)
    with pytest.raises(TypeError):
        app.schedules.run_due()
    assert ids(app) == []
    given.pop(0)
    app.schedules.run_due()
    assert ids(app) == minutes(1)


def declared(app: Perdure, *args: Any, **options: Any) -> Any:
    @app.workflow(name="flow")
    def flow(day: str = "") -> None:
        return

    return app.schedule(*args, **options)(flow)


WRONG: list[tuple[tuple[Any, ...], dict[str, Any], type[Exception], str]] = [
    ((), {}, ConfigurationError, "either a cron expression or every="),
    (("* * * * *",), {"every": timedelta(1)}, ConfigurationError, "either"),
    (("0 0 30 2 *",), {}, ConfigurationError, "never fires"),
    (("0 0 LW * */7",), {}, ConfigurationError, "never fires"),
    (("every day",), {}, ConfigurationError, "five fields"),
    ((), {"every": timedelta(0)}, ConfigurationError, "at least 1 s"),
    ((), {"every": 60}, ConfigurationError, "expected a timedelta"),
    (("* * * * *",), {"timezone": "Berlin"}, ConfigurationError, "Europe/Berlin"),
    (("* * * * *",), {"catch_up": "some"}, ConfigurationError, "last, all, none"),
    (("* * * * *",), {"catch_up_limit": 0}, ConfigurationError, "1 to 10,000"),
    (("* * * * *",), {"catch_up_limit": True}, ConfigurationError, "1 to 10,000"),
    (("* * * * *",), {"overlap": "queue"}, ConfigurationError, "allow, skip"),
    (("* * * * *",), {"jitter": -1}, ConfigurationError, "jitter"),
    (("* * * * *",), {"arguments": {"night": 1}}, ConfigurationError, "arguments="),
    (("* * * * *",), {"name": ""}, InvalidIdentifier, "empty"),
    (("* * * * *",), {"name": "a@b"}, InvalidIdentifier, "'@'"),
    (("* * * * *",), {"name": "x" * 250}, InvalidIdentifier, "255"),
]


@pytest.mark.parametrize(("args", "options", "error", "said"), WRONG)
def test_what_cannot_be_is_refused_at_decoration(
    memory_store: Store,
    args: tuple[Any, ...],
    options: dict[str, Any],
    error: type[Exception],
    said: str,
) -> None:
    app = memory_store.app()
    with pytest.raises(error, match=said):
        declared(app, *args, **options)
    assert len(app.schedules) == 0


def test_only_what_is_registered_can_be_scheduled(memory_store: Store) -> None:
    app = memory_store.app()
    plain: Any = lambda: None  # noqa: E731
    with pytest.raises(RegistrationError, match="above @app"):
        app.schedule("* * * * *")(plain)


def test_names_are_taken_once(memory_store: Store) -> None:
    app = memory_store.app()
    flow = declared(app, "* * * * *")
    with pytest.raises(RegistrationError, match="'flow'"):
        app.schedule("0 0 * * *")(flow)
    app.schedule("0 0 * * *", name="nightly")(flow)
    assert list(app.schedules) == ["flow", "nightly"]
    assert "nightly" in repr(app.schedules["nightly"])


def test_a_workflow_does_not_look_at_schedules_unrecorded(memory_store: Store) -> None:
    app = scheduled(memory_store)

    @app.workflow(name="looks")
    def looks(what: int) -> list[Any]:
        schedule = app.schedules["tick"]
        calls: list[Any] = [
            schedule.info,
            schedule.pause,
            schedule.resume,
            app.schedules.run_due,
            lambda: schedule.backfill(START, START),
        ]
        try:
            calls[what]()
        except OperationRefused as error:
            return ["refused", str(error)]
        return []

    for number in range(5):
        handle = looks.start(number)
        run_until_idle(app)
        assert handle.status is InvocationState.COMPLETED
        assert handle.result()[0] == "refused"
