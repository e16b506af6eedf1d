"""Cron against an oracle, around the changes of the clock in the time zones of the world.

The oracle knows each zone as stretches of one offset each, and each expression as the readings of a
clock that fit; it knows no cronsim. Some zones in each run; all of them, some minutes:
CRON_ZONES=1 pytest tests/api/test_cron_zones.py
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest

from perdure.api.moments import from_datetime
from perdure.api.ticks import Cron, between, name_of

EVERY = int(os.environ.get("CRON_ZONES", "40"))
"""One zone of so many."""
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
YEARS = range(1970, 2038)
FIXED = ("0 0 * * *", "30 2 * * *", "15 1 * * *", "59 23 * * *", "0 30 0 * * *")
REAL_TIME = ("5 * * * *", "*/20 * * * *", "10 */2 * * *")
ZONES = sorted(available_timezones() - {"localtime", "Factory"})[::EVERY]
Stretch = tuple[datetime, datetime, timedelta]
"""From when, until when (in UTC), and how far the clock is ahead of UTC."""


def _offset(zone: ZoneInfo, moment: datetime) -> timedelta:
    offset = moment.astimezone(zone).utcoffset()
    assert offset is not None
    return offset


def stretches(zone: ZoneInfo) -> list[Stretch]:
    """All of the years, one after the other."""
    found: list[Stretch] = []
    begun = at = datetime(YEARS[0], 1, 1, tzinfo=UTC)
    end = datetime(YEARS[-1], 12, 31, tzinfo=UTC)
    while at < end:
        offset = _offset(zone, at)
        if _offset(zone, at + DAY) != offset:
            low, high = at, at + DAY
            while high - low > timedelta(seconds=1):
                middle = low + (high - low) // 2 // timedelta(seconds=1) * timedelta(seconds=1)
                low, high = (middle, high) if _offset(zone, middle) == offset else (low, middle)
            found.append((begun, high, offset))
            begun = high
        at += DAY
    found.append((begun, at, _offset(zone, at)))
    return found


def fits(expression: str, shown: datetime) -> bool:
    """Whether a clock that shows this, on a whole minute, fits."""
    minute, hour = expression.split()[-5:-3]
    return _fits(minute, shown.minute) and _fits(hour, shown.hour)


def _fits(field: str, number: int) -> bool:
    if field.startswith("*"):
        return number % int(field[2:] or 1) == 0
    return number == int(field)


def minutes(after: datetime, until: datetime) -> Iterator[datetime]:
    """Every whole minute in `after <= minute < until`."""
    at = EPOCH + -(-(after - EPOCH) // MINUTE) * MINUTE
    while at < until:
        yield at
        at += MINUTE


def expected(expression: str, world: list[Stretch], fixed: bool) -> set[datetime]:
    """When it fires within these stretches. What the clock shows is written as if it were UTC."""
    first: dict[datetime, datetime] = {}
    ticks: set[datetime] = set()
    latest = world[0][0] + world[0][2]
    for begun, ended, offset in world:
        if fixed:  # what the clock skips is made up for as soon as it has skipped it
            skipped = minutes(latest, begun + offset)
            ticks |= {begun for shown in skipped if fits(expression, shown)}
        for shown in minutes(begun + offset, ended + offset):
            if fits(expression, shown):
                moment = first.setdefault(shown, shown - offset) if fixed else shown - offset
                ticks.add(moment)
        latest = max(latest, ended + offset)
    return ticks


def around(world: list[Stretch], number: int) -> list[Stretch]:
    """The two days around the change at the end of this stretch."""
    change = world[number][1]
    return [
        (max(begun, change - DAY), min(ended, change + DAY), offset)
        for begun, ended, offset in world
        if begun < change + DAY and ended > change - DAY
    ]


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", ZONES)
def test_around_each_change_of_the_clock(name: str) -> None:
    zone = ZoneInfo(name)
    world = stretches(zone)
    for expression in (*FIXED, *REAL_TIME):
        cron = Cron(expression, zone)
        for number in range(len(world) - 1):
            near = around(world, number)
            # A reading before the window may come again in it, and does not fire there then.
            margin = timedelta(hours=3)
            begun, ended = near[0][0] + margin, near[-1][1]
            wanted = [t for t in expected(expression, near, expression in FIXED) if t > begun]
            got = between(cron, from_datetime(begun), from_datetime(ended) - 1)
            shown = sorted(name_of(from_datetime(t)) for t in wanted)
            assert [name_of(tick) for tick in got] == shown, (expression, near)


def test_there_are_changes_to_look_at() -> None:
    assert len(ZONES) >= 10
    assert len(stretches(ZoneInfo("Europe/Berlin"))) > 100
    assert len(stretches(ZoneInfo("UTC"))) == 1
