"""Cron expressions and time zones."""

from __future__ import annotations

import itertools
import zoneinfo
from datetime import UTC

from perdure.api.ticks import Cron, latest, read_zone
from perdure.errors import ConfigurationError
from tests.fuzz.targets import Target, text

_CRONS = (
    *("* * * * *", "*/5 * * * *", "0 0 29 2 *", "30 2 * * SUN", "0 9-17/2 * JAN-MAR MON-FRI"),
    *("0 0 L * *", "0 0 * * 5L", "0 0 * * MON#2", "*/10 * * * * *", "59 23 31 12 7", "@daily"),
    *("0 0 31 2 *", "0 0 30 2 *", "1,2,3,4 * * * *", "0 0 LW * *", "5-1 * * * *", "0 0 1 1 * 2030"),
)
_BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
_SPRING = 1_774_742_400_000_000
"""2026-03-29T00:00Z, an hour before the clocks of Berlin skip one."""


def _read_cron(expression: str) -> None:
    for zone in (UTC, _BERLIN):
        cron = Cron(expression, zone)
        ticks = list(itertools.islice(cron.after(_SPRING), 4))
        assert ticks == sorted(set(ticks)), ticks
        assert all(tick > _SPRING for tick in ticks)
        assert list(itertools.islice(cron.after(_SPRING), 4)) == ticks
        if ticks and ticks[-1] - _SPRING < 10**12:
            assert latest(cron, _SPRING, ticks[-1], 10) == ticks


def cron() -> Target:
    """A cron expression."""
    return Target(
        "cron",
        [each.encode() for each in _CRONS],
        _read_cron,
        typed=(ConfigurationError,),
        prepare=text,
        words=(
            "*",
            "/",
            "-",
            ",",
            "#",
            "L",
            "W",
            "?",
            "@",
            "SUN",
            "DEC",
            " ",
            "0",
            "59",
            "99",
            "٣",
        ),
    )


def _read_zone(name: str) -> None:
    assert str(read_zone(name))


def zone() -> Target:
    """The name of a time zone, of which a file of that name is opened, to be read."""
    good = ("UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+5", "posix/UTC")
    bad = (
        "No/Where",
        "../../etc/passwd",
        "/etc/passwd",
        "",
        ".",
        "..",
        "Europe",
        "Europe/",
        "x" * 300,
        "\0",
    )
    return Target(
        "zone",
        [each.encode() for each in (*good, *bad)],
        _read_zone,
        typed=(ConfigurationError,),
        prepare=text,
        words=("/", "..", "//", ".", "tzdata", "zones", "__init__.py", "Europe", "__pycache__"),
    )
