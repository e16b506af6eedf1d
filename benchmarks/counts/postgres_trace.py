"""What goes to a PostgreSQL server and back while something runs, by libpq's own trace."""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from typing import IO, Any
from unittest import mock

import psycopg
from psycopg.pq import Trace

from perdure.backends.postgres.connections import Session
from perdure.backends.postgres.hints import Hints

_connect = Session.connect
_SENT, _RECEIVED = "F", "B"
_OWN = re.compile(r'\s*"" "(?!_pg3_|")')
"""A portal without a name, and a prepared statement that neither the driver named nor nobody."""


class PostgresTrace:
    """Statements, commits, and trips: how often something was sent and an answer waited for."""

    def __init__(self) -> None:
        self._connections: list[psycopg.Connection] = []

    @contextlib.contextmanager
    def listening(self) -> Generator[None]:
        def connect(*args: Any, **settings: Any) -> psycopg.Connection:
            connection = _connect(*args, **settings)
            self._connections.append(connection)
            return connection

        # Hints are told by a thread of their own, whenever it comes to it.
        untold = mock.patch.object(Hints, "tell")
        with untold, mock.patch.object(Session, "connect", connect):
            yield

    def of(self, step: Callable[[], object]) -> Counter[str]:
        found: Counter[str] = Counter()
        with contextlib.ExitStack() as stack:
            files = [stack.enter_context(_traced(each)) for each in self._connections]
            step()
            for connection in self._connections:
                connection.pgconn.untrace()  # which writes what is still in its buffer
            for file in files:
                file.seek(0)
                found += counted(file)
        return found


@contextlib.contextmanager
def _traced(connection: psycopg.Connection) -> Generator[IO[str]]:
    with tempfile.TemporaryFile("w+", encoding="utf-8") as file:
        connection.pgconn.trace(file.fileno())
        connection.pgconn.set_trace_flags(Trace.SUPPRESS_TIMESTAMPS)
        yield file


def counted(lines: Iterable[str]) -> Counter[str]:
    r"""The counts in a trace, whose lines are like "F\t9\tExecute\t..." (F: sent, B: received)."""
    found: Counter[str] = Counter()
    before = _RECEIVED
    for line in lines:
        side, _, rest = line.partition("\t")
        if side not in (_SENT, _RECEIVED):
            continue  # a statement of several lines
        kind, _, told = rest.partition("\t")[2].partition("\t")
        found["statements"] += side == _SENT and kind in ("Execute", "Query")
        found["commits"] += side == _RECEIVED and kind == "CommandComplete" and '"COMMIT"' in told
        # A statement under a name of ours is a transaction of its own, and each of them writes.
        found["commits"] += side == _SENT and kind == "Bind" and _OWN.match(told) is not None
        found["trips"] += (before, side) == (_SENT, _RECEIVED)
        before = side
    return found
