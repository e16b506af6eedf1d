"""One claim of one workflow: its journal, its lease, its waiting, and how it is settled.

Colour-blind: how the function runs and how an operation blocks is in `sync_attempt` and
`async_attempt`. An attempt is used by one thread; only `poke` may come from others.
"""

from __future__ import annotations

from abc import abstractmethod

from perdure.backends.base import (
    Disposition,
    Finish,
    Holding,
    InvocationRecord,
    NewInvocation,
    Release,
    Stop,
    Suspend,
)
from perdure.backends.endings import deadline_of
from perdure.core.entries import Entry
from perdure.core.identity import InvocationKey, WorkflowIdentity
from perdure.core.journal import Journal
from perdure.core.lifecycle import InvocationState
from perdure.engine import effects, stuck
from perdure.engine.arrivals import Arrivals
from perdure.engine.cancellation import Cancellation
from perdure.engine.committer import until_known
from perdure.engine.context import TaskContext, WorkflowContext, watch_threads
from perdure.engine.control import cancel_children
from perdure.engine.deaths import cause_of_death
from perdure.engine.effects import Compute, Flow, Function, Outward, RunBody, Wait
from perdure.engine.heartbeats import CallKeeper
from perdure.engine.ledger import Ledger, settle
from perdure.engine.lines import calling_line
from perdure.engine.mailbox import Mailbox
from perdure.engine.outcome import Outcome, Raised, Returned, Unfinished, end_digest
from perdure.engine.outward import affect
from perdure.engine.pulse import Pulse
from perdure.engine.runtime import Runtime, due_again, log_stop, logger
from perdure.engine.started import call_context, template_of
from perdure.engine.waiting import Waiting
from perdure.errors import (
    BackendError,
    ControlFlow,
    DeserializationError,
    Divergence,
    InternalError,
    JournalCorrupted,
    LeaseLost,
    PerdureError,
    SerializationError,
    Suspended,
    SuspensionSwallowed,
)

REFUSALS_MAX = 100
"""Operations refused to a dropped frame before its code is held to swallow the signal."""
PARKING = (Divergence, JournalCorrupted, DeserializationError, InternalError)
"""Errors of the replay itself: a person must look; going on could only do harm."""


class Attempt(Waiting):
    """Runs one claimed workflow as far as it goes now.

    Attributes:
        halted: from now on every operation is refused and what leaves the function is discarded.
        careful: each task body is preceded by a durable start entry (after a crash).
        error: what stopped the attempt, for whoever ran it.
        deadline: when the workflow is to have ended (microseconds since 1970 UTC), if ever.
        ledger, journal: the journal and its pending commit; there are none before `load`.
    """

    def __init__(self, runtime: Runtime, record: InvocationRecord, function: Function) -> None:
        """Prepare an attempt on a claimed record."""
        self.runtime = runtime
        self.record = record
        self.function = function
        self.halted = False
        self.careful = record.crashes > 0
        self.error: PerdureError | None = None
        self.mailbox = Mailbox(record.key)
        self.signal = runtime.env.signal()
        self.now = runtime.clock_of(record.key)
        self._holding = Holding(record.key, record.epoch)
        self._loaded: Journal | None = None
        self._disposition: Disposition | None = None
        self._refusals = 0
        self._arrivals = Arrivals(runtime, record, self.mailbox)
        self._is_settled = False
        self._awaited_ends: tuple[InvocationKey, ...] = ()
        self.cancellation: Cancellation | None = None
        self.ended_cancelled = False
        self.undos: list[effects.Undo] = []
        self._idle_since: float | None = None
        self.is_async = function.is_async
        self.base_time = record.base_time or 0
        self.deadline: int | None = None
        self.owner, self.spread = runtime.owner, runtime.spread
        self.published: dict[str, bytes] = {}
        parent = record.parent.invocation_id if record.parent else None
        self.identity = WorkflowIdentity(record.key.invocation_id, record.name, parent)
        self.template = template_of(record, record.key)

    # --- from claim to settlement ---------------------------------------------------------------

    def run(self) -> None:
        """Run until the workflow ends, waits, stops, or the lease is lost; settle that."""
        key = self.record.key
        self.runtime.hub.subscribe(key, self.poke)
        try:
            self._run_and_settle()
        except LeaseLost:
            # What it may have found was that of a stale look: a journal longer than its record.
            self.error = None
            logger.info("lease of %s lost; the next attempt goes on from its journal", key)
        except BackendError as error:
            logger.warning("attempt of %s given up: %s", key, error)
            self.error = error
            self.give_back()
        finally:
            self.runtime.hub.unsubscribe(key, self.poke)

    def give_back(self) -> bool:
        """Release the lease after the backend failed; False if it fails still."""
        self.halt(Release())
        try:
            self._settle()
        except LeaseLost:
            return True
        except BackendError:
            return False
        return True

    def _run_and_settle(self) -> None:
        record = self.record
        try:
            self.runtime.check_identity(record)
            # A journal without a head is empty: what is claimed for the first time needs no look.
            entries = self.runtime.backend.read_journal(record.key) if record.head else []
            self.load(entries)
            # Known to have died in one body: only the end of a body counts as progress then.
            self.ledger.progress_resets = not self.journal.unfinished_body()
            if record.crashes >= self.runtime.settings.crash_limit:
                where = self.journal.unfinished_body() or "the workflow's own code"
                self.halt(Stop(InvocationState.DEAD, cause_of_death(record, where)))
            else:
                watch_threads()
                outcome = self.execute(self.make_context("", self.base_time))
                if not self.halted:
                    self.conclude(outcome)
                    return
        except PARKING as error:
            self.stop(error)
        except BackendError:
            raise
        except Exception as error:  # noqa: BLE001 - a bug of ours parks this workflow, not more
            logger.exception("attempt of %s met a bug of perdure", record.key)
            self.stop(InternalError(f"A bug of perdure: {type(error).__name__}: {error}"))
        self._settle()

    @abstractmethod
    def execute(self, context: WorkflowContext) -> Outcome:
        """Run the function in its root context; the outcome is discarded if `halted` is set."""

    def make_context(self, path: str, clock: int) -> WorkflowContext:
        """Open a scope and bind it to this thread."""
        return WorkflowContext(self, self.journal.open_scope(path, clock))

    def returned(self, value: object) -> Outcome:
        """The outcome of a function that returned `value`; a refusal to record it is one too."""
        try:
            return Returned(*self.function.encode_result(value))
        except SerializationError as error:
            return self.raised(error)

    def load(self, entries: list[Entry]) -> None:
        """Check and index the journal.

        Raises:
            JournalCorrupted: it is damaged.
        """
        record = self.record
        self.ledger = Ledger(self.runtime, record, entries)
        self.journal = self._loaded = self.ledger.journal
        self.deadline = deadline_of(record.options, record.created_at)
        self._arrivals.go_by(self.deadline)

    def conclude(self, outcome: Outcome) -> None:
        """The function ended by itself: record the end and the terminal state together."""
        state = InvocationState.FAILED
        if isinstance(outcome, Returned):
            state = InvocationState.COMPLETED
        elif self.ended_cancelled and self.cancellation is not None:
            state = InvocationState.CANCELLED
            if self.cancellation.children:
                self.pass_on(self.cancellation)
        root = self.journal.scope("")
        digest = end_digest(outcome.body, failed=isinstance(outcome, Raised))
        self.journal.end_scope(root, state.value, digest, self.now())
        self.commit(Finish(state, outcome.body))

    def pass_on(self, asked: Cancellation) -> None:
        """Cancel the children before the end is recorded: whoever repeats it asks them again."""
        self.flush()
        self.before_body(announced=True)  # for its look at the lease
        cancel_children(self.runtime, self.record.key, asked.for_children())

    def _settle(self) -> None:
        """The frame is gone: give the lease back the way that was decided. Records nothing else."""
        if self._is_settled:
            return
        disposition = self._disposition
        if disposition is None:
            raise LeaseLost
        if isinstance(disposition, Stop):
            log_stop(self.record.key, disposition)
        settle(self.runtime, self.record, self._loaded, disposition)
        if self._awaited_ends and disposition == Suspend(None):
            stuck.look_for_cycle(self.runtime, self.record, self.journal.head, self._awaited_ends)

    @abstractmethod
    def perform(self, flow: Flow[Outcome]) -> Outcome:
        """Drive an operation on this thread."""

    @abstractmethod
    async def perform_async(self, flow: Flow[Outcome]) -> Outcome:
        """Drive an operation inside the deterministic loop."""

    # --- halting --------------------------------------------------------------------------------

    def halt(self, disposition: Disposition | None) -> None:
        """Drop the frame: refuse operations from now on, and settle as given (None: lease lost)."""
        self.halted = True
        self._disposition = disposition

    def stop(self, error: PerdureError) -> None:
        """Park the workflow because of `error`; its journal stays as it is."""
        self.error = error
        self.halt(Stop(InvocationState.PARKED, f"{type(error).__name__}: {error}"))

    def drop_for(self, error: PerdureError) -> Suspended:
        """An error of the engine itself in an operation: drop the frame, give what to raise."""
        if isinstance(error, BackendError):
            self.fail(error)
            return Suspended("The state backend failed; the workflow goes on later.")
        self.stop(error)
        return Suspended("The workflow is parked.")

    def fail(self, error: BackendError) -> None:
        """The state backend failed: let go, and leave it to the next claim to go on."""
        self.error = error
        self.halt(Release())

    def refuse(self) -> None:
        """An operation was asked of a dropped frame.

        Raises:
            Suspended: always.
        """
        self._refusals += 1
        if self._refusals == REFUSALS_MAX:
            self.stop(
                SuspensionSwallowed(
                    f"The workflow code asked for {REFUSALS_MAX} operations after its frame was "
                    f"dropped, the last at {calling_line() or 'an unknown line'}. Some `except "
                    "BaseException` or bare `except` catches the suspension signal; re-raise it "
                    "there, or catch Exception."
                )
            )
            self._settle()
            self._disposition = None
        elif self._refusals > REFUSALS_MAX:
            # It is parked and its lease is given back; all that is left is not to burn the machine.
            self.runtime.env.signal().wait(1.0)
        raise Suspended("The workflow is suspended; let this signal pass (it is no error).")

    def poke(self) -> None:
        """Something may have arrived. Called from any thread."""
        self._arrivals.poke()
        self.signal.set()

    # --- committing -----------------------------------------------------------------------------

    def flush(self) -> bool:
        """Make everything staged durable. False when a child's id was taken; nothing happened.

        Raises:
            LeaseLost: another attempt owns the workflow, or our lease could not be confirmed.
            BackendError: nothing happened.
        """
        return not self.ledger.dirty or self.commit(None)

    def bring(self) -> None:
        """Queue the deliveries of what is staged: held back if all of it may be, else durable."""
        if self.journal.firm or not self.ledger.hold():
            self.flush()

    def commit(self, disposition: Disposition | None) -> bool:
        """Commit what is staged together with a change of state, as `flush` does."""
        try:
            return self.ledger.commit(disposition)
        except LeaseLost:
            self.halt(None)
            raise

    def flush_draws(self) -> None:
        """Make the buffered draws durable; a failing backend drops the frame."""
        try:
            self.flush()
        except BackendError as error:
            raise self.drop_for(error) from error

    # --- what operations ask for (perdure.engine.drive) -----------------------------------------

    def find(self, invocation_id: str) -> InvocationRecord | None:
        """The latest record of this id."""
        return self.runtime.backend.read(invocation_id)

    def start_now(self, new: NewInvocation) -> InvocationRecord:
        """Start this in a transaction of its own, or find what has its id."""
        found, _ = until_known(lambda: self.runtime.backend.start(new, "return"))
        self.runtime.hub.touched((found.key,))
        return found

    def affect(self, effect: Outward) -> object:
        """Do something to another invocation, or to a topic."""
        return affect(self.runtime, effect)

    def compute(self, effect: Compute) -> Outcome:
        """Run a user's function inline."""
        try:
            return Returned(*effect.encode(effect.run()))
        except ControlFlow:
            raise
        except BaseException as error:  # noqa: BLE001 - what it raised is the recorded outcome
            return self.raised(error)

    def task_context(self, effect: RunBody) -> TaskContext:
        """The context of one direct task call."""
        return call_context(self.runtime, self.record, self.template, effect, self._pulse_of)

    def _pulse_of(self, context: TaskContext) -> Pulse:
        """The heartbeats of one direct task call."""
        keeper = CallKeeper(self, context.invocation, context.place[0])
        return Pulse(self.runtime.env.monotonic, keeper)

    def before_body(self, *, announced: bool = False) -> None:
        """Last look before a side effect: the lease must be confirmed, the worker not stopping.

        What is `announced` on record as begun is not kept from beginning by a stop.
        """
        if not self.runtime.leases.is_live(self._holding):
            self.halt(None)
            raise LeaseLost
        if not announced:
            self.let_go_if_stopping()

    def pause_after(self, effect: RunBody, result: Unfinished) -> Wait:
        """What to wait for before a body is tried again; raises if its process died under it."""
        due = due_again(self.runtime, self.record, effect.call.function.name, result)
        if due is None:
            self.halt(None)
            raise LeaseLost
        return Wait(due=due)

    def may_start(self) -> bool:
        """Whether a body that waited for a thread may start still. Called from any thread."""
        live = self.runtime.leases.is_live(self._holding)
        return live and not self.runtime.stopping.is_set() and not self.halted

    def let_go_if_stopping(self) -> None:
        """Release the workflow to others when this worker shuts down; what is held back goes along.

        Raises:
            Suspended: it does.
        """
        if self.runtime.stopping.is_set():
            self.flush()
            self.halt(Release())
            raise Suspended("The worker stops; another one goes on.")

    def progressed(self) -> None:
        """A task ended after a crash: forget the crashes with the next commit."""
        self.ledger.reset_crashes = True
        self.careful = False

    def rebuilt(self, body: bytes) -> BaseException:
        """An exception from its record."""
        return self.runtime.bodies.rebuilt(body)

    def raised(self, error: BaseException) -> Raised:
        """The outcome of something that raised."""
        return self.runtime.bodies.raised(error)

    def add_child(self, new: NewInvocation) -> None:
        """Start this invocation with the next flush."""
        self.ledger.add_child(new)

    def add_watch(self, key: InvocationKey) -> None:
        """Ask for the end of this invocation with the next flush, unless it arrived already."""
        if not self.mailbox.knows(key):
            self.ledger.add_watch(key)

    def add_data(self, name: str, body: bytes) -> None:
        """Publish workflow data with the next flush."""
        self.ledger.add_data(name, body)
