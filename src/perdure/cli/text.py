"""Text from a database, made fit for a terminal. Pure: it reads and prints nothing.

Whatever stands in a database may have been put there to move the cursor, forge a line or turn the
reading direction. Such characters are shown as escapes and never reach a terminal.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import msgspec

from perdure.values.limits import BYTES_MAX, Refusal, check

BODY_MAX = 4 * BYTES_MAX
"""Bytes of recorded JSON shown as JSON: an entry holds arguments and a result."""

VALUE_MAX = 60
"""Characters of a value in a table; the whole of it is in the `--json` form."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
"""Control, direction, invisible and surrogate characters."""


def clean(text: str) -> str:
    """One line in which every unsafe character is an escape, as `repr` would show it."""
    return _UNSAFE.sub(_escape, text)


def clean_lines(text: str) -> str:
    """As `clean`, with line breaks and tabs kept as they are."""
    return "\n".join(clean(line.replace("\t", "    ")) for line in text.split("\n"))


def _escape(found: re.Match[str]) -> str:
    code = ord(found.group())
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def shorten(text: str, limit: int = VALUE_MAX) -> str:
    """At most `limit` characters, with the number of those left out."""
    if len(text) <= limit:
        return text
    mark = f"... ({len(text):,} chars)"
    return text[: max(1, limit - len(mark))] + mark


# --- JSON ---------------------------------------------------------------------------------------


def raw(body: bytes) -> msgspec.Raw:
    """Recorded JSON, to be embedded as it is. What is no JSON becomes a JSON string of itself."""
    try:
        check(body, BODY_MAX)
        msgspec.json.decode(body, type=msgspec.Raw)
        body.decode()
    except (Refusal, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return msgspec.Raw(msgspec.json.encode(body.decode("utf-8", "backslashreplace")))
    return msgspec.Raw(body)


def json_line(value: object) -> str:
    """`value` (plain data and `raw` bodies) as one line of JSON, safe for a terminal."""
    return _safe_json(msgspec.json.format(msgspec.json.encode(value), indent=-1))


def json_text(value: object) -> str:
    """The same on several lines, for people."""
    return _safe_json(msgspec.json.format(msgspec.json.encode(value), indent=2))


def _safe_json(body: bytes) -> str:
    # Unsafe characters stand only inside of strings, where the escape means the same. (The line
    # breaks of an indented text are ours; those inside of strings are escaped already.)
    return "\n".join(_UNSAFE.sub(_json_escape, line) for line in body.decode().split("\n"))


def _json_escape(found: re.Match[str]) -> str:
    units = found.group().encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


# --- times --------------------------------------------------------------------------------------


def moment(microseconds: int) -> datetime:
    """An aware UTC datetime from microseconds since 1970; the last one there is if it is beyond."""
    try:
        return _EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)


def iso(microseconds: int | None) -> str | None:
    """RFC 3339 text, or None for None."""
    return None if microseconds is None else moment(microseconds).isoformat().replace("+00:00", "Z")


def clock(microseconds: int) -> str:
    """To the second, for people."""
    return f"{moment(microseconds):%Y-%m-%d %H:%M:%S}"


def span(microseconds: int) -> str:
    """A duration for people: `0.203 s`, `2 min 3 s`, `4 h 2 min`, `3 d 4 h`."""
    if microseconds < 60_000_000:
        return f"{microseconds / 1_000_000:.3f} s"
    whole = microseconds // 1_000_000  # as an int: what is damaged may be too large for a float
    for size, name, small, small_name in (
        (86_400, "d", 3_600, "h"),
        (3_600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            return f"{whole // size} {name} {whole % size // small} {small_name}"
    return f"{whole} s"
