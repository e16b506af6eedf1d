"""When schedules fire: through changes of the clock, and from wherever one looks."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from perdure.api.moments import from_datetime, to_datetime
from perdure.api.ticks import Cron, Every, Ticks, between, latest, name_of, read_zone
from perdure.errors import ConfigurationError


def utc(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> int:
    return from_datetime(datetime(year, month, day, hour, minute, tzinfo=UTC))


def names(ticks: Ticks, after: int, count: int) -> list[str]:
    return [name_of(tick) for tick in itertools.islice(ticks.after(after), count)]


CHANGES: list[tuple[str, str, int, list[str]]] = [
    # Berlin: 02:00 -> 03:00 on 2026-03-29 at 01:00Z; 03:00 -> 02:00 on 2026-10-25 at 01:00Z.
    (
        "30 2 * * *",
        "Europe/Berlin",
        utc(2026, 3, 28),
        ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"],
    ),
    (
        "30 2 * * *",
        "Europe/Berlin",
        utc(2026, 10, 24),
        ["2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"],
    ),
    (
        "*/30 * * * *",
        "Europe/Berlin",
        utc(2026, 3, 29, 0, 30),
        ["2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z", "2026-03-29T02:00:00Z"],
    ),
    (
        "30 * * * *",
        "Europe/Berlin",
        utc(2026, 10, 25, 0, 0),
        ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:30:00Z"],
    ),
    # New York: 02:00 -> 03:00 on 2026-03-08 at 07:00Z; 02:00 -> 01:00 on 2026-11-01 at 06:00Z.
    (
        "15 2 * * *",
        "America/New_York",
        utc(2026, 3, 7),
        ["2026-03-07T07:15:00Z", "2026-03-08T07:00:00Z", "2026-03-09T06:15:00Z"],
    ),
    (
        "30 1 * * *",
        "America/New_York",
        utc(2026, 10, 31),
        ["2026-10-31T05:30:00Z", "2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"],
    ),
    (
        "0 9 * * MON-FRI",
        "America/New_York",
        utc(2026, 3, 6),
        ["2026-03-06T14:00:00Z", "2026-03-09T13:00:00Z", "2026-03-10T13:00:00Z"],
    ),
    (
        "30 2 * * *",
        "UTC",
        utc(2026, 3, 28),
        ["2026-03-28T02:30:00Z", "2026-03-29T02:30:00Z", "2026-03-30T02:30:00Z"],
    ),
    # A field of seconds in front changes nothing of it.
    (
        "0 30 2 * * *",
        "Europe/Berlin",
        utc(2026, 3, 28),
        ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"],
    ),
    (
        "0 30 2 * * *",
        "Europe/Berlin",
        utc(2026, 10, 24),
        ["2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"],
    ),
    # Santiago: 24:00 -> 01:00 on 2026-09-06 at 04:00Z, a Sunday.
    (
        "*/30 1 * * SUN",
        "America/Santiago",
        utc(2026, 9, 5),
        ["2026-09-06T04:00:00Z", "2026-09-06T04:30:00Z", "2026-09-13T04:00:00Z"],
    ),
    (
        "*/30 0 * * SUN",
        "America/Santiago",
        utc(2026, 9, 5),
        ["2026-09-13T03:00:00Z", "2026-09-13T03:30:00Z", "2026-09-20T03:00:00Z"],
    ),
    (
        "0 0 * * SUN",
        "America/Santiago",
        utc(2026, 9, 5),
        ["2026-09-06T04:00:00Z", "2026-09-13T03:00:00Z", "2026-09-20T03:00:00Z"],
    ),
    # Lord Howe: 02:00 -> 02:30 on 2026-10-04 at 15:30Z; 02:00 -> 01:30 on 2026-04-05 at 15:00Z.
    (
        "*/10 23 4 10 *",
        "Australia/Lord_Howe",
        utc(2026, 10, 3),
        ["2026-10-04T12:00:00Z", "2026-10-04T12:10:00Z", "2026-10-04T12:20:00Z"],
    ),
    (
        "*/15 1 5 4 *",
        "Australia/Lord_Howe",
        utc(2026, 4, 4, 14, 30),
        ["2026-04-04T14:45:00Z", "2026-04-04T15:00:00Z", "2026-04-04T15:15:00Z"],
    ),
    # Apia had no 2011-12-30.
    (
        "0 12 30 * *",
        "Pacific/Apia",
        utc(2011, 12, 1),
        ["2011-12-30T10:00:00Z", "2012-01-29T22:00:00Z", "2012-03-29T22:00:00Z"],
    ),
]


@pytest.mark.parametrize(("rule", "zone", "after", "expected"), CHANGES)
def test_clock_changes(rule: str, zone: str, after: int, expected: list[str]) -> None:
    assert names(Cron(rule, read_zone(zone)), after, 3) == expected


RULES: list[tuple[str, str]] = [
    ("30 2 * * *", "Europe/Berlin"),
    ("15,45 1,2,3 * * *", "Europe/Berlin"),
    ("*/20 * * * *", "Europe/Berlin"),
    ("10 * * * *", "America/New_York"),
    ("0,30 1,2 * * *", "America/New_York"),
    ("0 */2 * * *", "Australia/Lord_Howe"),
    ("*/5 2-4 * * *", "Australia/Lord_Howe"),
    ("*/20 23 * * *", "Australia/Lord_Howe"),
    ("*/15 * * * SUN", "America/Santiago"),
]


@pytest.mark.parametrize(("rule", "zone"), RULES)
@pytest.mark.parametrize(
    "day",
    [
        (2026, 3, 7),
        (2026, 3, 28),
        (2026, 4, 4),
        (2026, 9, 5),
        (2026, 10, 3),
        (2026, 10, 24),
        (2026, 10, 31),
    ],
)
def test_the_ticks_are_the_same_wherever_one_begins(
    rule: str, zone: str, day: tuple[int, int, int]
) -> None:
    ticks = Cron(rule, read_zone(zone))
    start, end = utc(*day), utc(*day) + 3 * 86_400_000_000
    all_of_them = list(between(ticks, start, end))
    assert all_of_them == sorted(set(all_of_them))
    assert all_of_them
    for moment in range(start, end, 2_460_000_000):
        later = [tick for tick in all_of_them if tick > moment]
        assert list(between(ticks, moment, end)) == later, name_of(moment)


@pytest.mark.parametrize(
    "ticks",
    [
        Cron("*/5 * * * *", read_zone("Europe/Berlin")),
        Cron("0 3 1 * *", read_zone("Europe/Berlin")),
        Cron("0 0 29 2 *", read_zone("UTC")),
        Every(timedelta(seconds=7)),
    ],
    ids=lambda ticks: ticks.text,
)
@pytest.mark.parametrize("count", [1, 2, 50])
@pytest.mark.parametrize("hours", [0, 1, 60, 5_000])
def test_the_latest_ones(ticks: Ticks, count: int, hours: int) -> None:
    until = utc(2026, 6, 1, 12)
    after = until - hours * 3_600_000_000
    expected = list(between(ticks, after, until))[-count:] if hours < 100 else None
    found = latest(ticks, after, until, count)
    assert expected is None or found == expected
    assert found == sorted(found)
    assert all(after < tick <= until for tick in found)


def test_the_latest_one_of_years_is_found_at_once() -> None:
    def counted() -> Any:
        for tick in minutes.after(start[0]):
            steps[0] += 1
            yield tick

    class Counting:
        text = ""

        def after(self, moment: int) -> Any:
            start[0] = moment
            return counted()

    minutes, steps, start = Every(timedelta(minutes=1)), [0], [0]
    until = utc(2026, 6, 1)
    found = latest(Counting(), utc(2000, 1, 1), until, 100)
    assert found == [until - n * 60_000_000 for n in reversed(range(100))]
    assert steps[0] < 1_000


def test_spans_are_aligned_to_1970() -> None:
    quarter = Every(timedelta(minutes=15))
    assert names(quarter, utc(2026, 1, 1, 0, 7), 2) == [
        "2026-01-01T00:15:00Z",
        "2026-01-01T00:30:00Z",
    ]
    assert names(quarter, utc(2026, 1, 1, 0, 15), 1) == ["2026-01-01T00:30:00Z"]
    assert names(Every(timedelta(seconds=1.5)), 0, 2) == [
        "1970-01-01T00:00:01.500000Z",
        "1970-01-01T00:00:03Z",
    ]


NEVER = ["0 0 30 2 *", "0 0 31 4,6 *", "0 0 LW * */7"]
UNREADABLE = ["", "* * * *", "60 * * * *", "*/0 * * * *", "a b c d e", "0 0 * * 8", "5-1 * * * *",
              "0 0 L-3 * *", "MON#1/2 * * * *", "0 0 * * MON#6", "0 0 * * L/2", "* * * * * * *",
              "0 0 1 JAN-X *", "@daily", "0 0 ? * *"]  # fmt: skip


@pytest.mark.parametrize("rule", NEVER)
def test_a_schedule_that_never_fires(rule: str) -> None:
    with pytest.raises(ConfigurationError, match="never fires") as caught:
        Cron(rule, read_zone("Europe/Berlin"))
    assert repr(rule) in str(caught.value)


@pytest.mark.parametrize("rule", UNREADABLE)
def test_what_is_no_cron_expression(rule: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Cron(rule, read_zone("Europe/Berlin"))
    assert repr(rule) in str(caught.value)
    assert "'*/5 * * * *'" in str(caught.value)


def test_an_expression_of_thousands_of_digits() -> None:
    with pytest.raises(ConfigurationError, match="cannot be read") as caught:
        Cron("0 0 1 1 * 2" + "0" * 9_999, read_zone("Europe/Berlin"))
    assert len(str(caught.value)) < 1_000


SPANS: list[Any] = [timedelta(0), timedelta(seconds=0.9), timedelta(days=-1), 60, None, "1h"]


@pytest.mark.parametrize("span", SPANS)
def test_what_is_no_span(span: Any) -> None:
    with pytest.raises(ConfigurationError, match="every"):
        Every(span)


ZONES: list[Any] = ["Europe/Nowhere", "", "../etc/passwd", "/etc/localtime", None, 3, "a\0b"]


@pytest.mark.parametrize("zone", ZONES)
def test_what_is_no_time_zone(zone: Any) -> None:
    with pytest.raises(ConfigurationError, match="timezone="):
        read_zone(zone)


def test_moments_are_exact() -> None:
    for number in (0, -1, 1, 253_402_300_799_999_999, -62_135_596_800_000_000):
        assert from_datetime(to_datetime(number)) == number
