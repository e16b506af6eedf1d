"""What has come for one workflow: its inbox and its timers, turned into deliveries."""

from __future__ import annotations

import msgspec

from perdure.backends.base import InvocationRecord
from perdure.core.entries import EntryKind
from perdure.core.journal import Draft
from perdure.engine.cancellation import at_deadline
from perdure.engine.effects import Wait
from perdure.engine.inbox import receive
from perdure.engine.ledger import Ledger
from perdure.engine.letters import PAUSE
from perdure.engine.mailbox import Mailbox
from perdure.engine.runtime import Runtime

LOOK_SECONDS = 1.0
"""How often an attempt looks into its inbox while it runs one task body after the other."""


class Arrivals:
    """Looks for one attempt. Only `poke` may be called from other threads.

    Attributes:
        pauses: inbox rows that ask that the workflow be paused.
    """

    def __init__(self, runtime: Runtime, record: InvocationRecord, mailbox: Mailbox) -> None:
        """Look into the inbox at the first wait, and before the first body.

        Only what was never claimed before has nothing there that could keep a body from beginning.
        """
        self._runtime = runtime
        self._key = record.key
        self._mailbox = mailbox
        self._poked = True
        self._look_at = runtime.env.monotonic() + LOOK_SECONDS if record.epoch == 1 else 0.0
        self.pauses: set[int] = set()
        self.go_by(None)

    def go_by(self, deadline: int | None) -> None:
        """When the time of the workflow itself is over; it is looked at before the first body."""
        self._deadline = deadline
        self._deadline_at = float("inf") if deadline is None else float("-inf")

    def poke(self) -> None:
        """Something may have arrived."""
        self._poked = True
        self._look_at = 0.0

    def look_anyway(self) -> None:
        """Others may have put something into the inbox without a poke that reaches us."""
        self._poked = True

    def is_time(self) -> bool:
        """Whether to look although nothing waits; it is asked before each task body."""
        moment = self._runtime.env.monotonic()
        if moment < min(self._look_at, self._deadline_at):
            return False
        self._look_at = moment + LOOK_SECONDS
        self._poked = True
        return True

    def collect(self, ledger: Ledger, now: int) -> bool:
        """Stage the delivery of due timers and inbox rows; True when there were any."""
        due = self._mailbox.due_by(now)
        if due and (coming := ledger.journal.deliveries):
            # One that has fired on record, and that nobody has been handed yet, must not again.
            fired = {(entry.scope, entry.ordinal) for entry in coming}
            due = [wait for wait in due if wait.place not in fired]
        for wait in due:
            self._fire(ledger, wait, now)
        return self.read(ledger, now) or bool(due)

    def read(self, ledger: Ledger, now: int) -> bool:
        """Stage the delivery of inbox rows, if it is time to look; True when there were any.

        Before them comes the end of the workflow's own time, unless it is cancelled already.
        """
        found = self._deadline is not None and self._end(ledger, self._deadline, now)
        if self._poked:
            self._poked = False
            for row in self._runtime.backend.read_inbox(self._key):
                if row.kind == PAUSE:
                    self.pauses.add(row.row_id)  # it goes with the pause itself, or not at all
                else:
                    found = True
                    receive(self._runtime, ledger, row, now)
        return found

    def next_due(self, ledger: Ledger) -> int | None:
        """When time alone brings the next delivery: a timer, or the deadline of the workflow."""
        deadline = None if ledger.is_cancelled else self._deadline
        due = self._mailbox.next_due()
        return deadline if due is None or (deadline is not None and deadline < due) else due

    def _end(self, ledger: Ledger, deadline: int, now: int) -> bool:
        if now < deadline and not ledger.is_cancelled:
            self._deadline_at = self._runtime.env.monotonic() + (deadline - now) / 1e6
            return False
        self._deadline, self._deadline_at = None, float("inf")
        return ledger.stage_cancellation(msgspec.json.encode(at_deadline(deadline)), now)

    def _fire(self, ledger: Ledger, wait: Wait, now: int) -> None:
        if wait.place is None:
            self._mailbox.end_pause(wait)
            return
        scope, ordinal = wait.place
        wait.due = None  # it fires once; the delivery is in the journal from now on
        draft = Draft(EntryKind.FIRED, scope, ordinal, "", "timer", b"", b"null", b"{}", now)
        ledger.journal.stage(draft)
