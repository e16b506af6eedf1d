"""Transactions on one PostgreSQL database. It opens, checks and migrates; it knows no table.

Every transaction is READ COMMITTED, bounded in time, and short. A lost connection is told apart by
when it was lost: before COMMIT was sent nothing happened; after that nobody can tell.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import Any, TypeVar

import psycopg
from psycopg.pq import ExecStatus, TransactionStatus

from perdure.backends.forks import watch_forks
from perdure.backends.postgres import schema
from perdure.backends.postgres.arrays import Column
from perdure.backends.postgres.connections import (
    CONNECTIONS_MAX,
    Pool,
    Session,
    Target,
    close,
    connect,
)
from perdure.backends.postgres.failures import (
    is_worth_repeating,
    translate,
    translate_commit,
    translate_connect,
)
from perdure.backends.postgres.sql import numbered, text
from perdure.backends.rows import Row
from perdure.backends.versions import SchemaStatus
from perdure.errors import BackendUnavailable

T = TypeVar("T")

Parameters = Mapping[str, Any] | Sequence[Any]

LOCK_SECONDS = 20
"""How long a statement waits for a lock; longer than an abandoned transaction may live, so that a
read under the row lock always gets it in the end."""
IDLE_SECONDS = 10
"""How long the server lets a transaction of ours sit idle. Ours never do; this is a process that
stopped, and its locks must not hold up the others."""
STATEMENT_SECONDS = 60
REPEATS_MAX = 8
"""How often a transaction that fell victim to others is begun again."""

_LIMITS = {
    "lock_ms": str(LOCK_SECONDS * 1_000),
    "statement_ms": str(STATEMENT_SECONDS * 1_000),
    "idle_ms": str(IDLE_SECONDS * 1_000),
}

logger = logging.getLogger("perdure.postgres")


Asked = tuple[str, Parameters | None]
"""A named statement and its parameters."""

Call = tuple[str, Sequence[Column]]
"""A named statement whose parameters are columns only."""


class Transaction:
    """Statements of one transaction, which begins with the first. For one thread.

    The driver's pipeline stays open from the first trip to the commit. Each trip ends with Sync and
    nothing behind it: leaving a pipeline sends Flush (psycopg 3.3), which disarms the server's
    timeout for idle transactions, and the locks of a process that is stopped just then would hold
    up the others for ever.

    Args:
        prologue: what goes in front of the first statement, in the same trip to the server.
    """

    def __init__(self, connection: psycopg.Connection, prologue: Sequence[Asked]) -> None:
        self.connection = connection
        self._prologue = prologue
        self._later: list[Asked] = []
        self._entered = ExitStack()
        self._pipeline: psycopg.Pipeline | None = None

    def rows(self, name: str, parameters: Parameters | None = None) -> list[Row]:
        """All rows of a named statement."""
        return self.together((name, parameters))[0]

    def row(self, name: str, parameters: Parameters | None = None) -> Row | None:
        """The first row, or None."""
        return next(iter(self.rows(name, parameters)), None)

    def change(self, name: str, parameters: Parameters | None = None) -> int:
        """How many rows a named statement changed."""
        return self._run([(name, parameters)])[0].rowcount

    def together(self, *asked: Asked | None) -> list[list[Row]]:
        """Several statements in one go; their rows, in order. None asks nothing and has no rows."""
        cursors = iter(self._run([each for each in asked if each is not None]))
        return [[] if each is None else _all_rows(next(cursors)) for each in asked]

    def later(self, name: str, parameters: Parameters | None = None) -> None:
        """A statement that changes something, in one trip with the commit."""
        self._later.append((name, parameters))

    def commit(self) -> None:
        """What was put off, and COMMIT. After an error of any of it nothing is kept."""
        self._enter()
        self._send([*self._later, ("commit", None)])
        self._entered.close()

    def only(self, name: str, parameters: Parameters) -> list[Row]:
        """The whole transaction in one trip: a named statement and COMMIT; its rows."""
        self._enter()
        *_, cursor, _ = self._send([*self._prologue, (name, parameters), ("commit", None)])
        self._entered.close()
        return _all_rows(cursor)

    def leave(self) -> None:
        """Send nothing more; the transaction is still to be rolled back if the connection lives."""
        with suppress(psycopg.Error):
            self._entered.close()

    def _run(self, asked: Sequence[Asked]) -> list[psycopg.Cursor[Row]]:
        prologue, self._prologue = self._prologue, ()
        pipeline = self._enter()
        cursors = self._send([*prologue, *asked])
        pipeline.sync()
        return cursors[len(prologue) :]

    def _enter(self) -> psycopg.Pipeline:
        if self._pipeline is None:
            self._pipeline = self._entered.enter_context(self.connection.pipeline())
        return self._pipeline

    def _send(self, asked: Sequence[Asked]) -> list[psycopg.Cursor[Row]]:
        return [self.connection.execute(text(name), parameters) for name, parameters in asked]


def _all_rows(cursor: psycopg.Cursor[Row]) -> list[Row]:
    # Not `description`, which makes an object for each column.
    result = cursor.pgresult
    has_rows = result is not None and result.status == ExecStatus.TUPLES_OK
    return cursor.fetchall() if has_rows else []


class Store:
    """Runs transactions, each wholly or not at all.

    Args:
        now: the clock of a test; None for the server's.
        store_id: 16 bytes for a database that is made now; an existing one keeps its own.
    """

    def __init__(
        self,
        target: Target,
        *,
        now: Callable[[], int] | None,
        store_id: bytes,
        read_only: bool,
        migrates: bool,
    ) -> None:
        self.target = target
        self.read_only = read_only
        self._now = now
        self._store_id = store_id
        self._migrates = migrates
        self._limits = _LIMITS | {"schema": str(len(schema.load_migrations()))}
        self._start_afresh()
        watch_forks(self)

    def _start_afresh(self) -> None:
        self._opening = threading.Lock()
        self._opened = False
        self._pool = Pool(self._connect, CONNECTIONS_MAX)
        self._renewals = Pool(self._connect, 1)

    # --- transactions ----------------------------------------------------------------------------

    def write(self, work: Callable[[Transaction], T], *, renewal: bool = False) -> T:
        """Run `work` in a transaction and commit it.

        `work` may run several times, each time in a transaction of its own, before one commits.

        Raises:
            CommitUnknown: it may or may not have happened.
            BackendError: it did not happen.
        """
        self._refuse_to_write()
        pool = self._renewals if renewal else self._pool
        return self._run(lambda connection: self._once(connection, work, reads=False), pool)

    def _refuse_to_write(self) -> None:
        if self.read_only:
            raise BackendUnavailable(
                f"The database {self.target.shown} was opened with read_only=True. Open it without "
                "read_only to write."
            )

    def read(self, work: Callable[[Transaction], T]) -> T:
        """Run `work`, which only reads, in a transaction; all its statements see one commit."""
        return self._run(lambda connection: self._once(connection, work, reads=True), self._pool)

    def call(self, name: str, columns: Sequence[Column]) -> list[Row]:
        """Run one statement that writes, as a transaction of its own; its rows, maybe as text.

        It is one trip, and mostly nothing goes along: begin and commit are the server's affair.

        Raises:
            CommitUnknown: it may or may not have happened.
            BackendError: it did not happen.
        """
        return self._run_alone(
            name, columns, lambda connection: connection.call(name, numbered(name), columns)
        )

    def change(self, name: str, parameters: Parameters) -> list[Row]:
        """The same for a statement with any parameters; its rows as values.

        Raises:
            CommitUnknown: it may or may not have happened.
            BackendError: it did not happen.
        """
        return self._run_alone(
            name,
            parameters,
            lambda connection: _all_rows(connection.execute(text(name), parameters)),
        )

    def _run_alone(
        self, name: str, parameters: Parameters, run: Callable[[Session], list[Row]]
    ) -> list[Row]:
        self._refuse_to_write()

        def alone(connection: Session) -> list[Row]:
            connection.refuse_if_dead()
            try:
                if self.target.pooled or self._now is not None:
                    return self._only(connection, name, parameters)
                return run(connection)
            except psycopg.Error as error:
                if _is_certain(connection, error):
                    raise
                raise translate_commit(error, self.target.shown) from _safe(error)

        return self._run(alone, self._pool)

    def _only(self, connection: Session, name: str, parameters: Parameters) -> list[Row]:
        transaction = Transaction(connection, self._prologue("begin"))
        try:
            return transaction.only(name, parameters)
        finally:
            transaction.leave()

    def look(self, name: str, parameters: Parameters | None = None) -> list[Row]:
        """The rows of one statement that only reads.

        It sees one commit by itself, so it is one trip and not the three of a transaction, unless
        something must be set for it.
        """

        def alone(connection: Session) -> list[Row]:
            if self.target.pooled or self._now is not None:
                return self._once(connection, lambda each: each.rows(name, parameters), reads=True)
            return _all_rows(connection.execute(text(name), parameters))

        return self._run(alone, self._pool)

    def _run(self, run: Callable[[Session], T], pool: Pool) -> T:
        self._open()
        repeats = 0
        while True:
            connection, used = pool.take(LOCK_SECONDS)
            try:
                return run(connection)
            except psycopg.Error as error:
                dead = connection.closed
                # After an error in a trip of several statements the driver and the server may
                # disagree on what is prepared, so the connection is not used again.
                close(connection)
                if used and dead:
                    # An idle connection that had died; nothing was sent that could have committed.
                    pool.forget_idle()
                    continue
                repeats += 1
                if not is_worth_repeating(error) or repeats > REPEATS_MAX:
                    raise translate(error, self.target.shown) from _safe(error)
            finally:
                self._come_to_rest(connection)
                pool.give(connection)
            time.sleep(random.uniform(0, 0.002 * 2**repeats))  # noqa: S311 - jitter, no secret

    def _once(self, connection: Session, work: Callable[[Transaction], T], *, reads: bool) -> T:
        prologue = self._prologue("begin_reading" if reads else "begin")
        transaction = Transaction(connection, prologue)
        try:
            result = work(transaction)
            self._commit(transaction, reads=reads)
        finally:
            transaction.leave()
        return result

    def _prologue(self, begin: str) -> list[Asked]:
        """What goes in front of a transaction, in the trip of its first statement."""
        prologue: list[Asked] = [(begin, None)]
        if self.target.pooled:
            prologue.append(("limits", self._limits | {"local": True}))
            prologue.append(("plans", {"local": True}))
        if self._now is not None:
            prologue.append(("set_clock", {"now": str(self._now())}))
        return prologue

    def _commit(self, transaction: Transaction, *, reads: bool) -> None:
        try:
            transaction.commit()
        except psycopg.Error as error:
            if reads or _is_certain(transaction.connection, error):
                raise
            raise translate_commit(error, self.target.shown) from _safe(error)

    def _come_to_rest(self, connection: Session) -> None:
        """No transaction is left open, whatever happened."""
        if connection.closed or connection.info.transaction_status is TransactionStatus.IDLE:
            return
        with suppress(psycopg.Error):
            connection.execute(text("rollback"))

    def _connect(self) -> Session:
        """A new connection with our bounds. Behind a pooler each transaction brings them along.

        A pooler is recognised before anything is set for the session. A standby is refused each
        time: after a failover an address may lead to what was the primary server before.
        """
        connection = connect(self.target)
        try:
            ((session, is_standby),) = connection.execute(text("session")).fetchall()
            if is_standby:
                close(connection)
                raise schema.standby(self.target.shown)
            if not self.target.pooled and _is_behind_a_pooler(connection, session):
                logger.info("%s: behind a pooler; statements are not prepared", self.target.shown)
                self.target = self.target._replace(pooled=True)
                connection.prepare_threshold = None
            if not self.target.pooled:
                connection.execute(text("limits"), self._limits | {"local": False})
                connection.execute(text("plans"), {"local": False})
        except psycopg.Error as error:
            close(connection)
            raise translate_connect(error, self.target.shown) from None
        return connection

    # --- opening and closing ----------------------------------------------------------------------

    def _open(self) -> None:
        if self._opened:
            return
        with self._opening:
            if self._opened:
                return
            self._visit(self._prepare)
            self._opened = True

    def _prepare(self, connection: Session) -> None:
        schema.prepare(
            connection,
            self.target.shown,
            self._store_id,
            writes=not self.read_only,
            migrates=self._migrates,
        )

    def is_pooled(self) -> bool:
        """Whether each transaction may get another session, as far as can be known."""
        self._open()
        return self.target.pooled

    def schema_status(self) -> SchemaStatus:
        """What is in the database, and what is missing. Nothing is made or migrated."""
        return self._visit(lambda connection: schema.status(connection, self.target.shown))

    def _visit(self, look: Callable[[Session], T]) -> T:
        """Run `look` on a connection, outside of any transaction and before the schema is known."""
        connection, _ = self._pool.take(LOCK_SECONDS)
        try:
            return look(connection)
        except psycopg.Error as error:
            raise translate(error, self.target.shown) from _safe(error)
        finally:
            self._come_to_rest(connection)
            self._pool.give(connection)

    def close(self) -> None:
        """Close every connection; a call after that opens them again."""
        with self._opening:
            self._pool.close()
            self._renewals.close()
            self._pool = Pool(self._connect, CONNECTIONS_MAX)
            self._renewals = Pool(self._connect, 1)
            self._opened = False

    # --- forks -----------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Nothing to do: the child leaves the parent's connections alone."""

    def after_fork_in_parent(self) -> None:
        """Go on."""

    def after_fork_in_child(self) -> None:
        """Start afresh, and never close what the parent still uses."""
        self._pool.forked()
        self._renewals.forked()
        self._start_afresh()


def _is_behind_a_pooler(connection: psycopg.Connection, session: int) -> bool:
    """Whether the session that answers is another than the one we were told of."""
    return session != connection.info.backend_pid


def _is_certain(connection: psycopg.Connection, error: psycopg.Error) -> bool:
    """Whether nothing was kept, though COMMIT was under way.

    The server itself tells of it, or the driver could not write down a value, and sent nothing.
    """
    told = bool(error.sqlstate) or isinstance(error, psycopg.DataError)
    return told and not connection.closed


def _safe(error: psycopg.Error) -> psycopg.Error | None:
    """The cause to show; none for errors whose text could hold the connection string."""
    return error if error.sqlstate else None
