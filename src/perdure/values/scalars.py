"""How single values that JSON lacks are written: a table of tags. It must not know containers.

Each row turns a value into something simpler and back. The row of a class applies to that very
class, because a subclass would come back as its base.
"""

from __future__ import annotations

import functools
import math
import re
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Final
from uuid import UUID
from zoneinfo import TZPATH, ZoneInfo, available_timezones

from perdure.values.limits import INT_BITS_MAX, Refusal

_ZONE_KEY: Final = re.compile(r"[A-Za-z0-9_+-]{1,32}(/[A-Za-z0-9_+-]{1,32}){0,3}")
"""What a time zone may be called. Checked because `ZoneInfo` opens a file of that name."""


@dataclass(frozen=True, slots=True)
class Extension:
    """How values of one class are written as `{"$": tag, "v": to_plain(value)}` and read again.

    `to_plain` may return anything that can be recorded itself. Two values count as equal when
    their plain forms are equal.
    """

    cls: type
    tag: str
    to_plain: Callable[[Any], object]
    from_plain: Callable[[Any], object]


def _clock_to_plain(value: datetime | time) -> object:
    """ISO text; with a named zone or a fold, a list of the local ISO text, the zone, the fold."""
    zone = value.tzinfo
    if isinstance(zone, ZoneInfo):
        if not isinstance(key := getattr(zone, "key", None), str):
            raise Refusal("a ZoneInfo without a key cannot be recorded. Make it as ZoneInfo(key)")
        return [value.replace(tzinfo=None).isoformat(), key, value.fold]
    if zone is not None and zone.utcoffset(None) is None:
        raise Refusal(
            f"a time zone of type {type(zone).__module__}.{type(zone).__qualname__!s} cannot be "
            "recorded. Use zoneinfo.ZoneInfo or datetime.timezone"
        )
    return [value.isoformat(), "", 1] if value.fold else value.isoformat()


def _datetime_from_plain(plain: Any) -> datetime:
    text, zone, fold = _clock_parts(plain)
    moment = datetime.fromisoformat(text).replace(fold=fold)
    return moment.replace(tzinfo=zone) if zone else moment


def _time_from_plain(plain: Any) -> time:
    text, zone, fold = _clock_parts(plain)
    moment = time.fromisoformat(text).replace(fold=fold)
    return moment.replace(tzinfo=zone) if zone else moment


def _clock_parts(plain: Any) -> tuple[str, ZoneInfo | None, int]:
    if isinstance(plain, str):
        return plain, None, 0
    text, key, fold = plain
    return text, find_zone(key) if key else None, fold


@functools.lru_cache(maxsize=1024)
def find_zone(key: str) -> ZoneInfo:
    """The time zone of a name that somebody else wrote.

    `ZoneInfo` opens a file of that name, and where there is none it imports a package of that name
    inside of tzdata. So only names of zones that there are get so far.

    Raises:
        ValueError: there is none.
    """
    if not _ZONE_KEY.fullmatch(key):
        raise ValueError("not the name of a time zone")
    if not any(Path(folder, key).is_file() for folder in TZPATH) and key not in _known_zones():
        raise ValueError(f"there is no time zone {key!r} here")
    return ZoneInfo(key)


@functools.cache
def _known_zones() -> frozenset[str]:
    """Asked where the system has none of a name; it looks at every file."""
    return frozenset(available_timezones())


def int_to_plain(value: int) -> str:
    """Hexadecimal, because its cost grows with the size only, not with the square of it."""
    if value.bit_length() > INT_BITS_MAX:
        raise Refusal(
            f"an int of {value.bit_length():,} bits is over the limit of {INT_BITS_MAX:,} bits",
            too_large=True,
        )
    return hex(value)


def _int_from_plain(plain: Any) -> int:
    if len(plain) > INT_BITS_MAX // 4 + len("-0x"):
        raise ValueError("an int with too many digits")
    return int(plain, 16)


def _bytes_from_plain(plain: Any) -> bytes:
    return b64decode(plain, validate=True)


_NOT_FINITE: Final = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}

SCALARS: Final = (
    Extension(int, "int", int_to_plain, _int_from_plain),
    Extension(float, "float", repr, _NOT_FINITE.__getitem__),
    Extension(complex, "complex", lambda v: [v.real, v.imag], lambda p: complex(*p)),
    Extension(Decimal, "decimal", str, Decimal),
    Extension(UUID, "uuid", str, UUID),
    Extension(bytes, "bytes", lambda v: b64encode(v).decode(), _bytes_from_plain),
    Extension(
        bytearray,
        "bytearray",
        lambda v: b64encode(v).decode(),
        lambda p: bytearray(_bytes_from_plain(p)),
    ),
    Extension(datetime, "datetime", _clock_to_plain, _datetime_from_plain),
    Extension(date, "date", date.isoformat, date.fromisoformat),
    Extension(time, "time", _clock_to_plain, _time_from_plain),
    Extension(
        timedelta,
        "timedelta",
        lambda v: [v.days, v.seconds, v.microseconds],
        lambda p: timedelta(*p),
    ),
    Extension(type(Path()), "path", str, Path),
    Extension(PurePosixPath, "path.posix", str, PurePosixPath),
    Extension(PureWindowsPath, "path.windows", str, PureWindowsPath),
)
"""The built-in rows. An int or a float has a tag only when JSON cannot hold it."""
