"""Where heartbeats of task bodies are kept, and how their bodies learn that they count no more.

They stand in the data of the row whose lease the body runs under, written under its epoch. So they
are no part of any journal: a body may read them, a workflow may not.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from perdure.backends.base import Committed, Holding, InvocationRecord, Refusal, Transition
from perdure.core.identity import InvocationKey
from perdure.core.journal import Journal
from perdure.core.lifecycle import InvocationState
from perdure.core.reading import UNREADABLE
from perdure.engine.env import TOKEN_BYTES
from perdure.engine.ledger import Ledger
from perdure.engine.letters import CANCEL, OWN_IDS
from perdure.engine.outcome import Outcome, Raised, Unfinished
from perdure.engine.runtime import Runtime
from perdure.errors import AttemptLost, BackendUnavailable, JournalCorrupted

HEARTBEAT = f"{OWN_IDS}heartbeat"
"""Under this name the data of a row hold what a body told last."""
TRIES_MAX = 10
"""Commits of the same workflow that may come in between before the next heartbeat tries again."""
LEASE_LOST = "its lease is lost: it was ended from outside, or somebody else runs it"


class Note(msgspec.Struct, frozen=True):
    """What a body told last.

    Attributes:
        body: the id of its invocation.
        details: as the body encoded them.
    """

    body: str
    details: msgspec.Raw


_read_note = msgspec.json.Decoder(Note).decode
_encode = msgspec.json.Encoder().encode


def read_note(data: dict[str, bytes], name: str, body: str) -> bytes | None:
    """What this body told last, or None.

    Raises:
        JournalCorrupted: the note cannot be read.
    """
    found = data.get(name)
    if found is None:
        return None
    try:
        note = _read_note(found)
    except UNREADABLE as error:
        raise JournalCorrupted(
            f"The heartbeat of {body!r} cannot be read ({error}): {found[:200]!r}. Restore a "
            "backup."
        ) from error
    return bytes(note.details) if note.body == body else None


def was_lost(result: Outcome | Unfinished | None) -> bool:
    """Whether a body ended because it was told that it counts no more."""
    return isinstance(result, Raised) and isinstance(result.error, AttemptLost)


class TaskKeeper:
    """For a task that was started: its own row keeps what it tells."""

    def __init__(self, runtime: Runtime, record: InvocationRecord) -> None:
        """For one claim of a task."""
        self._runtime = runtime
        self._record = record

    def tell(self, details: bytes | None) -> str:
        """See `Keeper.tell`."""
        runtime, record = self._runtime, self._record
        holding = Holding(record.key, record.epoch)
        if not runtime.leases.is_live(holding):
            return LEASE_LOST
        if details is None:
            kept = _is_held(runtime, holding)
        else:
            body = record.key.invocation_id
            note = Note(body, msgspec.Raw(details))
            kept = _put(runtime, holding, record.head, HEARTBEAT, note) is not Refusal.STALE
        if not kept:
            runtime.leases.lose(holding)
        return "" if kept else LEASE_LOST

    def load(self) -> bytes | None:
        """See `Keeper.load`."""
        key = self._record.key
        data = self._runtime.backend.read_data(key)
        return read_note(data, HEARTBEAT, key.invocation_id)


class Caller(Protocol):
    """An attempt of a workflow, as far as a body that it called needs it."""

    runtime: Runtime
    record: InvocationRecord
    ledger: Ledger
    journal: Journal
    deadline: int | None


class CallKeeper:
    """For a task that a workflow called: the row of the workflow keeps it, one for each scope.

    A scope runs one body at a time, so what earlier ones told gives way. Used from any thread.
    """

    def __init__(self, caller: Caller, body: InvocationKey, scope: str) -> None:
        """For one body of an attempt."""
        self._caller = caller
        self._body = body.invocation_id
        self._name = f"{HEARTBEAT}:{scope}"

    def tell(self, details: bytes | None) -> str:
        """See `Keeper.tell`. A cancellation of the workflow that waits for its turn counts too."""
        caller = self._caller
        runtime, record = caller.runtime, caller.record
        holding = Holding(record.key, record.epoch)
        if not runtime.leases.is_live(holding):
            return LEASE_LOST
        if details is not None and not self._put(holding, details):
            runtime.leases.lose(holding)
            return LEASE_LOST
        if caller.ledger.is_cancelled:
            return ""  # it is part of the clean-up
        if caller.deadline is not None and runtime.now(record.key) >= caller.deadline:
            return "the deadline of its workflow has passed"
        if any(row.kind == CANCEL for row in runtime.backend.read_inbox(record.key)):
            return "its workflow was cancelled"
        return ""

    def _put(self, holding: Holding, details: bytes) -> bool:
        note = Note(self._body, msgspec.Raw(details))
        for _ in range(TRIES_MAX):
            head = self._caller.journal.head
            result = _put(self._caller.runtime, holding, head, self._name, note)
            if result is not Refusal.WRONG_HEAD:
                return result is not Refusal.STALE
        raise BackendUnavailable(f"{TRIES_MAX} commits of its workflow came in between")

    def load(self) -> bytes | None:
        """See `Keeper.load`."""
        data = self._caller.runtime.backend.read_data(self._caller.record.key)
        return read_note(data, self._name, self._body)


def _is_held(runtime: Runtime, holding: Holding) -> bool:
    now = runtime.backend.read(*holding.key, locked=True)
    return now is not None and (now.state, now.epoch) == (InvocationState.RUNNING, holding.epoch)


def _put(
    runtime: Runtime, holding: Holding, head: int, name: str, note: Note
) -> Refusal | Committed:
    transition = Transition(
        key=holding.key,
        epoch=holding.epoch,
        head=head,
        token=runtime.env.entropy(TOKEN_BYTES),
        data=((name, _encode(note)),),
    )
    result = runtime.committer.submit(transition)
    if result is Refusal.STALE and _is_held(runtime, holding):
        return Refusal.WRONG_HEAD  # its outcome was open, and other commits came after it
    return result
