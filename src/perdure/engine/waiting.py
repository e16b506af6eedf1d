"""How an attempt waits: the next delivery, a look outside, a while, or the end of its frame.

One base of all attempts, which knows nothing of how they are claimed, run and settled.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from perdure.backends.base import Disposition, InvocationRecord, Stop, Suspend
from perdure.core.entries import Entry, EntryKind
from perdure.core.identity import InvocationKey
from perdure.core.journal import Journal
from perdure.core.lifecycle import InvocationState
from perdure.engine import stuck
from perdure.engine.arrivals import Arrivals
from perdure.engine.cancellation import Cancellation, read_cancellation
from perdure.engine.env import Signal
from perdure.engine.ledger import Ledger
from perdure.engine.mailbox import Mailbox
from perdure.engine.runtime import Runtime
from perdure.errors import PerdureError, Suspended

POLL_SECONDS = 0.25
"""How often an attempt that cannot be dropped looks into its inbox by itself."""


class Waiting(ABC):
    """What an attempt does while nothing of its workflow can go on.

    Attributes:
        cancellation: what was delivered of the kind, if anything.
        now: gives the state backend's time.
        resumes_in: seconds after which it goes on by itself, once its frame is dropped for a wait.
    """

    runtime: Runtime
    record: InvocationRecord
    ledger: Ledger
    journal: Journal
    mailbox: Mailbox
    signal: Signal
    now: Callable[[], int]
    cancellation: Cancellation | None
    resumes_in: float | None = None
    _arrivals: Arrivals
    _idle_since: float | None
    _is_settled: bool
    _awaited_ends: tuple[InvocationKey, ...]

    @abstractmethod
    def flush(self) -> bool:
        """Make everything staged durable."""

    @abstractmethod
    def bring(self) -> None:
        """Queue the deliveries of what is staged."""

    @abstractmethod
    def commit(self, disposition: Disposition | None) -> bool:
        """Commit what is staged together with a change of state."""

    @abstractmethod
    def halt(self, disposition: Disposition | None) -> None:
        """Drop the frame, and settle as given."""

    @abstractmethod
    def stop(self, error: PerdureError) -> None:
        """Park the workflow because of `error`."""

    @abstractmethod
    def let_go_if_stopping(self) -> None:
        """Release the workflow to others when this worker shuts down."""

    def deliver_next(self) -> bool:
        """Hand the next delivery of the journal to its wait; False when there is none."""
        if not self.journal.deliveries:
            return False
        entry = self.journal.deliveries.popleft()
        self._idle_since = None
        if entry.kind == EntryKind.CANCEL:
            self.cancellation = read_cancellation(entry.body)
            self.cancel(self.cancellation)
        else:
            self.mailbox.route(entry)
        return True

    @abstractmethod
    def interrupts(self, entry: Entry) -> bool:
        """Whether the delivery of this makes raise what waits then."""

    @abstractmethod
    def cancel(self, asked: Cancellation) -> None:
        """Make what waits in the root scope raise its cancellation."""

    def look(self) -> None:
        """Look into the inbox now and then also while one body follows the other."""
        if self._arrivals.is_time() and self._arrivals.read(self.ledger, self.now()):
            self.flush()

    def idle(self, *, busy: bool) -> None:
        """Nothing can be delivered now: collect what arrived, wait a while, or drop the frame.

        Args:
            busy: a task body of this workflow is running here, so the frame must stay, even when
                the worker stops; it starts no other body then.

        Raises:
            Suspended: the frame is dropped; it will be replayed when there is something for it.
        """
        self.bring()
        if self.journal.deliveries:
            return
        self.signal.clear()  # before the look: whoever stops the worker pokes after saying so
        if not busy:
            self.flush()
            self.let_go_if_stopping()
        if self._collect():
            return
        if self.pausing and not busy:
            self.pause()
        env, grace = self.runtime.env, self.runtime.settings.grace
        if self._idle_since is None:
            self._idle_since = env.monotonic()
        left = grace - (env.monotonic() - self._idle_since)
        due = self._arrivals.next_due(self.ledger)
        until_due = None if due is None else max(0, due - self.now()) / 1e6
        if busy:
            # Others may have put something into the inbox without a poke that reaches us.
            if not self.signal.wait(
                POLL_SECONDS if until_due is None else min(POLL_SECONDS, until_due)
            ):
                self._arrivals.look_anyway()
        elif self.mailbox.next_due() is None and not self.mailbox.awaits_others:
            self.stop(stuck.by_itself(self.record.key))
            raise Suspended("The workflow is parked.")
        elif left <= 0 or (
            not self.mailbox.awaits_others and (until_due is None or until_due > left)
        ):
            self.resumes_in = until_due
            self._suspend(due)
        else:
            self.signal.wait(left if until_due is None else min(left, until_due))

    def _suspend(self, due: int | None) -> None:
        """Drop the frame, or end a wait that could never end: all others of a circle wait already.

        Raises:
            Suspended: the frame is dropped.
        """
        key, awaited = self.record.key, self.mailbox.awaited_ends
        end = None
        if awaited and due is None:
            end = stuck.end_of_cycle(self.runtime, key, awaited, self.now())
        if end is None:
            self._awaited_ends = awaited  # its frame drops its waits
            self.halt(Suspend(due))
            raise Suspended("The workflow waits for something durable; its frame is dropped.")
        self.journal.stage(end)
        self.flush()

    def _collect(self) -> bool:
        """Turn due timers and inbox rows into deliveries; True when there were any."""
        found = self._arrivals.collect(self.ledger, self.now())
        if found:
            self.flush()
        return found

    @property
    def pausing(self) -> bool:
        """Whether somebody asked that the workflow be paused."""
        return bool(self._arrivals.pauses)

    def pause(self) -> None:
        """Stop until somebody resumes it; what asked for that goes in the same commit.

        Raises:
            Suspended: always.
        """
        for row_id in self._arrivals.pauses:
            self.ledger.add_consumed(row_id)
        self.commit(Stop(InvocationState.PAUSED, ""))
        self._is_settled = True
        self.halt(None)
        raise Suspended("The workflow is paused.")
