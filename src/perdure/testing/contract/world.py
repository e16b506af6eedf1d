"""The small world of the contract tests: a clock that they move, and short words for the port.

It makes requests and reads answers; what is right or wrong is said in the tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import msgspec

from perdure.backends.base import (
    Backend,
    ClaimBatch,
    ClaimRequest,
    CommitResult,
    Committed,
    Disposition,
    Finish,
    Holding,
    InvocationRecord,
    NewInvocation,
    StartClaim,
    Transition,
)
from perdure.core.entries import Entry, EntryKind, checksum, genesis
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import InvocationState

SECOND = 1_000_000
"""Microseconds."""

LEASE = 30 * SECOND
APP = "app"
NAME = "shop.order"


class Clock:
    """A backend clock that stands still until a test moves it."""

    def __init__(self, at: int = 1_700_000_000 * SECOND) -> None:
        self.at = at

    def __call__(self) -> int:
        """Microseconds since 1970 UTC."""
        return self.at

    def advance(self, microseconds: int) -> None:
        """Let time pass."""
        self.at += microseconds


class World:
    """One backend and its clock, with defaults for everything that a test does not care about."""

    def __init__(self, backend: Backend, clock: Clock) -> None:
        self.backend = backend
        self.clock = clock
        self._tokens = 0

    def new(self, id_: str = "a", **changes: object) -> NewInvocation:
        """What a start brings: a workflow without arguments."""
        plain = NewInvocation(
            invocation_id=id_,
            app=APP,
            kind="workflow",
            name=NAME,
            arguments=b"[]",
            fingerprint=bytes(16),
            call_id=f"{NAME}:{bytes(16).hex()}",
        )
        return msgspec.structs.replace(plain, **changes)

    def start(self, id_: str = "a", **changes: object) -> InvocationRecord:
        """Start a fresh id."""
        started = self.backend.start(self.new(id_, **changes), "raise")
        assert started.created, f"{id_!r} was there already"
        return started.record

    def claim_at_start(self, **changes: object) -> StartClaim:
        """A claim of what is started, by the worker of `request`."""
        plain = StartClaim(owner="worker-1", lease=LEASE, token=self.token())
        return msgspec.structs.replace(plain, **changes)

    def request(self, **changes: object) -> ClaimRequest:
        """A claim of everything of this app by one worker."""
        plain = ClaimRequest(
            app=APP, owner="worker-1", names=frozenset({NAME}), limit=100, lease=LEASE
        )
        return msgspec.structs.replace(plain, **changes)

    def claim(self, **changes: object) -> ClaimBatch:
        """Claim with the defaults of `request`."""
        return self.backend.claim(self.request(**changes))

    def claimed(self, **changes: object) -> list[str]:
        """The ids that a claim takes, in order."""
        return [record.key.invocation_id for record in self.claim(**changes).records]

    def running(self, id_: str = "a", **changes: object) -> InvocationRecord:
        """Start a fresh id and claim it, which must be all that is claimable."""
        self.start(id_, **changes)
        (record,) = self.claim().records
        assert record.key.invocation_id == id_
        return record

    def read(self, key: InvocationKey) -> InvocationRecord:
        """The row as it is now."""
        record = self.backend.read(*key)
        assert record is not None
        return record

    def holding(self, record: InvocationRecord) -> Holding:
        """The lease that `record` shows."""
        return Holding(record.key, record.epoch)

    def token(self) -> bytes:
        """16 bytes that were not used before."""
        self._tokens += 1
        return blake2b(str(self._tokens).encode(), digest_size=16).digest()

    def transition(self, record: InvocationRecord, *bodies: bytes, **changes: object) -> Transition:
        """A commit of one sealed entry per body, on top of `record`."""
        token = self.token()
        seal = record.head_hash or genesis(record.key, record.seed)
        entries: list[Entry] = []
        for position, body in enumerate(bodies, record.head):
            entry = sealed(position, body, record.epoch, token, self.clock(), seal)
            seal = entry.checksum
            entries.append(entry)
        plain = Transition(
            key=record.key,
            epoch=record.epoch,
            head=record.head,
            token=token,
            entries=tuple(entries),
            head_hash=seal,
        )
        return msgspec.structs.replace(plain, **changes)

    def try_commit(
        self, record: InvocationRecord, *bodies: bytes, **changes: object
    ) -> CommitResult:
        """Commit one transition."""
        (result,) = self.backend.commit([self.transition(record, *bodies, **changes)])
        return result

    def commit(self, record: InvocationRecord, *bodies: bytes, **changes: object) -> Committed:
        """Commit one transition that must be accepted."""
        result = self.try_commit(record, *bodies, **changes)
        assert isinstance(result, Committed), f"refused: {result}"
        return result

    def step(self, record: InvocationRecord, *bodies: bytes) -> InvocationRecord:
        """Commit entries and return the row after it."""
        self.commit(record, *bodies)
        return self.read(record.key)

    def dispose(self, record: InvocationRecord, disposition: Disposition) -> Committed:
        """Commit nothing but what becomes of the lease."""
        return self.commit(record, disposition=disposition)

    def finish(
        self,
        record: InvocationRecord,
        state: InvocationState = InvocationState.COMPLETED,
        outcome: bytes = b"null",
    ) -> Committed:
        """Reach an end."""
        return self.dispose(record, Finish(state=state, outcome=outcome))

    def sources(self, key: InvocationKey) -> list[InvocationKey]:
        """What the unread inbox rows name, oldest first."""
        return [row.source for row in self.backend.read_inbox(key)]


def sealed(position: int, body: bytes, epoch: int, token: bytes, at: int, previous: bytes) -> Entry:
    """An entry with its checksum."""
    entry = Entry(
        position=position,
        kind=EntryKind.TASK,
        scope="",
        ordinal=position + 1,
        key=f"task:{position + 1}",
        name="shop.charge",
        digest=b"d" * 16,
        body=body,
        meta=b"{}",
        at=at,
        epoch=epoch,
        token=token,
        checksum=b"",
    )
    return msgspec.structs.replace(entry, checksum=checksum(previous, entry))


def bodies_of(entries: Sequence[Entry]) -> list[bytes]:
    """What the entries hold, in order."""
    return [entry.body for entry in entries]
