"""The clock on the wall of a time zone. Pure.

Moments are microseconds since 1970 UTC; what the clock shows is counted in the same way, as if it
were a clock of UTC.
"""

from __future__ import annotations

from datetime import timedelta, tzinfo

from perdure.api.moments import to_datetime

_DAY = 86_400_000_000
"""No clock is changed twice within a day: since 1970 there are six days between two changes at
least, in any zone of the IANA database."""
_MICROSECOND = timedelta(microseconds=1)


class WallClock:
    """Which moments are meant by what such a clock shows."""

    def __init__(self, zone: tzinfo) -> None:
        """Bind to a time zone."""
        self._zone = zone

    def ahead(self, moment: int) -> int:
        """How far the clock is ahead of UTC at a moment."""
        return _span(to_datetime(moment).astimezone(self._zone).utcoffset())

    def change(self, after: int, until: int) -> int | None:
        """The first moment in `after < moment <= until` at which the clock was changed."""
        before = self.ahead(after)
        while after < until:
            end = min(after + _DAY, until)
            if self.ahead(end) != before:
                return self._first_unlike(before, after, end)
            after = end
        return None

    def first_moment(self, shown: int) -> int:
        """When the clock shows this for the first time; if a gap skips it: the end of the gap."""
        ahead = _span(to_datetime(shown).replace(tzinfo=self._zone, fold=0).utcoffset())
        moment = shown - ahead
        gap = self.ahead(moment) - ahead
        return self._first_unlike(ahead, moment - gap, moment) if gap else moment

    def _first_unlike(self, ahead: int, like: int, unlike: int) -> int:
        while unlike - like > 1:
            middle = (like + unlike) // 2
            if self.ahead(middle) == ahead:
                like = middle
            else:
                unlike = middle
        return unlike


def _span(offset: timedelta | None) -> int:
    return (offset or timedelta()) // _MICROSECOND
