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

    def binary(self) -> bytes:
        """As the server takes it. int8 is type 20 (pg_type.dat of the server).

        Raises:
            psycopg.DataError: a number that is no bigint.
        """
        if not self:
            return _EMPTY.pack(0, 0, 20)
        pieces = [_DIMENSION.pack(1, None in self, 20, len(self), 1)]
        try:
            pieces += [_NULL if each is None else _NUMBER.pack(8, each) for each in self]
        except struct.error as error:
            raise psycopg.DataError(f"a number of {tuple(self)!r} is no bigint") from error
        return b"".join(pieces)


class Texts(tuple[str | None, ...]):
    """A column of text."""

    __slots__ = ()

    def binary(self) -> bytes:
        """As the server takes it on our connections, which speak UTF-8. text is type 25."""
        return _array(25, [None if each is None else each.encode() for each in self])


class Blobs(tuple[bytes | None, ...]):
    """A column of bytea."""

    __slots__ = ()

    def binary(self) -> bytes:
        """As the server takes it. bytea is type 17."""
        return _array(17, self)


Column = Numbers | Texts | Blobs


def _array(element: int, parts: Sequence[bytes | None]) -> bytes:
    if not parts:
        return _EMPTY.pack(0, 0, element)
    pieces = [_DIMENSION.pack(1, None in parts, element, len(parts), 1)]
    for part in parts:
        pieces += (_NULL,) if part is None else (_LENGTH.pack(len(part)), part)
    return b"".join(pieces)


class _Binary(Dumper):
    format = Format.BINARY

    def dump(self, obj: Column) -> bytes:
        return obj.binary()


class _Numbers(_Binary):
    oid = 1016  # an array of int8, and so on


class _Texts(_Binary):
    oid = 1009


class _Blobs(_Binary):
    oid = 1001


def teach(connection: psycopg.Connection) -> None:
    """Let statements of this connection take columns."""
    for kind, dumper in ((Numbers, _Numbers), (Texts, _Texts), (Blobs, _Blobs)):
        connection.adapters.register_dumper(kind, dumper)
