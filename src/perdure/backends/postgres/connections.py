"""Opens PostgreSQL connections with our settings and keeps the idle ones. It runs no statement.

A connection is used by one thread at a time. A process that was forked never touches, and never
closes, what its parent opened: closing would end the parent's session.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict
from psycopg.errors import error_from_result
from psycopg.generators import execute
from psycopg.pq import ExecStatus, Format, TransactionStatus
from psycopg.pq.abc import PGresult

from perdure.backends.postgres.arrays import Column, teach
from perdure.backends.postgres.failures import translate_connect
from perdure.backends.rows import Row
from perdure.errors import BackendUnavailable, ConfigurationError

T = TypeVar("T")

CONNECTIONS_MAX = 8
"""Connections for statements of one process; one more is for renewals. Transactions are short."""

CONNECT_SECONDS = 10
"""How long one try to connect may take."""

ANSWER_SECONDS = 90.0
"""How long a sent statement waits for an answer: longer than the server lets it run. A pooler that
hangs, or a wire that swallows what it acknowledged, would be waited for without end; no keepalive
notices it, for the machine at the other end lives."""

POOLER_PARAMETER = "pooler"
"""Our own parameter in the URL: `?pooler=transaction` says that PgBouncer or the like is between us
and the server, which gives each transaction another session."""
_POOLED = f"{POOLER_PARAMETER}=transaction"


class Session(psycopg.Connection[Row]):
    """A connection that can also call: a statement that is prepared by name and sent as it is.

    For the few statements that everything waits for. The driver's own way makes a cursor, looks at
    each parameter to find out its type, and at each column of the rows; that costs more than the
    rest of a commit.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._called: set[str] = set()

    def refuse_if_dead(self) -> None:
        """Find out, without a trip, that the server hung up while the connection was idle.

        Raises:
            psycopg.OperationalError: it did; the connection is closed.
        """
        try:
            self.pgconn.consume_input()
            self.pgconn.consume_input()  # the first may read the server's last words
        except psycopg.OperationalError:
            self.close()
            raise

    def call(self, name: str, query: bytes, columns: Sequence[Column]) -> list[Row]:
        """The rows of a statement outside of any transaction, each value as text or None.

        Raises:
            psycopg.Error: the statement failed, or nobody knows what became of it.
        """
        prepared, pgconn = name.encode(), self.pgconn
        if name not in self._called:
            pgconn.send_prepare(prepared, query)
            self._results()
            self._called.add(name)
        pgconn.send_query_prepared(
            prepared, [each.binary() for each in columns], [Format.BINARY] * len(columns)
        )
        (result,) = self._results()
        across = range(result.nfields)
        return [
            tuple(_text(result.get_value(row, column)) for column in across)
            for row in range(result.ntuples)
        ]

    def wait(self, gen: PQGen[T], *arguments: Any, **named: Any) -> T:
        """As the driver does, for so long as there may be an answer.

        Raises:
            psycopg.OperationalError: there was none; the connection is closed.
        """
        answer: T = super().wait(self._answered(gen), *arguments, **named)
        return answer

    def _answered(self, gen: PQGen[T]) -> PQGen[T]:
        """The same steps, until it is too late. The driver takes one from time to time (0.1 s)."""
        deadline = time.monotonic() + ANSWER_SECONDS
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if not ready and time.monotonic() > deadline:
                    self.pgconn.finish()
                    raise psycopg.OperationalError(f"no answer within {ANSWER_SECONDS:g} seconds")
                wanted = gen.send(ready)
        except StopIteration as end:
            found: T = end.value
            return found

    def _results(self) -> list[PGresult]:
        """Of what was sent, when all of it is over: also what comes behind the rows, the commit."""
        results: list[PGresult] = self.wait(execute(self.pgconn))
        for result in results:
            if result.status not in _GOOD:
                raise error_from_result(result)
        return results


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode()


_GOOD = (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK)

_forked_away: list[psycopg.Connection] = []
"""Connections of a parent process. They must not be closed here, and garbage would be."""


class Target(NamedTuple):
    """Where to connect.

    Attributes:
        conninfo: for the driver; may hold a password and is never shown.
        shown: the same for people, without user's password and parameters.
        pooled: sessions change with every transaction.
    """

    conninfo: str
    shown: str
    pooled: bool


def parse(url: str) -> Target:
    """What a URL names.

    Raises:
        ConfigurationError: it is none, or a parameter is unknown.
    """
    # Ours is cut out and the rest left as it is: libpq reads it in ways of its own.
    address, _, query = url.partition("://")[2].partition("?")
    options = query.split("&") if query else []
    plain = "postgresql://" + address
    poolers = {each for each in options if each.partition("=")[0] == POOLER_PARAMETER}
    if kept := [each for each in options if each not in poolers]:
        plain += "?" + "&".join(kept)
    if not poolers <= {_POOLED}:
        raise ConfigurationError(
            f"The database URL has another value of {POOLER_PARAMETER}= than 'transaction'. Write "
            f"{_POOLED}, or leave it out where no pooler is in between."
        )
    try:
        found = conninfo_to_dict(plain)
    except (psycopg.ProgrammingError, UnicodeError):  # the latter also for a % that is no escape
        found = {"port": "none"}
    host, port = str(found.get("host", "")), str(found.get("port", ""))
    database = str(found.get("dbname", "(default)"))
    # A password with an unescaped slash ends up in one of these, and must not be shown as one.
    if "@" in host + database or not all(each.isdecimal() for each in port.split(",") if each):
        # Not `from` the error, which could quote a piece of the password.
        raise ConfigurationError(
            "The database URL cannot be used: it is not what libpq takes. Write it as "
            "postgresql://user:password@host:port/database?parameter=value, with the special "
            "characters of a password percent-encoded."
        )
    shown = f"{database!r} on {host or 'the local socket'}"
    if port:
        shown += f":{port}"
    return Target(plain, shown, bool(poolers))


def connect(target: Target) -> Session:
    """A new connection, outside of any transaction.

    Raises:
        BackendUnavailable: the server is away or refuses; the password is not in the message.
    """
    try:
        connection = Session.connect(
            target.conninfo,
            autocommit=True,  # transactions are begun by name, in one trip with their first work
            connect_timeout=CONNECT_SECONDS,
            application_name="perdure",
            client_encoding="UTF8",  # what columns are written in
            # A peer that vanished without a word is noticed within about half a minute.
            keepalives=1,
            keepalives_idle=10,
            keepalives_interval=5,
            keepalives_count=3,
            tcp_user_timeout=30_000,
            # A pooler hands our sessions around, and prepared statements stay behind in them.
            prepare_threshold=None if target.pooled else 3,
        )
    except psycopg.Error as error:
        # `from None`: the driver's own message may hold the connection string.
        raise translate_connect(error, target.shown) from None
    teach(connection)
    return connection


class Pool:
    """Idle connections, newest used first; at most `size` are open."""

    def __init__(self, open_one: Callable[[], Session], size: int) -> None:
        self._open_one = open_one
        self._size = size
        self._changed = threading.Condition(threading.Lock())
        self._idle: list[Session] = []
        self._lent: set[Session] = set()
        self._opening = 0
        self._closed = False

    def take(self, timeout: float) -> tuple[Session, bool]:
        """A connection, and whether it was used before (and may have died since).

        Raises:
            BackendUnavailable: none was free for `timeout` seconds, or none can be opened.
        """
        with self._changed:
            free = self._changed.wait_for(
                lambda: self._idle or len(self._lent) + self._opening < self._size, timeout
            )
            if not free:
                raise BackendUnavailable(
                    f"All {self._size} connections to the database are in use, and none came free "
                    f"within {timeout} s. Look at the server's load."
                )
            if self._idle:
                connection = self._idle.pop()
                self._lent.add(connection)
                return connection, True
            self._opening += 1
        try:
            connection = self._open_one()
        except BaseException:
            with self._changed:
                self._opening -= 1
                self._changed.notify()
            raise
        with self._changed:
            self._opening -= 1
            self._lent.add(connection)
        return connection, False

    def give(self, connection: Session) -> None:
        """Back among the idle ones, or closed if it is in doubt."""
        sound = not connection.closed and (
            connection.info.transaction_status is TransactionStatus.IDLE
        )
        with self._changed:
            self._lent.discard(connection)
            keep = sound and not self._closed
            if keep:
                self._idle.append(connection)
            self._changed.notify()
        if not keep:
            close(connection)

    def forget_idle(self) -> None:
        """Close every idle connection: one died, so the others are in doubt."""
        with self._changed:
            idle, self._idle = self._idle, []
        for connection in idle:
            close(connection)

    def close(self) -> None:
        """Close the idle ones now and the lent ones when they come back."""
        self._closed = True
        self.forget_idle()

    def forked(self) -> None:
        """In the child of a fork: keep what the parent opened from being closed."""
        abandon([*self._idle, *self._lent])


def abandon(connections: Iterable[psycopg.Connection]) -> None:
    """In the child of a fork: never close these, which the parent still uses."""
    _forked_away.extend(connections)


def close(connection: psycopg.Connection) -> None:
    """Close without complaint; a transaction that is open ends with it."""
    with suppress(psycopg.Error):
        connection.close()
