"""The SQLite state backend: the port's methods, each one transaction of `Store`. No SQL here."""

from __future__ import annotations

import os
import sqlite3
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from perdure.backends.admission import limits_of
from perdure.backends.base import (
    ClaimBatch,
    ClaimRequest,
    CommitResult,
    Committed,
    Finish,
    Holding,
    InvocationQuery,
    InvocationRecord,
    NewInvocation,
    OnExisting,
    RegisterPut,
    RegisterResult,
    StartClaim,
    Started,
    Stop,
    Transition,
)
from perdure.backends.clock import real_clock
from perdure.backends.health import Health
from perdure.backends.hints import CLAIMABLE, NOTHING, Ear, Heard, claimable, slot_of
from perdure.backends.lending import OwnDatabase
from perdure.backends.letters import InboxRow, Letter, Sent
from perdure.backends.limits import QueueStatus
from perdure.backends.rows import entry_of, inbox_row, queue_status, record_of
from perdure.backends.rules import (
    FIRST_GENERATION,
    RESTARTABLE,
    STORE_ID_BYTES,
    check_claim,
    check_settling,
    check_transition,
    first_record,
    hint_of,
    looks_at_due_rows,
    raised_counter,
)
from perdure.backends.server import FIRST_LIST, Outbox, ServerList
from perdure.backends.sqlite import letters, servers, sql
from perdure.backends.sqlite.audit import Audit
from perdure.backends.sqlite.claims import candidates, next_due
from perdure.backends.sqlite.commits import Applier, insert, insert_claimed, is_taken
from perdure.backends.sqlite.connections import Settings, Synchronous
from perdure.backends.sqlite.health import examine
from perdure.backends.sqlite.rows import json_list, key_parameters
from perdure.backends.sqlite.store import Store
from perdure.backends.versions import SchemaStatus
from perdure.core.entries import Entry
from perdure.core.identity import InvocationKey
from perdure.errors import ConfigurationError

LOCK_TIMEOUT = 30.0
"""Seconds to wait for other writers. Writes take milliseconds, so this is a stopped process, not a
busy one; and it is well within the patience of somebody at a terminal."""

SEQS_MAX = 10_000
"""Rows of our own claims whose place in the file is remembered: about 2 MB. A row is never moved
or deleted, so what was committed once stays true; a forgotten one is looked up."""

_BEFORE_ALL = (2**63 - 1, "", 0)
"""A position newer than every row, where the first page begins."""


class SQLiteBackend(Audit):
    """State in one SQLite file, shared by every process of this host that opens it.

    Nothing is touched before the first method call; a call after `close` opens the file again.

    Args:
        path: the database file; made with mode 0600 when missing. Not on a network file system.
        synchronous: "full" survives the loss of power; "normal" may lose the newest commits then
            (never on the death of a process).
        now: the clock, microseconds since 1970 UTC; all processes of a store must agree on it.
        lock_timeout: seconds to wait for other writers before `BackendUnavailable`.
        read_only: never write; the file must exist.
        store_id: 16 bytes for a database made now, for tests that need equal seeds.

    Raises:
        ConfigurationError: a path that names no file.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        synchronous: Synchronous = "full",
        now: Callable[[], int] | None = None,
        lock_timeout: float = LOCK_TIMEOUT,
        read_only: bool = False,
        store_id: bytes | None = None,
    ) -> None:
        name = os.fspath(path)
        if not name or name == ":memory:" or "\0" in name:
            raise ConfigurationError(
                f"The database path {name!r} names no file. Pass a path such as 'perdure.db'; for "
                "state that ends with the process use the memory backend."
            )
        if synchronous not in ("full", "normal"):
            raise ConfigurationError(
                f"synchronous must be 'full' or 'normal', got {synchronous!r}."
            )
        self._now = now or real_clock
        self._settings = Settings(
            str(Path(name).absolute()), synchronous, lock_timeout, read_only, self._now
        )
        self._store = Store(self._settings, store_id or os.urandom(STORE_ID_BYTES))
        self._store_id: bytes | None = None
        self._list_number = FIRST_LIST
        self._seqs: dict[InvocationKey, int] = {}
        self._more = False
        weakref.finalize(self, self._store.collected)

    def own_database(self) -> OwnDatabase:
        """See `HasDatabase.own_database`."""
        return OwnDatabase("sqlite", self._settings.path, self._store.lend)

    # --- reading ---------------------------------------------------------------------------------

    def store_id(self) -> bytes:
        """See `Backend.store_id`."""
        found = self._store_id
        if found is None:
            with self._store.read() as connection:
                row: tuple[bytes] = connection.execute(sql.STORE_ID).fetchone()
            found = self._store_id = row[0]
        return found

    def now(self) -> int:
        """See `Backend.now`."""
        return self._now()

    def read(
        self, invocation_id: str, generation: int | None = None, *, locked: bool = False
    ) -> InvocationRecord | None:
        """See `Backend.read`. `locked` takes its turn among the writers."""
        text = sql.READ_LATEST if generation is None else sql.READ_GENERATION
        asked = {"id": invocation_id, "generation": generation}
        with self._store.write() if locked else self._store.read() as connection:
            row = connection.execute(text, asked).fetchone()
        return None if row is None else record_of(row)

    def query(self, query: InvocationQuery) -> list[InvocationRecord]:
        """See `Backend.query`."""
        text = sql.QUERY_PAGE if query.parent is None else sql.QUERY_CHILDREN
        if looks_at_due_rows(query):
            text = sql.QUERY_LIVE
        parent_id, parent_generation = query.parent or (None, None)
        asked = {
            "app": query.app,
            "kind": query.kind,
            "name": query.name,
            "states": json_list(query.states) if query.states else None,
            "prefix": query.id_prefix,
            "parent_id": parent_id,
            "parent_generation": parent_generation,
            "limit": query.limit,
        }
        with self._store.snapshot() as connection:
            created_at, id_, generation = _BEFORE_ALL
            if query.after is not None:
                id_, generation = query.after
                if query.after_at is not None:
                    created_at = query.after_at
                else:
                    row = connection.execute(sql.CREATED_AT, key_parameters(query.after)).fetchone()
                    if row is None:
                        return []
                    created_at = row[0]
            asked |= {
                "after_created_at": created_at,
                "after_id": id_,
                "after_generation": generation,
            }
            rows = connection.execute(text, asked).fetchall()
        return [record_of(row) for row in rows]

    def read_journal(self, key: InvocationKey, start: int = 0) -> list[Entry]:
        """See `Backend.read_journal`."""
        with self._store.read() as connection:
            asked = {**key_parameters(key), "start": start}
            rows = connection.execute(sql.READ_JOURNAL, asked).fetchall()
        return [entry_of(row) for row in rows]

    def read_inbox(self, key: InvocationKey) -> list[InboxRow]:
        """See `Backend.read_inbox`."""
        with self._store.read() as connection:
            rows = connection.execute(sql.READ_INBOX, key_parameters(key)).fetchall()
        return [inbox_row(row) for row in rows]

    def read_data(self, key: InvocationKey) -> dict[str, bytes]:
        """See `Backend.read_data`."""
        with self._store.read() as connection:
            return dict(connection.execute(sql.READ_DATA, key_parameters(key)).fetchall())

    def register_get(
        self, app: str, workflow_type: str, workflow_id: str, key: str
    ) -> bytes | None:
        """See `Backend.register_get`."""
        asked = (app, workflow_type, workflow_id, key)
        with self._store.read() as connection:
            row = connection.execute(sql.REGISTER_GET, asked).fetchone()
        return None if row is None else row[0]

    def past_deadline(self, app: str, limit: int) -> list[InvocationRecord]:
        """See `Backend.past_deadline`."""
        with self._store.read() as connection:
            asked = {"app": app, "now": self._now(), "limit": limit}
            return [
                record_of(row) for row in connection.execute(sql.PAST_DEADLINE, asked).fetchall()
            ]

    def queues(self, app: str) -> list[QueueStatus]:
        """See `Backend.queues`."""
        with self._store.read() as connection:
            now = self._now()
            rows = connection.execute(sql.QUEUES, {"app": app, "now": now}).fetchall()
        return [queue_status(row, now) for row in rows]

    def owners(self) -> frozenset[str]:
        """See `Backend.owners`."""
        with self._store.read() as connection:
            return frozenset(row[0] for row in connection.execute(sql.OWNERS).fetchall())

    def hints(self, heard: Heard) -> Ear:
        """See `Backend.hints`."""
        return self._store.bell.listen(heard)

    def health(self) -> Health:
        """See `Backend.health`. Reads every page and every journal, a few rows at a time."""
        return examine(self._store, self._now())

    # --- writing ---------------------------------------------------------------------------------

    def start(
        self, new: NewInvocation, on_existing: OnExisting, claim: StartClaim | None = None
    ) -> Started:
        """See `Backend.start`."""
        check_claim(new, claim)
        store_id = self.store_id()

        def begin(connection: sqlite3.Connection) -> tuple[Started, dict[InvocationKey, int]]:
            servers.refuse_old_list(connection, self._list_number)
            row = connection.execute(sql.READ_LATEST, {"id": new.invocation_id}).fetchone()
            generation = FIRST_GENERATION
            if row is not None:
                found = record_of(row)
                if on_existing != "new_generation_if_failed" or found.state not in RESTARTABLE:
                    return Started(found, created=False), {}
                generation = found.key.generation + 1
            now = self._store.now()
            if claim is None:
                record = insert(connection, new, generation, store_id, now)
                self._store.tell(CLAIMABLE | slot_of(record.key.invocation_id))
                for letter in new.letters:
                    letters.send(connection, record.key, letter)
                return Started(record, created=True), {}
            record = first_record(new, generation, store_id, now, claim)
            seq = insert_claimed(connection, record, new)
            return Started(record, created=True), {record.key: seq}

        started, seqs = self._store.share(begin)
        self._remember(seqs)
        if started.created and claim is None and not new.delay:
            self._more = True
        return started

    def send(self, key: InvocationKey, letter: Letter) -> Sent:
        """See `Backend.send`."""

        def send(connection: sqlite3.Connection) -> Sent:
            sent = letters.send(connection, key, letter)
            if sent is Sent.ACCEPTED:
                self._store.tell(claimable((key,)))
            return sent

        return self._store.share(send)

    def claim(self, request: ClaimRequest) -> ClaimBatch:
        """See `Backend.claim`. Equally due rows are taken in the order they were started.

        It looks first and takes a writer's turn only when there is something to take. After a
        start here, or a claim that got all it asked for, there probably is, so the next one spares
        that look.
        """
        if not self._more:
            with self._store.snapshot() as connection:
                self._store.check_writer(connection)
                now = self._now()
                if not candidates(connection, request, now):
                    return ClaimBatch((), now, next_due(connection, request, now))
        batch, seqs = self._store.share(partial(self._grant, request))
        self._remember(seqs)
        return batch

    def _remember(self, seqs: dict[InvocationKey, int]) -> None:
        """Where rows of our own claims are, once they are committed."""
        if len(self._seqs) > SEQS_MAX:
            self._seqs.clear()
        self._seqs |= seqs

    def _grant(
        self, request: ClaimRequest, connection: sqlite3.Connection
    ) -> tuple[ClaimBatch, dict[InvocationKey, int]]:
        """Find and take them in an open write transaction; also where they are in the file."""
        now = self._store.now()
        found = candidates(connection, request, now)
        self._more = 0 < request.limit == len(found)
        if not found:
            return ClaimBatch((), now, next_due(connection, request, now)), {}
        taken = [each.seq for each in found]
        asked: dict[str, str | int] = {
            "seqs": json_list(taken),
            "owner": request.owner,
            "until": now + request.lease,
            "now": now,
        }
        connection.execute(sql.GRANT, asked)
        rows = connection.execute(sql.READ_GRANTED, asked).fetchall()
        self._log_claims(connection, request, {each.queue for each in found}, asked)
        records = {row[-1]: record_of(row) for row in rows}
        seqs = {record.key: seq for seq, record in records.items()}
        return ClaimBatch(tuple(records[seq] for seq in taken), now, None), seqs

    def _log_claims(
        self,
        connection: sqlite3.Connection,
        request: ClaimRequest,
        queues: set[str],
        granted: dict[str, str | int],
    ) -> None:
        """Remember the claims of queues with a rate for as long as the rate looks back."""
        for queue in queues:
            rate = limits_of(request, queue).rate
            if rate is not None:
                since = int(granted["now"]) - rate.period
                asked = granted | {"app": request.app, "queue": queue, "since": since}
                connection.execute(sql.FORGET_CLAIMS, asked)
                connection.execute(sql.LOG_CLAIMS, asked)

    def renew(self, owner: str, holdings: Sequence[Holding], lease: int) -> frozenset[Holding]:
        """See `Backend.renew`."""
        with self._store.renewal() as connection:
            asked = {"owner": owner, "lease": lease}
            return frozenset(
                held
                for held in holdings
                if connection.execute(
                    sql.RENEW, asked | key_parameters(held.key) | {"epoch": held.epoch}
                ).rowcount
            )

    def commit(self, transitions: Sequence[Transition]) -> list[CommitResult]:
        """See `Backend.commit`."""
        for transition in transitions:
            check_transition(transition)
        store_id = self.store_id()

        def apply(connection: sqlite3.Connection) -> list[CommitResult]:
            if any(transition.children for transition in transitions):
                servers.refuse_old_list(connection, self._list_number)
            applier = Applier(connection, self._seqs, store_id, self._store.now())
            results = applier.apply(transitions)
            if (hint := hint_of(transitions, results)) != NOTHING:
                self._store.tell(hint)
            return results

        return self._store.share(apply)

    def seize(
        self, key: InvocationKey, epoch: int, token: bytes, disposition: Finish | Stop
    ) -> CommitResult:
        """See `Backend.seize`."""
        check_settling(key, token, disposition)
        store_id = self.store_id()

        def take(connection: sqlite3.Connection) -> CommitResult:
            applier = Applier(connection, self._seqs, store_id, self._store.now())
            result = applier.seize(key, epoch, token, disposition)
            if isinstance(result, Committed):
                # It may have had a place that others wait for.
                self._store.tell(claimable((key, *result.touched)))
            return result

        return self._store.share(take)

    def register_put(self, put: RegisterPut) -> RegisterResult:
        """See `Backend.register_put`. A child whose id is taken is left as it is."""
        identity = (put.app, put.workflow_type, put.workflow_id)
        store_id = self.store_id()

        def store(connection: sqlite3.Connection) -> RegisterResult:
            servers.refuse_old_list(connection, self._list_number)
            asked = (*identity, put.key)
            if not connection.execute(sql.REGISTER_PUT, (*asked, put.body)).rowcount:
                (body,) = connection.execute(sql.REGISTER_GET, asked).fetchone()
                return RegisterResult(body, won=False)
            if put.counter is not None:
                row = connection.execute(sql.REGISTER_GET, (*identity, put.counter[0])).fetchone()
                if raised := raised_counter(put, None if row is None else row[0]):
                    connection.execute(sql.REGISTER_RAISE, (*identity, *raised))
            if put.child is not None and not is_taken(connection, [put.child.invocation_id]):
                child = insert(connection, put.child, FIRST_GENERATION, store_id, self._store.now())
                self._store.tell(claimable((child.key,)))
            return RegisterResult(put.body, won=True)

        return self._store.share(store)

    def resume(self, key: InvocationKey) -> bool:
        """See `Backend.resume`."""
        asked = key_parameters(key)

        def resume(connection: sqlite3.Connection) -> bool:
            resumed = connection.execute(sql.RESUME, asked).rowcount > 0
            if resumed:
                self._store.tell(claimable((key,)))
            return resumed

        return self._store.share(resume)

    def schema_status(self) -> SchemaStatus:
        """The schema that was found, and what is missing. Nothing is made or migrated."""
        return self._store.schema_status()

    # --- one of several servers ------------------------------------------------------------------

    def server_list(self) -> ServerList | None:
        """See `Server.server_list`."""
        with self._store.read() as connection:
            return servers.read_list(connection)

    def publish(self, given: ServerList) -> None:
        """See `Server.publish`."""
        with self._store.write() as connection:
            servers.publish(connection, given)

    def go_by(self, number: int) -> None:
        """See `Server.go_by`."""
        self._list_number = number

    def outbox(self, positions: Sequence[int], limit: int) -> Outbox:
        """See `Server.outbox`."""
        with self._store.snapshot() as connection:
            return servers.outbox(connection, positions, limit)

    def accept_asks(self, targets: Sequence[InvocationKey], position: int) -> None:
        """See `Server.accept_asks`."""
        with self._store.write() as connection:
            servers.accept_asks(connection, targets, position)

    def accept_ends(self, targets: Sequence[InvocationKey]) -> list[InvocationKey]:
        """See `Server.accept_ends`."""
        with self._store.write() as connection:
            told = servers.accept_ends(connection, targets)
            if told:
                self._store.tell(claimable(told))
            return told

    def sent(self, outbox: Outbox) -> None:
        """See `Server.sent`."""
        with self._store.write() as connection:
            servers.sent(connection, outbox)

    def close(self) -> None:
        """See `Backend.close`. The last one of all processes empties the write-ahead log."""
        self._store.close()
