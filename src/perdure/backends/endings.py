"""When a workflow is to have ended, as what it was started with says. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from perdure.core.reading import UNREADABLE
from perdure.errors import JournalCorrupted

_EMPTY: Final = len(b"{}")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Ending(msgspec.Struct, frozen=True, omit_defaults=True):
    """Members of `NewInvocation.options`. Microseconds; 0 for none; the earlier one counts.

    Attributes:
        ends_within: from the start, by the clock of the store that starts it.
        ends_by: since 1970 UTC.
    """

    ends_within: int = 0
    ends_by: int = 0


_decode = msgspec.json.Decoder(Ending).decode
_encode = msgspec.json.Encoder().encode


def options_of(ending: Ending) -> bytes:
    """What `NewInvocation.options` holds of it."""
    return _encode(ending)


def told(deadline: int) -> str:
    """A deadline in the words of a message."""
    return (_EPOCH + timedelta(microseconds=deadline)).isoformat()


def deadline_of(options: bytes, created_at: int) -> int | None:
    """The deadline of what was started with these options then, or None without one.

    Raises:
        JournalCorrupted: the options cannot be read.
    """
    if len(options) <= _EMPTY:
        return None
    try:
        ending = _decode(options)
    except UNREADABLE as error:
        raise JournalCorrupted(
            f"The options of an invocation cannot be read ({error}): {options[:200]!r}. Restore a "
            "backup."
        ) from error
    moments = [created_at + ending.ends_within] if ending.ends_within else []
    moments += [ending.ends_by] if ending.ends_by else []
    return min(moments, default=None)
