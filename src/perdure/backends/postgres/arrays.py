"""Columns of rows as PostgreSQL arrays, in binary. It knows no table.

The driver looks at each value of a list to find out its type, and quotes it as text; for our short
columns that costs more than everything else of a statement. Here the column says what it holds.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format

_DIMENSION = struct.Struct("!iiIii")
"""Dimensions, whether there are NULLs, type of the elements, length, lower bound."""
_EMPTY = struct.Struct("!iiI")
_LENGTH = struct.Struct("!i")
_NUMBER = struct.Struct("!iq")
_NULL = _LENGTH.pack(-1)


class Numbers(tuple[int | None, ...]):
    """A column of bigint."""

    __slots__ = ()


class Texts(tuple[str | None, ...]):
    """A column of text."""

    __slots__ = ()


class Blobs(tuple[bytes | None, ...]):
    """A column of bytea."""

    __slots__ = ()


Column = Numbers | Texts | Blobs


def column(values: Sequence[object]) -> Column:
    """The values as a column of the type that they have; one of NULLs alone passes as text."""
    first = next((value for value in values if value is not None), None)
    if isinstance(first, int):
        return Numbers(values)  # type: ignore[arg-type] # the dumpers refuse what does not fit
    if isinstance(first, bytes):
        return Blobs(values)  # type: ignore[arg-type] # the same
    return Texts(values)  # type: ignore[arg-type] # the same


def _array(element: int, parts: Sequence[bytes | None]) -> bytes:
    if not parts:
        return _EMPTY.pack(0, 0, element)
    has_nulls = None in parts
    pieces = [_DIMENSION.pack(1, has_nulls, element, len(parts), 1)]
    for part in parts:
        pieces += (_NULL,) if part is None else (_LENGTH.pack(len(part)), part)
    return b"".join(pieces)


class _Numbers(Dumper):
    """int8 is type 20, an array of it 1016 (pg_type.dat of the server)."""

    format = Format.BINARY
    oid = 1016

    def dump(self, obj: Numbers) -> bytes:
        if not obj:
            return _EMPTY.pack(0, 0, 20)
        pieces = [_DIMENSION.pack(1, None in obj, 20, len(obj), 1)]
        try:
            pieces += [_NULL if each is None else _NUMBER.pack(8, each) for each in obj]
        except struct.error as error:
            raise psycopg.DataError(f"a number of {tuple(obj)!r} is no bigint") from error
        return b"".join(pieces)


class _Texts(Dumper):
    """text is type 25, an array of it 1009."""

    format = Format.BINARY
    oid = 1009

    def dump(self, obj: Texts) -> bytes:
        encoding = "ascii"  # what nearly every column is; a look at the session costs more
        if self.connection and not all(each is None or each.isascii() for each in obj):
            encoding = self.connection.info.encoding
        return _array(25, [None if each is None else each.encode(encoding) for each in obj])


class _Blobs(Dumper):
    """bytea is type 17, an array of it 1001."""

    format = Format.BINARY
    oid = 1001

    def dump(self, obj: Blobs) -> bytes:
        return _array(17, obj)


def teach(connection: psycopg.Connection) -> None:
    """Let statements of this connection take columns."""
    for kind, dumper in ((Numbers, _Numbers), (Texts, _Texts), (Blobs, _Blobs)):
        connection.adapters.register_dumper(kind, dumper)
