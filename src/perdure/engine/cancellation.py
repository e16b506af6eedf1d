"""What a cancellation says, as it travels in letters and stands in journals. Pure."""

from __future__ import annotations

from typing import Literal

import msgspec

from perdure.errors import JournalCorrupted

ControlName = Literal["cancel", "terminate"]
"""What one invocation may do to another."""


class Cancellation(msgspec.Struct, frozen=True):
    """Who cancels says why, and whether what was started and has not ended is cancelled with it."""

    reason: str = ""
    children: bool = True


_decode = msgspec.json.Decoder(Cancellation).decode


def read_cancellation(body: bytes) -> Cancellation:
    """From the body of an entry.

    Raises:
        JournalCorrupted: it is none.
    """
    try:
        return _decode(body)
    except msgspec.MsgspecError as error:
        raise JournalCorrupted(
            f"A cancellation in the journal cannot be read ({error}): {body[:200]!r}. Restore a "
            "backup."
        ) from error
