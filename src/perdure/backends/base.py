"""The state backend port: its records, requests and the protocol. No driver is imported here.

Rules that every backend keeps (`perdure.testing.contract` proves them):

* Each method is one short transaction. It happened wholly, or not at all, or it raises
  `CommitUnknown`; it never half happens.
* Times are integers, microseconds since 1970 UTC, by the backend's own clock. Durations are
  microseconds. Only `Suspend.wake_at` is absolute, because the journal fixed it before.
* A row of a terminal state never changes again. A journal entry never changes at all.
* Methods may be called from any thread, and after a fork from the child.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Literal, NamedTuple, Protocol

import msgspec

from perdure.backends.health import Health
from perdure.backends.hints import Ear, Heard
from perdure.backends.letters import InboxRow, Letter, Sent
from perdure.backends.limits import QueueLimits, QueueStatus
from perdure.core.entries import Entry
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import InvocationState

OnExisting = Literal["return", "raise", "new_generation_if_failed"]
InvocationKind = Literal["workflow", "task"]

DEFAULT_QUEUE = "default"
"""Where everything goes that names no queue."""


class NewInvocation(msgspec.Struct, frozen=True, kw_only=True):
    """What a start brings. The backend adds generation, seed, state and times.

    Attributes:
        app: name of the app; part of the seed, and claims see only their own app's rows.
        name: registered name of the function (the workflow type, for a workflow).
        arguments: encoded arguments, JSON text.
        fingerprint: 16 bytes over the canonical arguments.
        call_id: name and fingerprint as text.
        parent: the invocation whose code asked for this one, if any.
        root: the top of the tree; None means that this one is the top.
        workflow: id of the workflow whose data a task may read (itself, for a workflow).
        queue: only workers that serve it claim this one, under its limits.
        limit_key: rows of one queue with the same key share `QueueLimits.key_concurrency`; ""
            has no such limit.
        delay: microseconds before it may first be claimed.
        options: JSON object with what an attempt needs (`perdure.backends.endings`).
        letters: put into its inbox in the transaction of the `Backend.start` that makes it.
    """

    invocation_id: str
    app: str
    kind: InvocationKind
    name: str
    arguments: bytes
    fingerprint: bytes
    call_id: str
    parent: InvocationKey | None = None
    root: InvocationKey | None = None
    workflow: InvocationKey | None = None
    queue: str = DEFAULT_QUEUE
    limit_key: str = ""
    priority: int = 0
    delay: int = 0
    options: bytes = b"{}"
    code_version: str = ""
    letters: tuple[Letter, ...] = ()


class StartClaim(msgspec.Struct, frozen=True, kw_only=True):
    """The claim of a row in the transaction that creates it.

    Attributes:
        owner: name of the claiming worker.
        lease: microseconds.
        token: 16 bytes, fresh for each claim; stored as the row's `last_token`, to be found there
            after an unknown outcome.
    """

    owner: str
    lease: int
    token: bytes


class InvocationRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One invocation row as it stood in one transaction.

    Attributes:
        epoch: fencing token, 0 before the first claim, one higher at each claim.
        owner: name of the claimer while RUNNING, else "". It is no authority; the epoch is.
        head: number of journal entries; head_hash: chain value there (empty before the first).
        last_token: token of the newest commit of this row, to settle unknown outcomes.
        attempts: failed attempts of a task (a crash is not one).
        crashes: claims of an expired lease since the last reset.
        base_time: set at the first claim, None before.
        outcome: encoded result (COMPLETED) or exception (FAILED, ...), None while live.
        reason: why it is parked or dead, as text for people; else "".
    """

    key: InvocationKey
    app: str
    kind: InvocationKind
    name: str
    arguments: bytes
    fingerprint: bytes
    call_id: str
    parent: InvocationKey | None
    root: InvocationKey
    workflow: InvocationKey | None
    queue: str
    limit_key: str
    priority: int
    options: bytes
    code_version: str
    seed: bytes
    draw_algorithm: int
    segment: int
    state: InvocationState
    epoch: int
    owner: str
    lease_until: int | None
    wake_at: int | None
    head: int
    head_hash: bytes
    last_token: bytes
    attempts: int
    crashes: int
    base_time: int | None
    created_at: int
    finished_at: int | None
    outcome: bytes | None
    reason: str


class Started(NamedTuple):
    """`created` is False when the id existed: `record` is then what was there, unchanged."""

    record: InvocationRecord
    created: bool


class InvocationQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A page of invocations of one app, newest first by (created_at, id, generation).

    Attributes:
        after: the key of the last row of the page before.
        after_at: when that row was created; it need not be in this store then.
    """

    app: str
    kind: InvocationKind | None = None
    name: str | None = None
    states: tuple[InvocationState, ...] = ()
    id_prefix: str | None = None
    parent: InvocationKey | None = None
    limit: int = 100
    after: InvocationKey | None = None
    after_at: int | None = None


class ClaimRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker can run now.

    Attributes:
        owner: name of the claiming worker: host, pid space, pid, start time and a nonce.
        names: registered names; nothing else is claimed.
        roots: only trees with these tops; None for all.
        queues: only rows of these queues; None for all.
        limits: limits by queue; a queue that is not in it has `NO_LIMITS`.
        limit: at most so many rows.
        lease: microseconds.
        dead_owners: owners known to be gone; their leases count as expired at once.
    """

    app: str
    owner: str
    names: frozenset[str]
    roots: frozenset[InvocationKey] | None = None
    queues: frozenset[str] | None = None
    limits: Mapping[str, QueueLimits] = {}
    limit: int
    lease: int
    dead_owners: frozenset[str] = frozenset()


class ClaimBatch(NamedTuple):
    """Claimed rows as they are after the claim (RUNNING, epoch + 1), oldest due first.

    `now` is the backend's clock in that transaction. `next_due` is when the next row that matches
    the request becomes claimable by time alone (a timer or a lease), or None. It is looked for only
    when nothing was claimed: who got something asks again anyway.
    """

    records: tuple[InvocationRecord, ...]
    now: int
    next_due: int | None


class Suspend(msgspec.Struct, frozen=True, tag=True):
    """Wait for an inbox row, or for `wake_at` (absolute) if given.

    Becomes WAITING, or READY at once when an inbox row is unread or `wake_at` has come; decided in
    the transaction, so that no wake-up can be lost in between.
    """

    wake_at: int | None = None


class Finish(msgspec.Struct, frozen=True, tag=True):
    """Reach a terminal state; every watcher gets an inbox row in the same transaction."""

    state: InvocationState
    outcome: bytes


class RetryLater(msgspec.Struct, frozen=True, tag=True):
    """A task attempt failed: `attempts + 1`, WAITING for `delay` microseconds (READY if 0)."""

    delay: int


class Release(msgspec.Struct, frozen=True, tag=True):
    """Give the lease back unharmed: READY, crash counter untouched."""


class Stop(msgspec.Struct, frozen=True, tag=True):
    """PARKED or DEAD with a reason for people, or PAUSED. Nothing ended, so nobody is told."""

    state: InvocationState
    reason: str


Disposition = Suspend | Finish | RetryLater | Release | Stop


class ForeignWatch(NamedTuple):
    """An invocation on another server, whose end is asked for there."""

    target: InvocationKey
    position: int


class Transition(msgspec.Struct, frozen=True, kw_only=True):
    """One commit of a lease holder. It is applied wholly, if the fence holds, or refused.

    The fence: the row is RUNNING, its epoch equals `epoch`, its head equals `head`.

    Attributes:
        token: 16 bytes, fresh for each transition; stored as the row's `last_token`.
        entries: sealed, positions head, head + 1, ...; may be empty.
        head_hash: chain value after the entries.
        children: inserted with the parent's entry; the ids must be new.
        watches: invocations whose end shall put a row in this one's inbox. One that has ended
            already, or is not there, puts it at once.
        foreign_watches: the same, for invocations on the servers at these positions.
        consumed: inbox rows (by `row_id`) that these entries delivered; they are removed.
        data: workflow data to set, (name, encoded value).
        reset_crashes: set the crash counter to 0.
        disposition: what happens to the lease; None keeps it.
    """

    key: InvocationKey
    epoch: int
    head: int
    token: bytes
    entries: tuple[Entry, ...] = ()
    head_hash: bytes = b""
    children: tuple[NewInvocation, ...] = ()
    watches: tuple[InvocationKey, ...] = ()
    foreign_watches: tuple[ForeignWatch, ...] = ()
    consumed: tuple[int, ...] = ()
    data: tuple[tuple[str, bytes], ...] = ()
    reset_crashes: bool = False
    disposition: Disposition | None = None


class Refusal(StrEnum):
    """Why a transition changed nothing."""

    STALE = "stale"
    """Epoch or state moved: the lease is lost (or the invocation is gone)."""
    WRONG_HEAD = "wrong_head"
    """The epoch is right and the head is not: the holder's own earlier commit, or a bug."""
    CHILD_EXISTS = "child_exists"
    """One of the children's ids is taken."""


class Committed(NamedTuple):
    """The transition happened.

    `state` is the row's state after it. `touched` are the invocations that became claimable or
    got an inbox row by it (children, watchers, itself): whoever runs them here may look at once.
    """

    state: InvocationState
    touched: tuple[InvocationKey, ...]


CommitResult = Committed | Refusal


class Holding(NamedTuple):
    """A lease as its holder knows it."""

    key: InvocationKey
    epoch: int


class RegisterPut(msgspec.Struct, frozen=True, kw_only=True):
    """Store one deterministic value of an identity that has no workflow row, if absent.

    Attributes:
        app, workflow_type, workflow_id: the identity.
        counter: (key, n): in the same transaction raise this key's value to n if it is lower.
            The value of such a key is a decimal integer.
        child: an invocation to insert in the same transaction, only if this put wins.
    """

    app: str
    workflow_type: str
    workflow_id: str
    key: str
    body: bytes
    counter: tuple[str, int] | None = None
    child: NewInvocation | None = None


class RegisterResult(NamedTuple):
    """`body` is what is stored now; `won` is True when this call stored it."""

    body: bytes
    won: bool


class Backend(Protocol):
    """Where invocations and journals live. Fenced, synchronous, short transactions."""

    def store_id(self) -> bytes:
        """16 random bytes made with the database; part of every seed."""
        ...

    def now(self) -> int:
        """The backend's clock."""
        ...

    def start(
        self, new: NewInvocation, on_existing: OnExisting, claim: StartClaim | None = None
    ) -> Started:
        """Create generation 1 of this id, or return its latest generation untouched.

        With "new_generation_if_failed", an id whose latest generation is FAILED, CANCELLED or
        TERMINATED gets the next generation. "raise" behaves as "return" here: the caller raises.
        The seed of the new row is `core.draws.derive_seed(store id, app, name, id, generation)`.
        Calling again after an unknown outcome is safe; with "new_generation_if_failed" only after a
        look: what the open one made may have failed by then.

        With `claim`, a row that is created is as a claim at that instant would have left it
        (RUNNING, epoch 1). No limit is looked at. Together with a delay it is an `InternalError`.
        """
        ...

    def send(self, key: InvocationKey, letter: Letter) -> Sent:
        """Put a letter into the inbox, and make the invocation ready if it is WAITING.

        That is one transaction with the memory of its id, so a letter that is sent again, after an
        unknown outcome say, is accepted once.
        """
        ...

    def read(
        self, invocation_id: str, generation: int | None = None, *, locked: bool = False
    ) -> InvocationRecord | None:
        """The row of this generation (None: the latest), or None if there is none.

        With `locked`, the read waits for every write in flight on the row, so that "my commit is
        not there" can be concluded after an unknown outcome; without it, never conclude that.
        """
        ...

    def query(self, query: InvocationQuery) -> list[InvocationRecord]:
        """One page; outcomes and arguments included."""
        ...

    def claim(self, request: ClaimRequest) -> ClaimBatch:
        """Take ready, due, or expired rows. This is the only way of recovery.

        Claimable, among rows of the app with a name in `names` (and a root in `roots`): READY
        whose `wake_at` (a start's delay) has come or is None; WAITING whose `wake_at` has come;
        RUNNING whose lease is over or whose owner is in `dead_owners`, which also counts as a
        crash (`crashes + 1`). Order: priority (higher first), then time since due. The claim sets
        RUNNING, epoch + 1, owner, lease_until, wake_at None, and `base_time` at the first one.

        Rows are taken in that order, and one that would break a limit of its queue is passed over.
        Counting and claiming are one step: two workers never take the last slot both. A row that
        somebody else is writing at that moment may be passed over. `next_due` looks at time alone,
        not at limits.
        """
        ...

    def seize(
        self, key: InvocationKey, epoch: int, token: bytes, disposition: Finish | Stop
    ) -> CommitResult:
        """Take one live invocation from whoever has it, whatever its state, and end or stop it.

        In one transaction the epoch goes up by 1, `token` becomes the row's `last_token`, and the
        row is settled as the commit of a lease holder would settle it. Nobody ever sees it taken
        and not settled. Whoever held it can record nothing any more. It is no crash and no claim.

        `Refusal.STALE` if it has ended or is not there, or its epoch is not `epoch`. After an
        unknown outcome, call again: it is refused then if it happened, which `last_token` tells.
        """
        ...

    def past_deadline(self, app: str, limit: int) -> list[InvocationRecord]:
        """What is past its deadline and has never been claimed (READY, epoch 0); earliest first.

        Looks at nothing else: what was claimed once goes by its deadline itself.
        """
        ...

    def renew(self, owner: str, holdings: Sequence[Holding], lease: int) -> frozenset[Holding]:
        """Extend these leases by `lease` from now; returns those that are still held.

        Held means: running under this epoch, for this owner, and the lease is not over. One that is
        over is lost even if nobody took it, for its place in a queue may be taken already.

        Uses a connection of its own and is served before other writers of this process.
        """
        ...

    def commit(self, transitions: Sequence[Transition]) -> list[CommitResult]:
        """Apply each transition alone, all in one durable transaction; results in order.

        A refused one leaves no trace and does not harm the others. When this returns, what was
        committed survives the loss of power (unless a weaker mode was chosen by name).

        Raises:
            CommitUnknown: the transaction may or may not be there. Read back with `locked=True`.
            BackendFull, BackendUnavailable: nothing of it happened.
        """
        ...

    def read_journal(self, key: InvocationKey, start: int = 0) -> list[Entry]:
        """The entries from position `start` on, in order. The caller checks the chain."""
        ...

    def read_inbox(self, key: InvocationKey) -> list[InboxRow]:
        """Unread rows, oldest first."""
        ...

    def read_data(self, key: InvocationKey) -> dict[str, bytes]:
        """The workflow's data as last committed."""
        ...

    def register_get(
        self, app: str, workflow_type: str, workflow_id: str, key: str
    ) -> bytes | None:
        """The stored body, or None when the key is absent (a stored null is b"null")."""
        ...

    def register_put(self, put: RegisterPut) -> RegisterResult:
        """Put if absent. Calling again after an unknown outcome is safe."""
        ...

    def resume(self, key: InvocationKey) -> bool:
        """PARKED or DEAD back to READY with the crash counter at 0; False in any other state."""
        ...

    def queues(self, app: str) -> list[QueueStatus]:
        """Queues with something claimable or running, by name. Looks at each live row once."""
        ...

    def owners(self) -> frozenset[str]:
        """Owners of rows that are RUNNING now, to look for ones that died on this host."""
        ...

    def hints(self, heard: Heard) -> Ear | None:
        """Call `heard` when other processes did something that somebody here may wait for.

        None where no hints exist. A hint may be lost or late: whoever relies on it polls too.
        """
        ...

    def health(self) -> Health:
        """Look at settings, integrity and stuck rows. Reads only; may take long on a big store."""
        ...

    def close(self) -> None:
        """Let go of every resource. Leases are not touched. Calling it twice is harmless."""
        ...
