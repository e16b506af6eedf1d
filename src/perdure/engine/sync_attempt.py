"""Attempts of sync workflows: the function runs on this thread and blocks in its operations.

Once it makes branches, what blocks goes through `perdure.engine.branches`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from perdure.backends.base import InvocationRecord
from perdure.core.entries import Entry
from perdure.engine.attempt import PARKING, Attempt
from perdure.engine.beginning import held_back
from perdure.engine.branches import Branches
from perdure.engine.cancellation import Cancellation
from perdure.engine.context import WorkflowContext, enter, leave
from perdure.engine.deadlines import Deadlines
from perdure.engine.drive import BodyAnswer, drive
from perdure.engine.effects import Flow, Function, RunBody, Wait
from perdure.engine.flows import undo_all
from perdure.engine.heartbeats import was_lost
from perdure.engine.outcome import Outcome, Returned, Unfinished, recorded_arguments
from perdure.engine.runtime import Runtime
from perdure.engine.strays import OneProcess
from perdure.errors import BackendError, Cancelled, ControlFlow, InternalError, WrongColour


class SyncAttempt(Attempt):
    """Runs one claimed sync workflow."""

    _undoing = False

    def __init__(self, runtime: Runtime, record: InvocationRecord, function: Function) -> None:
        """Prepare an attempt on a claimed record."""
        super().__init__(runtime, record, function)
        self._branches: Branches | None = None
        self.deadlines = Deadlines(self.mailbox)

    def execute(self, context: WorkflowContext) -> Outcome:
        """Run the function to its end, or to where its frame is dropped."""
        token = enter(context)
        try:
            ended = self._end_of(self.function.bind(recorded_arguments(self.record)))
            return self._undone(context, ended)
        except ControlFlow as signal:
            if not self.halted:
                raise InternalError("A control signal came without its cause.") from signal
            return self.raised(signal)
        finally:
            if self.halted and self._branches is not None:
                self._branches.drop()
            leave(token)

    def _undone(self, context: WorkflowContext, ended: Outcome) -> Outcome:
        """The outcome, after what it asks for: a failure has the registered undos called."""
        if isinstance(ended, Returned) or not self.undos:
            return ended
        self._undoing = True
        return self.perform(undo_all(context, self.undos, ended))

    def _end_of(self, run: Callable[[], object]) -> Outcome:
        try:
            with OneProcess(f"workflow {self.record.name!r}"):
                value = run()
            return self.returned(value)
        except Cancelled as error:
            self.ended_cancelled = True
            return self.raised(error)
        except ControlFlow:
            raise
        except BaseException as error:  # noqa: BLE001 - what the function raises is its outcome
            return self.raised(error)

    def branches(self, context: WorkflowContext) -> Branches:
        """Where the code of this context makes its branches."""
        context.branching = True
        if self._branches is None:
            self._branches = Branches(self)
        return self._branches

    def perform(self, flow: Flow[Outcome]) -> Outcome:
        """Drive an operation; errors of the engine itself drop the frame instead of reaching it."""
        try:
            return drive(flow, self)
        except (*PARKING, BackendError) as error:
            raise self.drop_for(error) from error

    async def perform_async(self, flow: Flow[Outcome]) -> Outcome:
        """Refuse: nothing awaits inside a sync workflow."""
        flow.close()
        raise WrongColour("A sync workflow cannot await. Use the sync spelling: task.call(...).")

    def may_begin(self) -> None:
        """The last chance of a stop, a pause or a cancellation before a body."""
        if self._branches is not None and self._branches.live:
            self._branches.may_begin()
            return
        if self.deadlines.pending:
            self._collect()
        while held_back(self, 0):
            while self.deliver_next():  # as a replay will, in the wait for what never came
                continue

    def interrupts(self, entry: Entry) -> bool:
        """See `Attempt.interrupts`."""
        return self.deadlines.interrupts(entry)

    def run_body(self, effect: RunBody) -> BodyAnswer:
        """Run a task body and wait for it."""
        if self._branches is not None and self._branches.live:
            return self._branches.run_body(effect)
        while True:
            context = self.task_context(effect)
            if effect.once:
                self.before_body(announced=True)
                result = self.runtime.bodies.run(effect.call, context, self.may_start)
                if isinstance(result, Unfinished) and not result.may_have_begun:
                    return self.pause_after(effect, result)
                return result
            self.may_begin()
            result = self.runtime.bodies.run(effect.call, context, self.may_start)
            if isinstance(result, Unfinished):
                self.wait_any((self.pause_after(effect, result),))
            elif was_lost(result):
                self.poke()  # what it was told of comes first at the next turn
            elif result is not None:  # else it was held up, and not allowed to start any more
                return result

    def wait_any(self, waits: tuple[Wait, ...]) -> Wait:
        """Block until the first of these is delivered."""
        if self._branches is not None and self._branches.live:
            return self._branches.wait_any(waits)
        if len(waits) == 1 and self._came_next(waits[0]):
            return waits[0]
        try:
            return self._first_of(waits)
        finally:
            for wait in waits:
                self.mailbox.abandon(wait)

    def _first_of(self, waits: tuple[Wait, ...]) -> Wait:
        for wait in waits:
            self.mailbox.add(wait)
            if wait.satisfied:  # the others must take nothing
                break
        while True:
            for wait in waits:
                if wait.satisfied:
                    return wait
            if not self.deliver_next():
                self.idle(busy=False)

    def cancel(self, asked: Cancellation) -> None:
        """See `Attempt.cancel`. What is failing already goes on undoing."""
        if self._undoing:
            return
        if self._branches is not None and self._branches.live:
            self._branches.cancel_root(asked.signal)
            return
        raise asked.signal()

    def begin_deadline(self, wait: Wait, reason: str) -> None:
        """From now on the delivery of this timer cancels the branch that runs now."""
        branches = self._branches
        branch = None if branches is None else branches.current

        def fire() -> None:
            if self._branches is None or not self._branches.live:
                raise Cancelled(reason)
            if branch is None:
                self._branches.cancel_root(partial(Cancelled, reason))
            else:
                self._branches.cancel(branch, partial(Cancelled, reason))

        wait.wake = fire
        self.deadlines.open(wait)

    def refuse(self) -> None:
        """See `Attempt.refuse`; a branch that swallows the signal keeps none of the others."""
        if self._branches is not None:
            self._branches.refuse()
        super().refuse()

    def _collect(self) -> bool:
        """See `Attempt._collect`; also whether a body ended since the signal was cleared.

        That of a branch which was cancelled meanwhile may have, and nobody takes it once no branch
        lives: what waits then must not look for it again and again.
        """
        branches = self._branches
        if super()._collect():
            return True
        return branches is not None and bool(branches.live and branches.finished)

    def _came_next(self, wait: Wait) -> bool:
        """Whether the one thing that is waited for is next in the journal, once that is brought.

        It is after nearly every call, and then it need not be looked for among other waits.
        """
        if wait.place is None:
            return False
        journal = self.journal
        if not journal.deliveries:
            self.bring()
        wait.delivery = journal.take_answer(wait.place)
        if wait.delivery is None:
            return False
        wait.satisfied = True
        self._idle_since = None
        return True
