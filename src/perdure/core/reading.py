"""Takes apart what stands in entries. Pure.

Their seals fit, but whoever can write rows can make that so: nothing here believes that the bytes
are what we once wrote.
"""

from __future__ import annotations

from typing import Final

import msgspec

from perdure.core.entries import Entry
from perdure.core.scope import DrawValue
from perdure.errors import JournalCorrupted

UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What a parser raises for bytes that are not what it reads."""

DrawBlock = dict[str, tuple[int, list[DrawValue]]]


class Meta(msgspec.Struct, omit_defaults=True):
    """The extensible part of an entry. Readers ignore members they do not know.

    Attributes:
        draws: draws of each kind handed out in the scope before this command.
        line: `file:line` of the workflow code that asked for it.
    """

    draws: dict[str, int] = {}
    line: str = ""


_decode_meta = msgspec.json.Decoder(Meta).decode
_decode_block = msgspec.json.Decoder(DrawBlock).decode
_decode_text = msgspec.json.Decoder(str).decode
_decode_any = msgspec.json.Decoder(msgspec.Raw).decode


def read_meta(entry: Entry) -> Meta:
    """Its meta.

    Raises:
        JournalCorrupted: it cannot be read.
    """
    try:
        return _decode_meta(entry.meta)
    except UNREADABLE as error:
        raise _unreadable(entry, entry.meta, error) from error


def read_block(entry: Entry) -> DrawBlock:
    """The draws of an entry of draws.

    Raises:
        JournalCorrupted: they cannot be read.
    """
    try:
        return _decode_block(entry.body)
    except UNREADABLE as error:
        raise _unreadable(entry, entry.body, error) from error


def read_memo(entry: Entry) -> str:
    """The id of the invocation that a memo names.

    Raises:
        JournalCorrupted: it cannot be read.
    """
    try:
        return _decode_text(entry.body)
    except UNREADABLE as error:
        raise _unreadable(entry, entry.body, error) from error


def is_json(body: bytes) -> bool:
    """Whether it is one JSON text. What is not would change the entry that it is put into."""
    try:
        _decode_any(body)
    except UNREADABLE:
        return False
    return True


def _unreadable(entry: Entry, found: bytes, error: Exception) -> JournalCorrupted:
    return JournalCorrupted(
        f"Position {entry.position} of a journal ({entry.kind!r}, {entry.key!r}) cannot be read "
        f"({error}): {found[:200]!r}. Restore a backup; nothing of it was used."
    )
