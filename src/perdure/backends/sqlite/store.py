"""One database file as seen from one process: opening, transactions, forks, closing. No table here.

Forks. A connection must not be used in a child, and it cannot be closed there safely either when
it was in use. Worse, SQLite keeps one record per file and process of the locks it holds, and a
child that opens the file again while it still has its parent's record believes it has locks that
only the parent has: the log can then be deleted under it. So the parent itself lets go of every
connection before a fork, under the lock file, and both sides open their own again at the next
call. Only if some thread does not come to rest in time, the child gets a clear error instead.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

from perdure.backends.forks import watch_forks
from perdure.backends.hints import Hint
from perdure.backends.sqlite import schema, sql
from perdure.backends.sqlite.bell import Bell
from perdure.backends.sqlite.connections import Readers, Settings, connect, create_file
from perdure.backends.sqlite.failures import FAILURES, translate
from perdure.backends.sqlite.gate import Gate
from perdure.backends.sqlite.sharing import Sharing
from perdure.backends.sqlite.writer import Writer, lock_path
from perdure.backends.versions import NO_SCHEMA, SchemaStatus
from perdure.errors import BackendError, BackendUnavailable

FORK_PATIENCE = 5.0
"""Seconds that a fork waits for statements in flight. Statements take milliseconds; a longer one
(a health check) must not keep a fork for minutes."""

_abandoned: list[sqlite3.Connection] = []
"""Connections that must never be closed: the garbage collector would close them."""


T = TypeVar("T")


class _Write:
    """A turn among the writers, and a transaction in it."""

    __slots__ = ("_gate", "_timeout", "_writer")

    def __init__(self, gate: Gate, writer: Writer, timeout: float) -> None:
        self._gate = gate
        self._writer = writer
        self._timeout = timeout

    def __enter__(self) -> sqlite3.Connection:
        gate, writer = self._gate, self._writer
        gate.refuse_nested()
        try:
            gate.enter(self._timeout)
            try:
                return writer.__enter__()
            except BaseException:
                writer.give_up()
                raise
        except BaseException:
            gate.leave()
            raise

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            self._writer.__exit__(kind, error, trace)
        finally:
            self._gate.leave()


class _Read:
    """A borrowed connection."""

    __slots__ = ("_connection", "_path", "_readers")

    def __init__(self, readers: Readers, path: str) -> None:
        self._readers = readers
        self._path = path

    def __enter__(self) -> sqlite3.Connection:
        try:
            connection = self._connection = self._readers.take()
        except FAILURES as error:
            raise translate(error, self._path) from error
        return connection

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._readers.give(self._connection)
        if isinstance(error, FAILURES):
            raise translate(error, self._path) from error


class _Snapshot(_Read):
    """The same in a transaction. Whoever takes a connection back ends what was left open."""

    __slots__ = ()

    def __enter__(self) -> sqlite3.Connection:
        connection = super().__enter__()
        try:
            connection.execute("BEGIN")
        except BaseException as error:
            self.__exit__(None, error, None)
            raise
        return connection


class Store:
    """Transactions on one file. It touches nothing before the first one.

    Args:
        store_id: 16 bytes for a database that is made now; an existing one keeps its own.
    """

    def __init__(self, settings: Settings, store_id: bytes) -> None:
        self.settings = settings
        self._store_id = store_id
        self._migrations = schema.load_migrations()
        self._at_rest: ExitStack | None = None
        self._inherited = False
        self._refused = ""
        self._start_afresh()
        watch_forks(self)

    def _start_afresh(self) -> None:
        self._opening = threading.Lock()
        self._opened = False
        self._gate = Gate()
        self._readers = Readers(self._open_reader)
        self.bell = Bell(lock_path(self.settings))
        self._writer = Writer(self.settings, self.bell, self.check_writer, checkpoints=True)
        self._sharing = Sharing(
            self.settings.path, self.settings.timeout, self._writer.clock.forget
        )
        self._renewer = Writer(self.settings, self.bell, self.check_writer, checkpoints=False)

    # --- transactions ----------------------------------------------------------------------------

    def write(self) -> _Write:
        """A write transaction alone: durable when its block is left, or not there at all."""
        self._refuse_if_read_only()
        self._open()
        return _Write(self._gate, self._writer, self.settings.timeout)

    def share(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do `work` in a write transaction with what other threads write at the same time.

        It is durable when this returns, and undone when it raises. It may run on another thread.
        """
        return self._sharing.write(self.write, work)

    @contextmanager
    def renewal(self) -> Generator[sqlite3.Connection, None, None]:
        """A write transaction on the renewals' own connection, before queued ordinary ones."""
        self._refuse_if_read_only()
        self._open()
        with self._gate.renewal(self.settings.timeout), self._renewer as connection:
            yield connection

    @contextmanager
    def lend(self) -> Generator[sqlite3.Connection, None, None]:
        """A connection of its own for somebody else's transaction, in turn with all writers.

        Nobody writes here until it comes back. It is opened for this once, so that nothing that is
        done to it stays.
        """
        self._refuse_if_read_only()
        self._open()
        with self._gate.ordinary(self.settings.timeout):
            self._writer.lock.acquire(self.settings.timeout)
            try:
                connection = connect(self.settings, self.settings.clock, writes=True)
                try:
                    self.check_writer(connection)
                    yield connection
                finally:
                    connection.close()
            except sqlite3.Error as error:
                raise translate(error, self.settings.path) from error
            finally:
                self._writer.lock.release()

    def read(self) -> _Read:
        """A connection for one statement; each statement sees the newest commit."""
        self._open()
        return _Read(self._readers, self.settings.path)

    def snapshot(self) -> _Snapshot:
        """A connection whose statements all see one and the same commit."""
        self._open()
        return _Snapshot(self._readers, self.settings.path)

    def now(self) -> int:
        """The one "now" of the open ordinary write transaction."""
        return self._writer.clock()

    def tell(self, hint: Hint) -> None:
        """To others, when the open ordinary write transaction is committed."""
        self._writer.hint |= hint

    def check_writer(self, connection: sqlite3.Connection) -> None:
        """In each transaction that writes, or under the lock file: whether we still may.

        A newer program may have migrated the file meanwhile, in its turn. What an older one writes
        then could break what the newer one relies on.

        Raises:
            SchemaMismatch: we may not.
        """
        path, known = self.settings.path, len(self._migrations)
        if connection.execute(sql.TOO_NEW, {"known": known}).fetchone() is not None:
            schema.check_writable(schema.inspect(connection, path), path, known)

    def _refuse_if_read_only(self) -> None:
        if self.settings.read_only:
            raise BackendUnavailable(
                f"The database {self.settings.path!r} was opened with read_only=True. Open it "
                "without read_only to write."
            )

    # --- opening ---------------------------------------------------------------------------------

    def _open(self) -> None:
        if self._opened:
            return
        with self._opening:
            if self._refused:
                raise BackendUnavailable(self._refused)
            if not self._opened:
                try:
                    self._look() if self.settings.read_only else self._prepare()
                except FAILURES as error:
                    raise translate(error, self.settings.path) from error
                self._opened = True

    def _look(self) -> None:
        """Check an existing database that will only be read."""
        path = self.settings.path
        if not Path(path).exists():
            raise BackendUnavailable(
                f"There is no database {path!r}, and read_only=True makes none. Check the path."
            )
        with self._readers.borrow() as connection:
            found = schema.inspect(connection, path)
        schema.check_readable(found, path, len(self._migrations))

    def schema_status(self) -> SchemaStatus:
        """What is in the file, and what is missing. Nothing is made or migrated."""
        found = NO_SCHEMA
        if Path(self.settings.path).exists():
            with self._opening:
                try:
                    with self._readers.borrow() as connection:
                        found = schema.inspect(connection, self.settings.path)
                except FAILURES as error:
                    raise translate(error, self.settings.path) from error
        script = schema.script(found, self._migrations)
        return SchemaStatus(found, len(self._migrations), script)

    def _prepare(self) -> None:
        """Make, recognise and migrate, in turn with every other process that opens the file."""
        path, known = self.settings.path, len(self._migrations)
        with self._gate.ordinary(self.settings.timeout):
            try:
                self._writer.lock.acquire(self.settings.timeout)
                create_file(path)
                connection = self._writer.open()
                found = schema.inspect(connection, path)
                schema.check_writable(found, path, known)
                connection.execute("PRAGMA journal_mode = WAL").fetchone()
                schema.migrate(connection, found, self._migrations, self._store_id)
            except BaseException:
                self._close_writer()
                raise
            finally:
                self._writer.lock.release()

    def _open_reader(self) -> sqlite3.Connection:
        return connect(self.settings, self.settings.clock, writes=False)

    # --- closing ---------------------------------------------------------------------------------

    def close(self) -> None:
        """Close every connection under the lock file. The last close of all empties the log.

        What does not come to rest, or cannot get the lock, is left to the end of the process: a
        log that was not emptied loses nothing.
        """
        self.bell.close()
        rest = self._come_to_rest(self.settings.timeout)
        if rest is not None:
            with rest:
                self._let_go(self.settings.timeout)

    def collected(self) -> None:
        """Close without waiting: its backend was garbage, so nobody uses it, except for a fork.

        The garbage collector may run inside any line of this file, also where this very thread
        keeps everybody out; then waiting would never end. What stays open goes with the process.
        """
        self.bell.abandon()
        rest = self._come_to_rest(0.0)
        if rest is not None:
            with rest:
                self._let_go(0.0)

    def _come_to_rest(self, timeout: float) -> ExitStack | None:
        """Keep every thread out; None if one would not leave within `timeout` seconds."""
        with ExitStack() as entered:
            if not self._opening.acquire(timeout=timeout):
                return None
            entered.callback(self._opening.release)
            try:
                entered.enter_context(self._gate.ordinary(timeout))
                entered.enter_context(self._gate.renewal(timeout))
            except BackendUnavailable:
                return None
            if not self._readers.hold_still(timeout):
                return None
            entered.callback(self._readers.go_on)
            return entered.pop_all()

    def _let_go(self, timeout: float) -> bool:
        """Close everything, at rest; False if the lock file was not had: then nothing is closed."""
        self._opened = False
        try:
            if not self.settings.read_only and self._writer.connection is not None:
                self._writer.lock.acquire(timeout)
            for connection in self._connections():
                connection.close()
        except BackendError:
            _abandoned.extend(self._connections())
            return False
        finally:
            self._readers.forget_all()
            self._renewer.connection = self._writer.connection = None
            self._writer.lock.release()
            self._writer.lock.close()
            self._renewer.lock.close()
        return True

    def _connections(self) -> list[sqlite3.Connection]:
        """All of them, the durable writer last: whoever closes last empties the log."""
        writers = (self._renewer.connection, self._writer.connection)
        return [*self._readers.everyone(), *(each for each in writers if each is not None)]

    def _close_writer(self) -> None:
        connection, self._writer.connection = self._writer.connection, None
        if connection is not None:
            connection.close()

    # --- forks -----------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Let go of every connection, so that the child inherits none."""
        self._at_rest = self._come_to_rest(FORK_PATIENCE)
        left = self._at_rest is not None and self._let_go(FORK_PATIENCE)
        self._inherited = not left

    def after_fork_in_parent(self) -> None:
        """Go on; connections are opened again at the next call."""
        rest, self._at_rest = self._at_rest, None
        if rest is not None:
            rest.close()

    def after_fork_in_child(self) -> None:
        """Start afresh. What was inherited after all is never closed and never used."""
        self._at_rest = None
        if self._inherited:
            _abandoned.extend(self._connections())
            self._writer.lock.close()
            self._renewer.lock.close()
            self._refused = (
                f"This process was forked while another thread was using {self.settings.path!r}, "
                "and SQLite cannot be used here safely. Fork before that work starts, or use the "
                "'spawn' start method."
            )
        self._start_afresh()
