"""When a schedule fires. Pure: whoever asks brings the time, in microseconds since 1970 UTC."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, timedelta, tzinfo
from typing import Protocol
from zoneinfo import ZoneInfo

from perdure.api.moments import from_datetime, to_datetime
from perdure.api.wall_clock import WallClock
from perdure.core.retry import seconds
from perdure.errors import ConfigurationError
from perdure.values.scalars import find_zone

SHORTEST_SECONDS = 1
"""Whoever needs something more often than this needs a loop, not a schedule."""
FIRST_SPAN = 60_000_000
"""How far `latest` looks back at first, in microseconds; then four times as far, and so on."""


class Ticks(Protocol):
    """The moments of a schedule. The same in every process, wherever one starts to look."""

    @property
    def text(self) -> str:
        """The rule, for people."""
        ...

    def after(self, moment: int) -> Iterator[int]:
        """Every later tick, in order."""
        ...


class Every:
    """Each whole multiple of a span since 1970-01-01T00:00Z: of 15 minutes, the full quarters."""

    def __init__(self, span: timedelta) -> None:
        """Check the span.

        Raises:
            ConfigurationError: it is no timedelta, or too short.
        """
        if not isinstance(span, timedelta):  # pyright: ignore[reportUnnecessaryIsInstance] - not every caller has a type checker
            raise ConfigurationError(
                f"every={span!r}: expected a timedelta, such as timedelta(minutes=15)."
            )
        if seconds(span, "every") < SHORTEST_SECONDS:
            raise ConfigurationError(f"every={span!r}: expected at least {SHORTEST_SECONDS} s.")
        self._span = span // timedelta(microseconds=1)
        self.text = f"every {span}"

    def after(self, moment: int) -> Iterator[int]:
        """See `Ticks.after`."""
        tick = moment - moment % self._span
        while True:
            tick += self._span
            yield tick


class Cron:
    """A cron expression by the clock on the wall of a time zone, as Debian's cron goes by it.

    A time that the clock skips fires right after the gap; one that it shows twice fires the first
    time. Where minute or hour begins with a star, real time counts: nothing is skipped or merged.
    """

    def __init__(self, expression: str, zone: tzinfo) -> None:
        """Check the expression.

        Raises:
            ConfigurationError: it cannot be read, or never fires.
        """
        from cronsim import CronSim, CronSimError  # noqa: PLC0415 - most apps have no schedule

        self._make = CronSim
        self._expression = expression
        self._clock = WallClock(zone)
        self.text = expression
        try:
            first = next(self._walls(0), None)
        except (CronSimError, ValueError) as error:  # of numbers with thousands of digits
            raise ConfigurationError(
                f"The schedule {expression!r:.200} cannot be read, or never fires: {error}. "
                "Expected five fields (minute, hour, day of month, month, day of week), such as "
                "'*/5 * * * *', or six with seconds before them."
            ) from error
        if first is None:
            raise ConfigurationError(
                f"The schedule {expression!r} never fires: no day of the next 50 years fits it."
            )
        minute, hour = expression.split()[-5:-3]
        self._real_time = minute.startswith("*") or hour.startswith("*")

    def after(self, moment: int) -> Iterator[int]:
        """See `Ticks.after`."""
        return self._in_real_time(moment) if self._real_time else self._at_times(moment)

    def _walls(self, wall: int) -> Iterator[int]:
        """The later readings that fit, of a clock that nobody ever changes.

        What becomes of them when the clock is changed is not cronsim's to say: it walks an aware
        datetime by whole hours and days, and so loses its way where the clock is changed at
        midnight, or by half an hour.
        """
        start = to_datetime(wall).replace(tzinfo=None)
        for found in self._make(self._expression, start):
            yield from_datetime(found.replace(tzinfo=UTC))

    def _at_times(self, moment: int) -> Iterator[int]:
        last = moment
        for wall in self._walls(moment + self._clock.ahead(moment)):
            tick = self._clock.first_moment(wall)
            if tick > last:  # what a gap skips is one tick, and in the hour that comes twice...
                yield tick  # ...the second of the two may be where one begins
                last = tick

    def _in_real_time(self, moment: int) -> Iterator[int]:
        wall: int | None = moment + self._clock.ahead(moment)
        while wall is not None:
            ahead, start, wall = self._clock.ahead(moment), wall, None
            for shown in self._walls(start):
                tick = shown - ahead
                change = self._clock.change(moment, tick)
                if change is not None:
                    moment = change  # where the clock shows something that may fit as well
                    wall = change - 1 + self._clock.ahead(change)
                    break
                yield tick
                moment = tick


def between(ticks: Ticks, after: int, until: int) -> Iterator[int]:
    """The ticks in `after < tick <= until`."""
    for tick in ticks.after(after):
        if tick > until:
            return
        yield tick


def latest(ticks: Ticks, after: int, until: int, count: int) -> list[int]:
    """The newest `count` ticks in `after < tick <= until`, without a walk through all of them."""
    span = FIRST_SPAN
    while True:
        start = max(after, until - span)
        found = list(between(ticks, start, until))
        if len(found) >= count or start == after:
            return found[-count:]
        span *= 4


def read_zone(timezone: str | ZoneInfo) -> ZoneInfo:
    """The time zone of this name, which is what is shown of it.

    Raises:
        ConfigurationError: there is none.
    """
    try:
        return find_zone(timezone.key if isinstance(timezone, ZoneInfo) else timezone)
    except (ValueError, TypeError, OSError) as error:
        raise ConfigurationError(
            f"timezone={timezone!r} is not known here. Expected a name of the IANA database, such "
            "as 'Europe/Berlin' or 'UTC'; where the system has no such database, install tzdata."
        ) from error


def name_of(tick: int) -> str:
    """A tick as it stands in ids: RFC 3339 in UTC, such as 2026-03-29T01:00:00Z."""
    return to_datetime(tick).isoformat().replace("+00:00", "Z")
