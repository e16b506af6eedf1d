"""What one attempt appends: its journal, what goes along with the next commit, and the fence.

Everything staged since the last commit becomes durable in one transaction, or the attempt ends.
"""

from __future__ import annotations

from perdure.backends.base import (
    Committed,
    Disposition,
    Finish,
    Holding,
    InvocationRecord,
    NewInvocation,
    Refusal,
    Release,
    Transition,
)
from perdure.core.draws import ALGORITHM
from perdure.core.entries import COMMANDS, DELIVERIES, READ_OUTSIDE, Entry, EntryKind
from perdure.core.identity import InvocationKey
from perdure.core.journal import Draft, Journal
from perdure.engine.env import TOKEN_BYTES
from perdure.engine.outcome import outcome_token
from perdure.engine.outcomes import commit_outcome
from perdure.engine.runtime import Runtime
from perdure.errors import JournalCorrupted, LeaseLost

_PROGRESS = COMMANDS | DELIVERIES
_OUTCOMES = frozenset({EntryKind.TASK, EntryKind.ATTEMPT})
"""What bodies gave, which must not be had again."""
HELD_SECONDS_MAX = 1.0
"""After a commit, how long what pure tasks give is held back: a crash costs no more work."""


class Ledger:
    """The journal of one claimed workflow and its pending commit. Used by one thread.

    Attributes:
        reset_crashes: forget the crashes with the next commit.
        progress_resets: forget them with the next commit that takes the workflow on.
        is_cancelled: its journal holds a cancellation, or will.
    """

    def __init__(self, runtime: Runtime, record: InvocationRecord, entries: list[Entry]) -> None:
        """Check and index the journal.

        Raises:
            JournalCorrupted: it is damaged.
        """
        if record.draw_algorithm != ALGORITHM:
            raise JournalCorrupted(
                f"Workflow {record.key.invocation_id!r} draws by algorithm "
                f"{record.draw_algorithm}; this perdure knows {ALGORITHM}. A newer perdure "
                "wrote it; run this workflow with that version."
            )
        self.journal = Journal(record.key, record.seed, entries, record.head)
        self._holding = Holding(record.key, record.epoch)
        self.reset_crashes = False
        self.progress_resets = False
        self.is_cancelled = any(entry.kind == EntryKind.CANCEL for entry in entries)
        self._runtime = runtime
        self._record = record
        self._now = runtime.clock_of(record.key)
        self._committed_at = runtime.env.monotonic()
        self._children: list[NewInvocation] = []
        self._watches: list[InvocationKey] = []
        self._consumed: list[int] = []
        self._data: list[tuple[str, bytes]] = []

    @property
    def dirty(self) -> bool:
        """True when something waits to be committed."""
        return bool(
            self.journal.dirty or self._children or self._watches or self._data or self._consumed
        )

    def add_child(self, new: NewInvocation) -> None:
        """Start this invocation with the next commit."""
        self._children.append(new)

    def add_watch(self, key: InvocationKey) -> None:
        """Ask for the end of this invocation with the next commit."""
        self._watches.append(key)

    def add_consumed(self, row_id: int) -> None:
        """This inbox row is delivered by an entry of the next commit."""
        self._consumed.append(row_id)

    def stage_cancellation(self, body: bytes, now: int) -> bool:
        """Stage the delivery of a cancellation; False if there is one, for it comes once."""
        if self.is_cancelled:
            return False
        self.is_cancelled = True
        self.journal.stage(Draft(EntryKind.CANCEL, "", 0, "", "cancel", b"", body, b"{}", now))
        return True

    def add_data(self, name: str, body: bytes) -> None:
        """Publish workflow data with the next commit."""
        self._data.append((name, body))

    def _forget_pending(self) -> None:
        self._children.clear()
        self._watches.clear()
        self._consumed.clear()
        self._data.clear()

    def hold(self) -> bool:
        """Let the workflow go on with all that is staged before it is durable, if it may.

        False if something of it must be durable first, or if more is held back than should be.
        """
        journal, env = self.journal, self._runtime.env
        if journal.firm or journal.full:
            return False
        if journal.deferred and env.monotonic() - self._committed_at > HELD_SECONDS_MAX:
            return False
        journal.hold(self._now)
        return True

    def commit(self, disposition: Disposition | None) -> bool:
        """Commit what is pending. False when a child's id was taken; nothing happened then.

        Raises:
            LeaseLost: another attempt owns the workflow, or our lease could not be confirmed.
            BackendError: nothing happened, or it is not known.
        """
        if not self._runtime.leases.is_live(self._holding):
            raise LeaseLost
        if isinstance(disposition, Finish):
            token = outcome_token(self._record.key, self._record.epoch, disposition)
        else:
            token = self._runtime.env.entropy(TOKEN_BYTES)
        journal, epoch = self.journal, self._record.epoch
        entries = journal.seal_pending(epoch, token, self._now)
        kinds = [entry.kind for entry in entries]
        transition = Transition(
            key=self._record.key,
            epoch=epoch,
            head=journal.head,
            token=token,
            entries=entries,
            head_hash=entries[-1].checksum if entries else journal.seal,
            children=tuple(self._children),
            watches=tuple(self._watches),
            consumed=tuple(self._consumed),
            data=tuple(self._data),
            reset_crashes=self.reset_crashes
            or (self.progress_resets and not _PROGRESS.isdisjoint(kinds)),
            disposition=disposition,
        )
        if not _OUTCOMES.isdisjoint(kinds):
            result = commit_outcome(self._runtime, transition)
        else:
            result = self._runtime.committer.submit(transition)
        if result is Refusal.CHILD_EXISTS:
            self._children.clear()
            return False
        if not isinstance(result, Committed):
            raise LeaseLost
        journal.acknowledge(entries)
        if not READ_OUTSIDE.isdisjoint(kinds):
            self._runtime.hub.told(self._record.key)
        self._committed_at = self._runtime.env.monotonic()
        self._forget_pending()
        self.reset_crashes = False
        return True


def settle(
    runtime: Runtime, record: InvocationRecord, journal: Journal | None, disposition: Disposition
) -> None:
    """Give the lease back and record nothing else.

    Args:
        journal: where the attempt stands; None if it could not even be loaded.

    Raises:
        LeaseLost: it was not ours any more.
        BackendError: the lease is still ours.
    """
    head = record.head if journal is None else journal.head
    seal = record.head_hash if journal is None else journal.seal
    if _settle_at(runtime, record, disposition, head, seal):
        return
    # A commit whose outcome stayed unknown did happen. What it brought is not known to this
    # attempt, so only the plain release is right: the next claim reads it.
    now = runtime.backend.read(*record.key, locked=True)
    if now is None or now.epoch != record.epoch:
        raise LeaseLost
    if not _settle_at(runtime, record, Release(), now.head, now.head_hash):
        raise LeaseLost


def _settle_at(
    runtime: Runtime, record: InvocationRecord, disposition: Disposition, head: int, seal: bytes
) -> bool:
    """True if it happened, False if the head is another."""
    transition = Transition(
        key=record.key,
        epoch=record.epoch,
        head=head,
        token=runtime.env.entropy(TOKEN_BYTES),
        head_hash=seal,
        disposition=disposition,
    )
    result = runtime.committer.submit(transition)
    if isinstance(result, Committed):
        return True
    if result is Refusal.WRONG_HEAD:
        return False
    raise LeaseLost
