"""One claim of one task that was started for any worker: run its body once, settle the outcome.

A task has no journal: its row holds the attempts, its outcome is its record. At least once: a crash
between the body and the settlement runs the body again. At most once, for a task that asks for it:
the claim announces the body, so whoever claims it after a crash does not run it. A lease under
which it may have begun is not given back without its outcome; it runs out, which is a crash.
A body may leave its task open, to be completed from outside; what says so is in the commit that
gives the lease back.
"""

from __future__ import annotations

import msgspec

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
from perdure.engine.body import raised_by_body
from perdure.engine.context import Origin, TaskContext
from perdure.engine.deaths import cause_of_death
from perdure.engine.effects import Call, Function
from perdure.engine.flows.attempts import is_late, unknown
from perdure.engine.heartbeats import TaskKeeper, was_lost
from perdure.engine.outcome import (
    LATER,
    Outcome,
    Returned,
    Unfinished,
    outcome_token,
    recorded_arguments,
)
from perdure.engine.outcomes import commit_outcome
from perdure.engine.outside import LEFT_OPEN, LeftOpen, left_open, nobody_completed
from perdure.engine.pulse import Pulse
from perdure.engine.runtime import Runtime, due_again, log_stop, logger
from perdure.engine.started import template_of
from perdure.errors import BackendError, JournalCorrupted, PerdureError


class TaskAttempt:
    """Runs one claimed task."""

    def __init__(self, runtime: Runtime, record: InvocationRecord, function: Function) -> None:
        """Prepare an attempt on a claimed record."""
        self.runtime = runtime
        self.record = record
        self.function = function
        self.error: PerdureError | None = None
        self._holding = Holding(record.key, record.epoch)
        self._has_begun = False
        self.resumes_in: float | None = None
        self._data: tuple[tuple[str, bytes], ...] = ()

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
        if self.function.once and self._has_begun:
            return True
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
        try:
            self.runtime.check_identity(record)
            recorded_arguments(record)
        except JournalCorrupted as damage:
            return self._parked(damage)
        if self.function.once:
            return self._disposition_once()
        if record.crashes >= limit:
            where = f"the body of task {record.name!r}"
            return Stop(InvocationState.DEAD, cause_of_death(record, where))
        # (Nobody can have left open what is claimed for the first time.)
        if self.function.completes_outside and record.epoch > 1:
            still_open = self._still_open()
            if still_open is not None:
                return still_open
        return self._ran(Call(self.function, record.arguments, record.fingerprint))

    def _ran(self, call: Call) -> Disposition | None:
        record = self.record
        outcome = None
        if self._may_start():
            self._has_begun = True
            outcome = self.runtime.bodies.run(call, self._context(), self._may_start)
        if outcome is None:
            self._has_begun = False
            if self.runtime.stopping.is_set():
                return Release()
            logger.info("lease of %s was not confirmed; its body did not start", record.key)
            return None
        return self._settled_by(outcome, call.function)

    def _settled_by(self, outcome: Outcome | Unfinished, function: Function) -> Disposition | None:
        if isinstance(outcome, Unfinished):
            self._has_begun = outcome.may_have_begun
            due = due_again(self.runtime, self.record, self.record.name, outcome)
            return None if due is None else Suspend(due)
        if was_lost(outcome):
            logger.info("%s counts no more, and its body has ended for that", self.record.key)
            return None
        if function.once and is_late(outcome):
            return self._uncertain(str(outcome.error))
        if isinstance(outcome, Returned) and outcome.value is LATER:
            return self._leave_open()
        return self._concluded(outcome, function)

    def _disposition_once(self) -> Disposition | None:
        """The same for a task whose body must not run again.

        A claim after a crash asks what became of the body, if there is somebody to ask.
        """
        record = self.record
        if not record.crashes:
            return self._ran(Call(self.function, record.arguments, record.fingerprint))
        asking = self.function.asking(record.arguments)
        if asking is None or record.crashes >= self.runtime.settings.crash_limit:
            return self._uncertain("its process or its lease was lost")
        return self._ran(asking)

    def _uncertain(self, why: str) -> Disposition | None:
        """Nobody knows what came of it: the end, or None to have it asked by the next claim.

        Whoever asks may fail and ask again, so it must be on record first that the body may have
        run; a lease that runs out is that record.
        """
        record = self.record
        if not record.crashes and self.function.asking(record.arguments) is not None:
            return None
        error = unknown(record.name, why)
        return Finish(InvocationState.FAILED, self.runtime.bodies.raised(error).body)

    def _still_open(self) -> Disposition | None:
        """What becomes of a task whose body has left it open; None if its body is to run."""
        record, function = self.record, self.function
        try:
            note = left_open(record, self.runtime.backend.read_data(record.key))
        except JournalCorrupted as damage:
            return self._parked(damage)
        if note is None:
            return None
        if note.due is None or self.runtime.now(record.key) < note.due:
            return Suspend(note.due)
        error = nobody_completed(record.name, function.completion_timeout)
        return self._concluded(raised_by_body(function, error, self.runtime.types), function)

    def _parked(self, damage: JournalCorrupted) -> Disposition:
        self.error = damage
        return Stop(InvocationState.PARKED, f"{type(damage).__name__}: {damage}")

    def _leave_open(self) -> Disposition:
        """Wait for whoever completes it; that the body need not run again goes along."""
        limit, record = self.function.completion_timeout, self.record
        due = None if limit is None else self.runtime.now(record.key) + int(limit * 1e6)
        self._data = ((LEFT_OPEN, msgspec.json.encode(LeftOpen(record.attempts, due))),)
        return Suspend(due)

    def _concluded(self, outcome: Outcome, function: Function) -> Disposition:
        delay = self._retry_delay(outcome, function)
        if delay is not None:
            self.resumes_in = delay / 1e6
            return RetryLater(delay)
        if isinstance(outcome, Returned):
            return Finish(InvocationState.COMPLETED, outcome.body)
        return Finish(InvocationState.FAILED, outcome.body)

    def _context(self) -> TaskContext:
        record = self.record
        return TaskContext(
            lambda: Origin(
                record.key, record.seed, template_of(record, record.workflow), record.seed
            ),
            record.base_time or 0,
            workflow=record.workflow,
            owner=self.runtime.owner,
            pulses=self._pulse_of,
            attempt=record.attempts + 1,
        )

    def _pulse_of(self, context: TaskContext) -> Pulse:
        del context
        return Pulse(self.runtime.env.monotonic, TaskKeeper(self.runtime, self.record))

    def _retry_delay(self, outcome: Outcome, function: Function) -> int | None:
        """Microseconds before the next attempt, or None when this outcome is final."""
        if isinstance(outcome, Returned) or outcome.final:
            return None
        number = self.record.attempts + 1
        chance = int(derive_id(self.record.seed, "retry", str(number)), 16) / 2.0**128
        delay = function.retry.delay_after(number, chance)
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
            data=self._data,
            reset_crashes=bool(self._data),
            disposition=disposition,
        )
        if self._data or isinstance(disposition, (Finish, RetryLater)):
            result = commit_outcome(self.runtime, transition)
        else:
            result = self.runtime.committer.submit(transition)
        if not isinstance(result, Committed):
            logger.info("lease of %s lost; its late outcome is dropped", record.key)
