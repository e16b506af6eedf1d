"""The state backend in plain dicts: the executable specification of the port. It keeps nothing.

Every other backend must behave like this one; the contract suite and a state machine compare them.
One lock makes each method one transaction. The rows live and end with the process, so neither
`CommitUnknown` nor `BackendFull` can happen, and an interrupt takes the whole store along.
"""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import msgspec

from perdure.backends.admission import Admission, Usage, limits_of
from perdure.backends.base import (
    ClaimBatch,
    ClaimRequest,
    CommitResult,
    Committed,
    Disposition,
    Finish,
    Holding,
    InvocationQuery,
    InvocationRecord,
    NewInvocation,
    OnExisting,
    Refusal,
    RegisterPut,
    RegisterResult,
    Release,
    RetryLater,
    StartClaim,
    Started,
    Stop,
    Suspend,
    Transition,
)
from perdure.backends.clock import real_clock
from perdure.backends.forks import watch_forks
from perdure.backends.health import Health
from perdure.backends.hints import Heard
from perdure.backends.letters import InboxRow, Letter, Sent
from perdure.backends.limits import QueueStatus
from perdure.backends.memory_deadlines import Deadlines
from perdure.backends.memory_health import health_of, queue_status
from perdure.backends.memory_inbox import Inboxes
from perdure.backends.memory_rows import (
    age,
    holds,
    is_abandoned,
    is_asked_for,
    is_ready,
    seized_row,
)
from perdure.backends.rules import (
    FIRST_GENERATION,
    RESTARTABLE,
    STORE_ID_BYTES,
    check_claim,
    check_settling,
    check_transition,
    first_record,
    raised_counter,
)
from perdure.core.entries import Entry
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import RESUMABLE, TERMINAL, InvocationState, may_move
from perdure.errors import InternalError

_S = InvocationState
_replace = msgspec.structs.replace


class MemoryBackend:
    """State of one process. Two objects share nothing.

    Args:
        now: the clock, microseconds since 1970 UTC.
        store_id: 16 bytes; random by default.
    """

    def __init__(self, now: Callable[[], int] | None = None, store_id: bytes | None = None) -> None:
        self._clock = now or real_clock
        self._store_id = store_id or os.urandom(STORE_ID_BYTES)
        self._lock = threading.RLock()
        self._rows: dict[InvocationKey, InvocationRecord] = {}
        self._live: dict[InvocationKey, None] = {}
        self._deadlines = Deadlines()
        self._ready_since: dict[InvocationKey, int] = {}
        self._latest: dict[str, int] = {}
        self._journals: dict[InvocationKey, list[Entry]] = {}
        self._inboxes = Inboxes()
        self._watchers: dict[InvocationKey, list[InvocationKey]] = {}
        self._data: dict[InvocationKey, dict[str, bytes]] = {}
        self._register: dict[tuple[str, str, str, str], bytes] = {}
        self._claims: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
        watch_forks(self)

    # --- reading ---------------------------------------------------------------------------------

    def store_id(self) -> bytes:
        """See `Backend.store_id`."""
        return self._store_id

    def now(self) -> int:
        """See `Backend.now`."""
        return self._clock()

    def read(
        self, invocation_id: str, generation: int | None = None, *, locked: bool = False
    ) -> InvocationRecord | None:
        """See `Backend.read`. Here every read waits for the writes in flight."""
        del locked
        with self._lock:
            latest = self._latest.get(invocation_id, 0)
            return self._rows.get(InvocationKey(invocation_id, generation or latest))

    def query(self, query: InvocationQuery) -> list[InvocationRecord]:
        """See `Backend.query`."""
        with self._lock:
            rows = [row for row in self._rows.values() if is_asked_for(query, row)]
            if query.after is not None:
                last = self._place_of(query.after, query.after_at)
                rows = [row for row in rows if last and age(row) < last]
        rows.sort(key=age, reverse=True)
        return rows[: query.limit]

    def _place_of(self, key: InvocationKey, at: int | None) -> tuple[int, str, int] | None:
        """Where a row stands, or stood, in the order of pages."""
        if at is not None:
            return at, key.invocation_id, key.generation
        row = self._rows.get(key)
        return None if row is None else age(row)

    def read_journal(self, key: InvocationKey, start: int = 0) -> list[Entry]:
        """See `Backend.read_journal`."""
        with self._lock:
            return self._journals.get(key, [])[start:]

    def read_inbox(self, key: InvocationKey) -> list[InboxRow]:
        """See `Backend.read_inbox`."""
        with self._lock:
            return self._inboxes.unread(key)

    def read_data(self, key: InvocationKey) -> dict[str, bytes]:
        """See `Backend.read_data`."""
        with self._lock:
            return dict(self._data.get(key, {}))

    def register_get(
        self, app: str, workflow_type: str, workflow_id: str, key: str
    ) -> bytes | None:
        """See `Backend.register_get`."""
        with self._lock:
            return self._register.get((app, workflow_type, workflow_id, key))

    def owners(self) -> frozenset[str]:
        """See `Backend.owners`."""
        with self._lock:
            rows = [self._rows[key] for key in self._live]
        return frozenset(row.owner for row in rows if row.state is _S.RUNNING)

    def queues(self, app: str) -> list[QueueStatus]:
        """See `Backend.queues`."""
        with self._lock:
            now = self._clock()
            found: defaultdict[str, list[tuple[int, InvocationRecord]]] = defaultdict(list)
            for row in map(self._rows.__getitem__, self._live):
                if row.app == app and (due := self._due_at(row)) is not None:
                    found[row.queue].append((due, row))
            return [queue_status(queue, rows, now) for queue, rows in sorted(found.items())]

    def hints(self, heard: Heard) -> None:
        """See `Backend.hints`. There are none: a look is as cheap."""

    def health(self) -> Health:
        """See `Backend.health`."""
        with self._lock:
            rows = list(self._rows.values())
        return health_of(rows)

    # --- starting and claiming -------------------------------------------------------------------

    def start(
        self, new: NewInvocation, on_existing: OnExisting, claim: StartClaim | None = None
    ) -> Started:
        """See `Backend.start`."""
        check_claim(new, claim)
        with self._lock:
            latest = self._latest.get(new.invocation_id, FIRST_GENERATION - 1)
            found = self._rows.get(InvocationKey(new.invocation_id, latest))
            restarts = on_existing == "new_generation_if_failed"
            if found is None or (restarts and found.state in RESTARTABLE):
                record = self._insert(new, latest + 1, claim)
                for letter in new.letters:
                    self._inboxes.accept(record.key, letter)
                return Started(record, created=True)
            return Started(found, created=False)

    def send(self, key: InvocationKey, letter: Letter) -> Sent:
        """See `Backend.send`."""
        with self._lock:
            row = self._rows.get(key)
            if row is None:
                return Sent.MISSING
            if self._inboxes.was_accepted(key, letter):
                return Sent.REPEATED
            if row.state in TERMINAL:
                return Sent.ENDED
            self._inboxes.accept(key, letter)
            self._wake(key)
            return Sent.ACCEPTED

    def claim(self, request: ClaimRequest) -> ClaimBatch:
        """See `Backend.claim`. Rows equally due are taken in the order they were started."""
        with self._lock:
            now = self._clock()
            matching = list(self._matching(request))
            due = [(since, row) for row in matching if (since := self._due_at(row)) is not None]
            if request.dead_owners:
                due = [
                    (min(since, now) if is_abandoned(row, request) else since, row)
                    for since, row in due
                ]
            ripe = [(since, row) for since, row in due if since <= now or is_ready(row)]
            ripe.sort(key=lambda pair: (-pair[1].priority, pair[0]))
            admission = self._admission(request, now)
            admitted = (row for _, row in ripe if admission.admit(row.queue, row.limit_key))
            taken = list(islice(admitted, max(0, request.limit)))
            if taken:
                claimed = tuple(self._grant(row, request, now) for row in taken)
                return ClaimBatch(claimed, now, None)
            later = (self._due_at(row) for row in matching if not is_ready(row))
            next_due = min((at for at in later if at is not None and at > now), default=None)
            return ClaimBatch((), now, next_due)

    def past_deadline(self, app: str, limit: int) -> list[InvocationRecord]:
        """See `Backend.past_deadline`."""
        with self._lock:
            late = self._deadlines.passed(self._rows, self._clock())
        return [row for row in late if row.app == app][:limit]

    def renew(self, owner: str, holdings: Sequence[Holding], lease: int) -> frozenset[Holding]:
        """See `Backend.renew`."""
        with self._lock:
            now = self._clock()
            held = frozenset(
                holding
                for holding in holdings
                if (row := self._rows.get(holding.key)) is not None
                and (row.epoch, row.owner) == (holding.epoch, owner)
                and holds(row, now)
            )
            for holding in held:
                self._put(_replace(self._rows[holding.key], lease_until=now + lease))
            return held

    def resume(self, key: InvocationKey) -> bool:
        """See `Backend.resume`."""
        with self._lock:
            row = self._rows.get(key)
            if row is None or row.state not in RESUMABLE:
                return False
            self._put(_replace(row, state=_S.READY, crashes=0, reason=""))
            return True

    # --- committing ------------------------------------------------------------------------------

    def commit(self, transitions: Sequence[Transition]) -> list[CommitResult]:
        """See `Backend.commit`."""
        for transition in transitions:
            check_transition(transition)
        with self._lock:
            return [self._refusal(each) or self._apply(each) for each in transitions]

    def seize(
        self, key: InvocationKey, epoch: int, token: bytes, disposition: Finish | Stop
    ) -> CommitResult:
        """See `Backend.seize`."""
        check_settling(key, token, disposition)
        with self._lock:
            row = self._rows.get(key)
            if row is None or row.state in TERMINAL or row.epoch != epoch:
                return Refusal.STALE
            self._put(seized_row(row, token))
            told = self._dispose(self._rows[key], disposition)
            return Committed(disposition.state, tuple(dict.fromkeys(told)))

    def _refusal(self, asked: Transition) -> Refusal | None:
        row = self._rows.get(asked.key)
        if row is None or row.state is not _S.RUNNING or row.epoch != asked.epoch:
            return Refusal.STALE
        if row.head != asked.head:
            return Refusal.WRONG_HEAD
        ids = [child.invocation_id for child in asked.children]
        if len(set(ids)) < len(ids) or any(id_ in self._latest for id_ in ids):
            return Refusal.CHILD_EXISTS
        return None

    def _apply(self, asked: Transition) -> Committed:
        """Entries, what they consumed, data, children, watches, and last what becomes of it."""
        key = asked.key
        self._append(asked)
        self._inboxes.consume(key, asked.consumed)
        self._data.setdefault(key, {}).update(asked.data)
        children = [self._insert(child, FIRST_GENERATION) for child in asked.children]
        touched = [child.key for child in children if child.wake_at is None]
        touched += [key for target in asked.watches if self._watch(key, target)]
        touched += self._dispose(self._rows[key], asked.disposition)
        state = self._rows[key].state
        if state is _S.READY:
            touched.append(key)
        return Committed(state, tuple(dict.fromkeys(touched)))

    def _append(self, asked: Transition) -> None:
        row = self._rows[asked.key]
        self._journals.setdefault(asked.key, []).extend(asked.entries)
        self._put(
            _replace(
                row,
                head=asked.head + len(asked.entries),
                head_hash=asked.head_hash if asked.entries else row.head_hash,
                last_token=asked.token,
                crashes=0 if asked.reset_crashes else row.crashes,
            )
        )

    def _watch(self, watcher: InvocationKey, target: InvocationKey) -> bool:
        """One watch, one inbox row: at once (True) when there is nothing left to wait for."""
        row = self._rows.get(target)
        if row is None or row.state in TERMINAL:
            self._deliver(watcher, target)
            return True
        self._watchers.setdefault(target, []).append(watcher)
        return False

    def _dispose(
        self, row: InvocationRecord, disposition: Disposition | None
    ) -> list[InvocationKey]:
        """What becomes of the lease; returns the watchers that were told of an end."""
        if disposition is None:
            return []
        now = self._clock()
        let_go = _replace(row, owner="", lease_until=None, wake_at=None)
        match disposition:
            case Suspend(wake_at=wake_at):
                if self._inboxes.unread(row.key) or (wake_at is not None and wake_at <= now):
                    self._put(_replace(let_go, state=_S.READY))
                else:
                    self._put(_replace(let_go, state=_S.WAITING, wake_at=wake_at))
            case RetryLater(delay=0):
                self._put(_replace(let_go, state=_S.READY, attempts=row.attempts + 1))
            case RetryLater(delay=delay):
                attempts, wake_at = row.attempts + 1, now + delay
                self._put(_replace(let_go, state=_S.WAITING, attempts=attempts, wake_at=wake_at))
            case Release():
                self._put(_replace(let_go, state=_S.READY))
            case Stop(state=state, reason=reason):
                self._put(_replace(let_go, state=state, reason=reason))
            case Finish(state=state, outcome=outcome):
                self._put(_replace(let_go, state=state, outcome=outcome, finished_at=now))
                return self._end(row.key)
        return []

    def _end(self, key: InvocationKey) -> list[InvocationKey]:
        """Tell the watchers that live; what the ended one would still have read is dropped."""
        self._live.pop(key)
        self._inboxes.drop(key)
        told = [each for each in self._watchers.pop(key, ()) if each in self._live]
        for watcher in told:
            self._deliver(watcher, key)
        return told

    def _deliver(self, watcher: InvocationKey, source: InvocationKey) -> None:
        """An inbox row, and READY if it was waiting, in one transaction: no wake-up is lost."""
        self._inboxes.end_of(source, watcher)
        self._wake(watcher)

    def _wake(self, key: InvocationKey) -> None:
        if self._rows[key].state is _S.WAITING:
            self._put(_replace(self._rows[key], state=_S.READY, wake_at=None))

    # --- register --------------------------------------------------------------------------------

    def register_put(self, put: RegisterPut) -> RegisterResult:
        """See `Backend.register_put`. A child whose id is taken is left as it is."""
        identity = (put.app, put.workflow_type, put.workflow_id)
        with self._lock:
            found = self._register.get((*identity, put.key))
            if found is not None:
                return RegisterResult(found, won=False)
            self._register[*identity, put.key] = put.body
            if put.counter is not None:
                stored = self._register.get((*identity, put.counter[0]))
                if raised := raised_counter(put, stored):
                    self._register[*identity, raised[0]] = raised[1]
            if put.child is not None and put.child.invocation_id not in self._latest:
                self._insert(put.child, FIRST_GENERATION)
            return RegisterResult(put.body, won=True)

    def close(self) -> None:
        """See `Backend.close`. There is nothing to let go of; the rows stay with the object."""

    # --- rows ------------------------------------------------------------------------------------

    def _insert(
        self, new: NewInvocation, generation: int, claim: StartClaim | None = None
    ) -> InvocationRecord:
        row = first_record(new, generation, self._store_id, self._clock(), claim)
        self._deadlines.add(row)  # first: what it cannot read is not started
        self._latest[new.invocation_id] = generation
        self._live[row.key] = None
        self._rows[row.key] = row
        self._ready_since[row.key] = row.created_at
        return row

    def _put(self, row: InvocationRecord) -> None:
        before = self._rows[row.key]
        if row.state is not before.state and not may_move(before.state, row.state):
            raise InternalError(f"{row.key} went from {before.state} to {row.state}.")
        if row.state is _S.READY:
            self._ready_since[row.key] = self._clock()
        self._rows[row.key] = row

    def _matching(self, request: ClaimRequest) -> Iterator[InvocationRecord]:
        for key in self._live:
            row = self._rows[key]
            in_tree = request.roots is None or row.root in request.roots
            served = request.queues is None or row.queue in request.queues
            if row.app == request.app and row.name in request.names and in_tree and served:
                yield row

    def _admission(self, request: ClaimRequest, now: int) -> Admission:
        """The limits of a claim, with what live leases use of them."""
        live = [
            row
            for row in map(self._rows.__getitem__, self._live)
            if row.app == request.app and holds(row, now) and not is_abandoned(row, request)
        ]

        def usage(queue: str) -> Usage:
            of_queue = [row.owner for row in live if row.queue == queue]
            rate = limits_of(request, queue).rate
            since = now - rate.period if rate else now
            recent = [at for at in self._claims[request.app, queue] if at > since]
            return Usage(len(of_queue), of_queue.count(request.owner), len(recent))

        def running_with_key(queue: str, limit_key: str) -> int:
            return sum((row.queue, row.limit_key) == (queue, limit_key) for row in live)

        return Admission(request, usage, running_with_key)

    def _due_at(self, row: InvocationRecord) -> int | None:
        """When the row is or was claimable; None when time alone will never make it so."""
        match row.state:
            case _S.READY:
                return self._ready_since[row.key] if row.wake_at is None else row.wake_at
            case _S.WAITING:
                return row.wake_at
            case _S.RUNNING:
                return row.lease_until
            case _:
                return None

    def _grant(self, row: InvocationRecord, request: ClaimRequest, now: int) -> InvocationRecord:
        granted = _replace(
            row,
            state=_S.RUNNING,
            epoch=row.epoch + 1,
            owner=request.owner,
            lease_until=now + request.lease,
            wake_at=None,
            crashes=row.crashes + (row.state is _S.RUNNING),
            base_time=now if row.base_time is None else row.base_time,
        )
        self._put(granted)
        if (rate := limits_of(request, row.queue).rate) is not None:
            recent = self._claims[row.app, row.queue]
            recent[:] = [at for at in recent if at > now - rate.period]
            recent.append(now)
        return granted

    # --- forks -----------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Let no method be half way when the process is copied."""
        self._lock.acquire()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """The child goes on with a copy of its own; from here the two differ, and so are two."""
        self._store_id = os.urandom(STORE_ID_BYTES)
        self._lock.release()
