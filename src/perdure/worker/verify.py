"""Runs a workflow's code on its recorded journal without a lease: nothing is called or recorded."""

from __future__ import annotations

from typing import NoReturn

from perdure.api.info import Verification
from perdure.backends.base import Disposition, InvocationRecord, NewInvocation
from perdure.core.lifecycle import TERMINAL
from perdure.engine.async_attempt import AsyncAttempt
from perdure.engine.attempt import Attempt
from perdure.engine.cancellation import Cancellation
from perdure.engine.effects import Compute, Function, Outward, RunBody
from perdure.engine.outcome import Outcome, Returned
from perdure.engine.runtime import Runtime
from perdure.engine.sync_attempt import SyncAttempt
from perdure.errors import RegistrationError, Suspended


class _Verifying(Attempt):
    """Stops where the first run would have to do something."""

    def _recorded_end(self) -> NoReturn:
        self.halt(None)
        raise Suspended("The end of the record is reached.")

    def before_body(self, *, announced: bool = False) -> None:
        """A body would run."""
        del announced
        self._recorded_end()

    def compute(self, effect: Compute) -> Outcome:
        """A user's function would run."""
        del effect
        self._recorded_end()

    def start_now(self, new: NewInvocation) -> InvocationRecord:
        """Something would be started."""
        del new
        self._recorded_end()

    def affect(self, effect: Outward) -> object:
        """Something would be sent or cancelled."""
        del effect
        self._recorded_end()

    def flush(self) -> bool:
        """Something would be recorded."""
        if self.ledger.dirty:
            self._recorded_end()
        return True

    def commit(self, disposition: Disposition | None) -> bool:
        """Nothing is recorded."""
        del disposition
        return True

    def look(self) -> None:
        """There is nothing to look for."""

    def pass_on(self, asked: Cancellation) -> None:
        """Nothing is cancelled."""
        del asked

    def idle(self, *, busy: bool) -> None:
        """Something would be waited for."""
        del busy
        self._recorded_end()

    def verify(self) -> Verification:
        """Run the function against the record."""
        record = self.record
        entries = self.runtime.backend.read_journal(record.key)[: record.head]
        self.load(entries)
        outcome = self.execute(self.make_context("", self.base_time))
        if self.error is not None:
            raise self.error
        if self.halted:
            return Verification(entries=len(entries), finished=False)
        self.conclude(outcome)
        value = outcome.value if isinstance(outcome, Returned) else None
        return Verification(entries=len(entries), finished=record.state in TERMINAL, value=value)


class _SyncVerifying(_Verifying, SyncAttempt):
    """For sync workflows."""

    def run_body(self, effect: RunBody) -> Outcome:
        """A body would run."""
        del effect
        self._recorded_end()


class _AsyncVerifying(_Verifying, AsyncAttempt):
    """For async workflows."""


def verify(runtime: Runtime, record: InvocationRecord, function: Function) -> Verification:
    """Check one workflow.

    Raises:
        PerdureError: what differs or is damaged.
        RegistrationError: the record is of a task; a task has no journal.
    """
    if record.kind != "workflow":
        raise RegistrationError(f"{record.key.invocation_id!r} is a task; only workflows replay.")
    kind = _AsyncVerifying if function.is_async else _SyncVerifying
    return kind(runtime, record, function).verify()
