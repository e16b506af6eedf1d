"""Datetimes to and from the microseconds since 1970 UTC that backends count in. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from perdure.errors import ConfigurationError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_datetime(microseconds: int) -> datetime:
    """An aware UTC datetime from microseconds since 1970, without rounding."""
    return _EPOCH + timedelta(microseconds=microseconds)


def from_datetime(moment: datetime) -> int:
    """The microseconds of an aware datetime, without rounding."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def aware(moment: object, what: str) -> datetime:
    """A datetime that names one moment.

    Raises:
        ConfigurationError: it is no datetime, or has no time zone.
    """
    if not isinstance(moment, datetime):
        raise ConfigurationError(
            f"{what}: expected an aware datetime, got {type(moment).__name__}."
        )
    if moment.utcoffset() is None:
        raise ConfigurationError(
            f"{what}: {moment!r} has no time zone, so it means another moment on another machine. "
            "Write datetime(..., tzinfo=UTC), or tzinfo=ZoneInfo('Europe/Berlin')."
        )
    return moment
