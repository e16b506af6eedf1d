"""The limits of recorded values, and the cheap check of them. It must not parse or decode anything.

Bytes from a state backend are not trusted, so the check runs before any parser sees them; the same
check runs when a value is recorded, so nothing is ever written that could not be read back.
"""

from __future__ import annotations

from array import array
from itertools import accumulate
from typing import Final

DEPTH_MAX: Final = 64
"""Levels of containers in one value. Deeper data is a mistake or an attack on the call stack."""

JSON_DEPTH_MAX: Final = 4 * DEPTH_MAX
"""Levels of JSON brackets. One level of a value takes at most three of them in tagged form."""

BYTES_MAX: Final = 8 * 1024 * 1024
"""Bytes of one encoded value (default). A journal is for results, not for files."""

ITEMS_MAX: Final = 1_000_000
"""Items in all containers of one value. An empty object is 3 bytes as text and 64 in memory."""

INT_BITS_MAX: Final = 332_192
"""Bits of one integer (about 100,000 decimal digits). Printing one costs the square of its size."""

_BRACKETS: Final = b"[]{}"
_STEPS: Final = bytes.maketrans(_BRACKETS, b"\x01\xff\x01\xff")
_ALL_BUT_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in _BRACKETS)
SMALL: Final = JSON_DEPTH_MAX
"""Bytes. So short a text cannot reach any limit but that of its size."""


class Refusal(Exception):  # not a PerdureError: no caller ever sees it
    """Why a value or its bytes are refused; carries the path, which is built while unwinding.

    It never leaves this package: the codec, which knows where the value belongs, translates it.
    """

    def __init__(self, reason: str, *, too_large: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.too_large = too_large
        self._steps: list[str] = []

    def inside(self, step: str) -> None:
        """Put `step` (such as `[3]` or `.owner`) in front of the path."""
        self._steps.append(step)

    def __str__(self) -> str:
        return f"at ${''.join(reversed(self._steps))}: {self.reason}"


def check(body: bytes, bytes_max: int) -> None:
    """Raise `Refusal` when the JSON text `body` is over a limit. Malformed text may pass."""
    size = len(body)
    if size > bytes_max:
        raise Refusal(
            f"the encoded value has {size:,} bytes, the limit is {bytes_max:,}. "
            "Keep large data in a file or an object store and record where it is",
            too_large=True,
        )
    if size <= SMALL:
        return
    openings = body.count(b"[") + body.count(b"{")
    if openings + body.count(b",") <= JSON_DEPTH_MAX:
        return
    outside = _outside_strings(body)
    items = outside.count(b"[") + outside.count(b"{") + outside.count(b",")
    if items > ITEMS_MAX:
        raise Refusal(
            f"the value has about {items:,} items, the limit is {ITEMS_MAX:,}. "
            "Split it, or keep it in a file and record where it is",
            too_large=True,
        )
    brackets = array("b", outside.translate(_STEPS, _ALL_BUT_BRACKETS))
    if max(accumulate(brackets), default=0) > JSON_DEPTH_MAX:
        raise too_deep()


def too_deep() -> Refusal:
    """The refusal of a value with too many levels."""
    return Refusal(
        f"the value is nested deeper than {DEPTH_MAX} levels, or it contains itself. "
        "Flatten it, or refer to the inner parts by an id",
        too_large=True,
    )


def _outside_strings(body: bytes) -> bytes:
    """`body` without the contents of its JSON strings (escapes first, so quotes are real ones)."""
    unescaped = body.replace(rb"\\", b"").replace(rb"\"", b"")
    return b"".join(unescaped.split(b'"')[::2])
