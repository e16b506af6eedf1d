"""One claim of one task that was started for any worker: run its body once, settle the outcome.

A task has no journal: its row holds the attempts, its outcome is its record. At least once: a crash
between the body and the settlement runs the body again.
"""

from __future__ import annotations

from perdure.backends.base import (
    Committed,
    Disposition,
    Finish,
    Holding,
    InvocationRecord,
    Release,
    RetryLater,
    Stop,
    Suspend,
    Transition,
)
from perdure.core.draws import derive_id
from perdure.core.lifecycle import InvocationState
from perdure.engine.context import Origin, TaskContext
from perdure.engine.deaths import cause_of_death
from perdure.engine.effects import Call, Function
from perdure.engine.outcome import Outcome, Returned, Unfinished, outcome_token
from perdure.engine.outcomes import commit_outcome
from perdure.engine.runtime import Runtime, due_again, log_stop, logger
from perdure.engine.started import template_of
from perdure.errors import BackendError, PerdureError


class TaskAttempt:
    """Runs one claimed task."""

    def __init__(self, runtime: Runtime, record: InvocationRecord, function: Function) -> None:
        """Prepare an attempt on a claimed record."""
        self.runtime = runtime
        self.record = record
        self.function = function
        self.error: PerdureError | None = None
        self._holding = Holding(record.key, record.epoch)

    def run(self) -> None:
        """Run the body and settle; a stale lease or a failing backend changes nothing."""
        try:
            disposition = self._disposition()
            if disposition is not None:
                self._settle(disposition)
        except BackendError as error:
            logger.warning("outcome of %s not recorded: %s", self.record.key, error)
            self.error = error
            self.give_back()

    def give_back(self) -> bool:
        """Release the lease after the backend failed; False if it fails still."""
        try:
            self._settle(Release())
        except BackendError:
            return False
        return True

    def _may_start(self) -> bool:
        live = self.runtime.leases.is_live(self._holding)
        return live and not self.runtime.stopping.is_set()

    def _disposition(self) -> Disposition | None:
        """Run the body; None to let the lease run out.

        That is if it was not confirmed before the body started, and if the process of the body died
        under it: as if this process had died, so that it counts as a crash.
        """
        record, limit = self.record, self.runtime.settings.crash_limit
        if record.crashes >= limit:
            where = f"the body of task {record.name!r}"
            return Stop(InvocationState.DEAD, cause_of_death(record, where))
        call = Call(self.function, record.arguments, record.fingerprint)
        outcome = None
        if self._may_start():
            outcome = self.runtime.bodies.run(call, self._context(), self._may_start)
        if outcome is None:
            if self.runtime.stopping.is_set():
                return Release()
            logger.info("lease of %s was not confirmed; its body did not start", record.key)
            return None
        if isinstance(outcome, Unfinished):
            due = due_again(self.runtime, record, record.name, outcome)
            return None if due is None else Suspend(due)
        return self._concluded(outcome)

    def _concluded(self, outcome: Outcome) -> Disposition:
        delay = self._retry_delay(outcome)
        if delay is not None:
            return RetryLater(delay)
        if isinstance(outcome, Returned):
            return Finish(InvocationState.COMPLETED, outcome.body)
        return Finish(InvocationState.FAILED, outcome.body)

    def _context(self) -> TaskContext:
        record = self.record
        return TaskContext(
            lambda: Origin(record.key, record.seed, template_of(record, record.workflow)),
            record.base_time or 0,
            workflow=record.workflow,
            owner=self.runtime.owner,
        )

    def _retry_delay(self, outcome: Outcome) -> int | None:
        """Microseconds before the next attempt, or None when this outcome is final."""
        if isinstance(outcome, Returned) or outcome.final:
            return None
        number = self.record.attempts + 1
        chance = int(derive_id(self.record.seed, "retry", str(number)), 16) / 2.0**128
        delay = self.function.retry.delay_after(number, chance)
        return None if delay is None else int(delay * 1e6)

    def _settle(self, disposition: Disposition) -> None:
        record = self.record
        if isinstance(disposition, Stop):
            log_stop(record.key, disposition)
        token = self.runtime.env.entropy(16)
        if isinstance(disposition, Finish):
            token = outcome_token(record.key, record.epoch, disposition)
        transition = Transition(
            key=record.key,
            epoch=record.epoch,
            head=record.head,
            token=token,
            disposition=disposition,
        )
        if isinstance(disposition, (Finish, RetryLater)):
            result = commit_outcome(self.runtime, transition)
        else:
            result = self.runtime.committer.submit(transition)
        if not isinstance(result, Committed):
            logger.info("lease of %s lost; its late outcome is dropped", record.key)
