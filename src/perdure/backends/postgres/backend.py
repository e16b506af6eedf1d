"""The PostgreSQL state backend: the port's methods, each one transaction. No SQL here."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Sequence
from typing import TypeVar

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
from perdure.backends.health import Health
from perdure.backends.hints import CLAIMABLE, NOTHING, Ear, Heard, claimable
from perdure.backends.lending import OwnDatabase
from perdure.backends.letters import InboxRow, Letter, Sent
from perdure.backends.limits import QueueStatus
from perdure.backends.postgres import letters, servers
from perdure.backends.postgres.audit import Audit
from perdure.backends.postgres.claims import Claim
from perdure.backends.postgres.clock import ServerClock, moment
from perdure.backends.postgres.commits import Wave, seized, seizure, start_call, waves
from perdure.backends.postgres.connections import parse
from perdure.backends.postgres.health import examine
from perdure.backends.postgres.hints import Hints
from perdure.backends.postgres.store import Store, Transaction
from perdure.backends.rows import (
    Row,
    call_row,
    claimed_row,
    entry_of,
    inbox_row,
    invocation_row,
    queue_status,
    record_of,
)
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
)
from perdure.backends.server import FIRST_LIST, Outbox, ServerList, refuse_old
from perdure.backends.versions import SchemaStatus
from perdure.core.entries import Entry
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import InvocationState

T = TypeVar("T")

LIMITED_MAX = 10_000
"""Rows of our own claims under limits that are remembered; the end of a forgotten one is not told,
and is seen by polling."""

_BEFORE_ALL = (2**63 - 1, "", 0)
"""A position newer than every row, where the first page begins."""


class PostgresBackend(Audit):
    """State in the schema `perdure` of one PostgreSQL database, shared by every machine.

    Nothing is touched before the first method call; a call after `close` connects again. Lost
    connections are replaced at the next call.

    Args:
        url: `postgresql://user:password@host:port/database`, with libpq's parameters; and
            `pooler=transaction` where PgBouncer or the like stands in between.
        now: the clock of a test, microseconds since 1970 UTC; by default the server's.
        read_only: never write; the schema must exist.
        migrates: bring the schema up to date at the first use; else refuse an old one.
        store_id: 16 bytes for a database made now, for tests that need equal seeds.

    Raises:
        ConfigurationError: a URL that cannot be used.
    """

    def __init__(
        self,
        url: str,
        *,
        now: Callable[[], int] | None = None,
        read_only: bool = False,
        migrates: bool = True,
        store_id: bytes | None = None,
    ) -> None:
        self._now = now
        self._clock = ServerClock()
        target = parse(url)
        self._conninfo = target.conninfo
        self._store = Store(
            target,
            now=now,
            store_id=store_id or os.urandom(STORE_ID_BYTES),
            read_only=read_only,
            migrates=migrates,
        )
        self._store_id: bytes | None = None
        self._list_number = FIRST_LIST
        self._hints = Hints(self._store)
        self._limited: set[InvocationKey] = set()
        weakref.finalize(self, self._hints.abandon)

    def own_database(self) -> OwnDatabase:
        """See `HasDatabase.own_database`."""
        return OwnDatabase("postgres", self._conninfo)

    # --- reading ---------------------------------------------------------------------------------

    def store_id(self) -> bytes:
        """See `Backend.store_id`."""
        found = self._store_id
        if found is None:
            ((found,),) = self._rows("store_id")
            self._store_id = found
        return bytes(found)

    def now(self) -> int:
        """See `Backend.now`. Mostly without a trip to the server."""
        if self._now is not None:
            return self._now()
        told = self._clock.now()
        if told is not None:
            return told
        asked_at = moment()
        ((reading,),) = self._rows("now")
        self._clock.learn(reading, asked_at)
        return int(reading)

    def read(
        self, invocation_id: str, generation: int | None = None, *, locked: bool = False
    ) -> InvocationRecord | None:
        """See `Backend.read`. `locked` takes the row locks, and so waits for writes in flight."""
        name = "read_latest" if generation is None else "read_generation"
        asked = {"id": invocation_id, "generation": generation}

        def work(transaction: Transaction) -> list[Row]:
            transaction.rows("lock_id", asked)
            return transaction.rows(name, asked)

        rows = self._store.write(work) if locked else self._store.look(name, asked)
        return record_of(rows[0]) if rows else None

    def query(self, query: InvocationQuery) -> list[InvocationRecord]:
        """See `Backend.query`."""
        name = "query_page" if query.parent is None else "query_children"
        if looks_at_due_rows(query):
            name = "query_live"
        parent_id, parent_generation = query.parent or (None, None)

        def work(transaction: Transaction) -> list[Row]:
            created_at, id_, generation = _BEFORE_ALL
            if query.after is not None:
                id_, generation = query.after
                if query.after_at is not None:
                    created_at = query.after_at
                else:
                    row = transaction.row("created_at", _key(query.after))
                    if row is None:
                        return []
                    created_at = row[0]
            asked = {
                "app": query.app,
                "kind": query.kind,
                "name": query.name,
                "states": [state.value for state in query.states] or None,
                "prefix": query.id_prefix,
                "parent_id": parent_id,
                "parent_generation": parent_generation,
                "limit": query.limit,
                "after_created_at": created_at,
                "after_id": id_,
                "after_generation": generation,
            }
            return transaction.rows(name, asked)

        return [record_of(row) for row in self._store.read(work)]

    def read_journal(self, key: InvocationKey, start: int = 0) -> list[Entry]:
        """See `Backend.read_journal`."""
        asked = {**_key(key), "start": start}
        return [entry_of(row) for row in self._store.look("read_journal", asked)]

    def read_inbox(self, key: InvocationKey) -> list[InboxRow]:
        """See `Backend.read_inbox`."""
        return [inbox_row(row) for row in self._rows("read_inbox", key)]

    def read_data(self, key: InvocationKey) -> dict[str, bytes]:
        """See `Backend.read_data`."""
        return dict(self._rows("read_data", key))

    def register_get(
        self, app: str, workflow_type: str, workflow_id: str, key: str
    ) -> bytes | None:
        """See `Backend.register_get`."""
        asked = (app, workflow_type, workflow_id, key)
        return next((row[0] for row in self._store.look("register_get", asked)), None)

    def past_deadline(self, app: str, limit: int) -> list[InvocationRecord]:
        """See `Backend.past_deadline`."""
        asked = {"app": app, "limit": limit}
        return [record_of(row) for row in self._store.look("past_deadline", asked)]

    def queues(self, app: str) -> list[QueueStatus]:
        """See `Backend.queues`."""

        def work(transaction: Transaction) -> list[QueueStatus]:
            ((now,),) = transaction.rows("now")
            rows = transaction.rows("queues", {"app": app, "now": now})
            return [queue_status(row, now) for row in rows]

        return self._store.read(work)

    def owners(self) -> frozenset[str]:
        """See `Backend.owners`."""
        return frozenset(owner for (owner,) in self._rows("owners"))

    def health(self) -> Health:
        """See `Backend.health`. Reads every journal, one at a time."""
        return examine(self._store)

    def _rows(self, name: str, key: InvocationKey | None = None) -> list[Row]:
        asked = None if key is None else _key(key)
        return self._store.look(name, asked)

    # --- writing ---------------------------------------------------------------------------------

    def start(
        self, new: NewInvocation, on_existing: OnExisting, claim: StartClaim | None = None
    ) -> Started:
        """See `Backend.start`. One trip for a new id that nothing comes along with."""
        check_claim(new, claim)
        if new.letters:
            return self._start_by_steps(new, on_existing, claim)
        store_id, list_number = self.store_id(), self._list_number
        ((newer, now),) = self._store.call(*start_call(new, store_id, list_number, claim))
        if newer is not None:
            refuse_old(int(newer), list_number)
        if now is None:
            return self._start_by_steps(new, on_existing, claim)
        record = first_record(new, FIRST_GENERATION, store_id, int(now), claim)
        if claim is None:
            self._hints.tell(claimable((record.key,)))
        return Started(record, created=True)

    def _start_by_steps(
        self, new: NewInvocation, on_existing: OnExisting, claim: StartClaim | None
    ) -> Started:
        """Look, then write: the id is taken, or letters come along."""
        store_id = self.store_id()

        def work(transaction: Transaction) -> Started | None:
            _, kept, found, ((seq,),), ((now,),) = transaction.together(
                *servers.LIST_LOOK,
                ("read_latest", {"id": new.invocation_id}),
                ("take_seqs", {"count": 1}),
                ("now", None),
            )
            servers.refuse_old_list(kept, self._list_number)
            generation = FIRST_GENERATION
            if found:
                existing = record_of(found[0])
                restarts = on_existing == "new_generation_if_failed"
                if not restarts or existing.state not in RESTARTABLE:
                    return Started(existing, created=False)
                generation = existing.key.generation + 1
            record = first_record(new, generation, store_id, now, claim)
            if not _insert(transaction, seq, record):
                return None
            for letter in new.letters:
                letters.post(transaction, seq, letter)
            return Started(record, created=True)

        while True:
            started = self._store.write(work)
            if started is not None:
                if (started.created and claim is None) or new.letters:
                    self._hints.tell(claimable((started.record.key,)))
                return started
            # The id was inserted by somebody else after our look; the next look sees it.

    def send(self, key: InvocationKey, letter: Letter) -> Sent:
        """See `Backend.send`."""
        sent = self._store.write(lambda transaction: letters.send(transaction, key, letter))
        if sent is Sent.ACCEPTED:
            self._hints.tell(claimable((key,)))
        return sent

    def claim(self, request: ClaimRequest) -> ClaimBatch:
        """See `Backend.claim`. Equally due rows are taken in the order they were started."""
        asked_at = moment()
        batch = Claim(self._store, request).run()
        self._clock.learn(batch.now, asked_at)
        if len(self._limited) > LIMITED_MAX:
            self._limited.clear()
        self._limited |= {
            record.key
            for record in batch.records
            if record.limit_key or record.queue in request.limits
        }
        return batch

    def renew(self, owner: str, holdings: Sequence[Holding], lease: int) -> frozenset[Holding]:
        """See `Backend.renew`."""
        asked = {
            "ids": [held.key.invocation_id for held in holdings],
            "generations": [held.key.generation for held in holdings],
            "epochs": [held.epoch for held in holdings],
            "owner": owner,
            "lease": lease,
        }
        asked_at = moment()
        rows = self._store.write(lambda transaction: transaction.rows("renew", asked), renewal=True)
        for *_, now in rows[:1]:
            self._clock.learn(now, asked_at)
        return frozenset(
            Holding(InvocationKey(id_, generation), epoch) for id_, generation, epoch, _ in rows
        )

    def commit(self, transitions: Sequence[Transition]) -> list[CommitResult]:
        """See `Backend.commit`. One trip, whatever the size of the batch."""
        for transition in transitions:
            check_transition(transition)
        if not transitions:
            return []
        results = self._committed(transitions)
        hint = hint_of(transitions, results)
        if self._frees_a_slot(transitions, results):
            hint |= CLAIMABLE
        if hint != NOTHING:
            self._hints.tell(hint)
        return results

    def seize(
        self, key: InvocationKey, epoch: int, token: bytes, disposition: Finish | Stop
    ) -> CommitResult:
        """See `Backend.seize`. One trip."""
        check_settling(key, token, disposition)
        asked = seizure(key, epoch, token, disposition)
        result = seized(self._store.change("seize", asked), disposition)
        if isinstance(result, Committed):
            # It may have had a place that others wait for.
            self._hints.tell(claimable((key, *result.touched)))
        return result

    def _committed(self, transitions: Sequence[Transition]) -> list[CommitResult]:
        store_id, list_number = self.store_id(), self._list_number
        order = waves(transitions)
        if len(order) == 1:
            wave = Wave(transitions)
            return wave.results(self._store.call(*wave.call(store_id, list_number)), list_number)
        numbered = [(numbers, Wave([transitions[each] for each in numbers])) for numbers in order]

        def work(transaction: Transaction) -> dict[int, CommitResult]:
            # No wave may be refused for an old list when another one is written already.
            _, kept = transaction.together(*servers.LIST_LOOK)
            servers.refuse_old_list(kept, list_number)
            found: dict[int, CommitResult] = {}
            for numbers, wave in numbered:
                rows = transaction.rows(*wave.call(store_id, list_number))
                found |= zip(numbers, wave.results(rows, list_number), strict=True)
            return found

        found = self._store.write(work)
        return [found[number] for number in range(len(transitions))]

    def _frees_a_slot(
        self, transitions: Sequence[Transition], results: Sequence[CommitResult]
    ) -> bool:
        """Whether a lease ended that others may wait for, by the limit of a queue or a key."""
        freed = {
            asked.key
            for asked, result in zip(transitions, results, strict=True)
            if isinstance(result, Committed)
            and asked.disposition is not None
            and asked.key in self._limited
        }
        self._limited -= freed
        return bool(freed)

    def register_put(self, put: RegisterPut) -> RegisterResult:
        """See `Backend.register_put`. A child whose id is taken is left as it is."""
        identity = (put.app, put.workflow_type, put.workflow_id)
        store_id = self.store_id()

        def work(transaction: Transaction) -> RegisterResult | None:
            asked = (*identity, put.key)
            _, kept = transaction.together(*servers.LIST_LOOK)
            servers.refuse_old_list(kept, self._list_number)
            if not transaction.change("register_put", (*asked, put.body)):
                row = transaction.row("register_get", asked)
                return None if row is None else RegisterResult(row[0], won=False)
            if put.counter is not None:
                key, value = put.counter
                transaction.later("register_raise", (*identity, key, str(value).encode()))
            if put.child is not None:
                ((seq,),), ((now,),) = transaction.together(
                    ("take_seqs", {"count": 1}), ("now", None)
                )
                _insert(transaction, seq, first_record(put.child, FIRST_GENERATION, store_id, now))
            return RegisterResult(put.body, won=True)

        while True:
            result = self._store.write(work)
            if result is not None:
                if result.won and put.child is not None:
                    child = InvocationKey(put.child.invocation_id, FIRST_GENERATION)
                    self._hints.tell(claimable((child,)))
                return result

    def resume(self, key: InvocationKey) -> bool:
        """See `Backend.resume`."""
        resumed = self._store.write(lambda transaction: transaction.change("resume", _key(key))) > 0
        if resumed:
            self._hints.tell(claimable((key,)))
        return resumed

    def hints(self, heard: Heard) -> Ear:
        """See `Backend.hints`. Behind a pooler nothing is heard."""
        return self._hints.listen(heard)

    def schema_status(self) -> SchemaStatus:
        """The schema that was found, and what is missing. Nothing is made or migrated."""
        return self._store.schema_status()

    # --- one of several servers ------------------------------------------------------------------

    def server_list(self) -> ServerList | None:
        """See `Server.server_list`."""
        return self._store.read(servers.read_list)

    def publish(self, given: ServerList) -> None:
        """See `Server.publish`."""
        self._store.write(lambda transaction: servers.publish(transaction, given))

    def go_by(self, number: int) -> None:
        """See `Server.go_by`."""
        self._list_number = number

    def outbox(self, positions: Sequence[int], limit: int) -> Outbox:
        """See `Server.outbox`."""
        return self._store.read(lambda transaction: servers.outbox(transaction, positions, limit))

    def accept_asks(self, targets: Sequence[InvocationKey], position: int) -> None:
        """See `Server.accept_asks`."""
        self._store.write(lambda transaction: servers.accept_asks(transaction, targets, position))

    def accept_ends(self, targets: Sequence[InvocationKey]) -> list[InvocationKey]:
        """See `Server.accept_ends`."""
        told = self._store.write(lambda transaction: servers.accept_ends(transaction, targets))
        if told:
            self._hints.tell(claimable(told))
        return told

    def sent(self, outbox: Outbox) -> None:
        """See `Server.sent`."""
        self._store.write(lambda transaction: servers.sent(transaction, outbox))

    def close(self) -> None:
        """See `Backend.close`."""
        self._hints.close()
        self._store.close()


def _insert(transaction: Transaction, seq: int, record: InvocationRecord) -> bool:
    """A new invocation: its hot and its cold row. False if the id was taken meanwhile."""
    name, row = "insert_invocation", invocation_row(record)
    if record.state is InvocationState.RUNNING:
        name, row = "insert_claimed", claimed_row(record)
    if not transaction.change(name, (seq, *row)):
        return False
    transaction.later("insert_call", call_row(seq, record))
    return True


def _key(key: InvocationKey) -> dict[str, str | int]:
    return {"id": key.invocation_id, "generation": key.generation}
