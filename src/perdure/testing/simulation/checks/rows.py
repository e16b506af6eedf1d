"""Rows: starts, claims, leases, epochs, ends (I1, I2, I5, I6, I15, I16, I18)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from operator import attrgetter

from perdure.backends.base import (
    ClaimBatch,
    ClaimRequest,
    CommitResult,
    Committed,
    Holding,
    InvocationRecord,
    NewInvocation,
    Started,
    Transition,
)
from perdure.core.entries import COMMANDS, DELIVERIES
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import RESUMABLE, STOPPED, TERMINAL, InvocationState
from perdure.testing.simulation.checks.broken import Broken, Moment

_S = InvocationState
_PROGRESS = COMMANDS | DELIVERIES
Before = InvocationRecord | None


class Rows:
    """Compares each row with what it was, and each grant with what was granted before.

    Attributes:
        granted: which process got each epoch of each invocation.
        grants: how many of one invocation each process got.
        paused: what was paused at any time.
        happened: how often something came to each state, and how often a lease was taken over.
    """

    def __init__(self, may_stop: Callable[[InvocationRecord], bool]) -> None:
        """Nothing was granted.

        Args:
            may_stop: whether this row has a reason to be parked or dead.
        """
        self._may_stop = may_stop
        self.granted: dict[Holding, str] = {}
        self.grants: Counter[tuple[InvocationKey, str]] = Counter()
        self.paused: set[InvocationKey] = set()
        self.happened: Counter[str] = Counter()
        self._advanced: set[InvocationKey] = set()
        """Whose journals the call that is looked at took on."""
        self._acknowledged: set[InvocationKey] = set()
        self._ended: dict[InvocationKey, InvocationRecord] = {}

    # --- any change of a row ----------------------------------------------------------------------

    def changed(self, before: Before, row: InvocationRecord, call: str) -> None:
        """A call wrote this row."""
        key = row.key
        if before is None:
            self._appeared(row, call)
        elif before.state in TERMINAL:
            raise Broken("I2", f"{key} ended and was written again by {call}: {before} -> {row}")
        else:
            self._moved(before, row, call)
        self._advanced.discard(key)
        self._sound(row)
        if before is None or before.state is not row.state:
            self.happened[f"became {row.state}"] += 1
        if row.state is _S.PAUSED:
            self.paused.add(key)
        if row.state in TERMINAL:
            self._ended[key] = row

    def _appeared(self, row: InvocationRecord, call: str) -> None:
        if row.key.generation != 1:
            raise Broken("I15", f"{row.key} appeared, and nobody asked for a new generation")
        if row.epoch > 1 or (row.epoch and call != "start"):
            raise Broken("I6", f"{row.key} began at epoch {row.epoch} in a {call}")

    def _moved(self, before: InvocationRecord, row: InvocationRecord, call: str) -> None:
        key = row.key
        if _brought(row) != _brought(before):
            raise Broken("I3", f"what {key} was started with was written again by {call}: {row}")
        if row.base_time != before.base_time and before.base_time is not None:
            raise Broken("I3", f"the base time of {key} changed by {call}")
        grants = call in {"claim", "seize"}
        if row.epoch != before.epoch + grants:
            raise Broken("I6", f"{key} went from epoch {before.epoch} to {row.epoch} in a {call}")
        if row.head < before.head or (row.head != before.head and call != "commit"):
            raise Broken("I4", f"the head of {key} went from {before.head} to {row.head} ({call})")
        goes_on = before.state in RESUMABLE and row.state is not before.state
        if goes_on and call not in {"resume", "seize"}:
            raise Broken("I16", f"{key} was {before.state} and is {row.state} by a {call}")
        if row.crashes < before.crashes and call != "resume" and key not in self._advanced:
            raise Broken("E1", f"{key} had {before.crashes} crashes: {row.crashes} after a {call}")

    def _sound(self, row: InvocationRecord) -> None:
        running = row.state is _S.RUNNING
        if running != bool(row.owner) or running != (row.lease_until is not None):
            raise Broken("I16", f"{row.key} is {row.state}, owner {row.owner!r}, {row.lease_until}")
        if row.state in STOPPED and not row.reason:
            raise Broken("I16", f"{row.key} is {row.state} without a reason")
        if row.state in STOPPED and not self._may_stop(row):
            raise Broken("I16", f"{row.key} is {row.state}: {row.reason}")
        if (row.state in TERMINAL) != (row.outcome is not None):
            raise Broken("I2", f"{row.key} is {row.state} with the outcome {row.outcome!r}")

    # --- what calls gave --------------------------------------------------------------------------

    def started(self, new: NewInvocation, started: Started, moment: Moment) -> None:
        """A start was answered."""
        record = started.record
        self._acknowledged.add(record.key)
        if record.key.invocation_id != new.invocation_id:
            raise Broken("I15", f"a start of {new.invocation_id!r} gave {record.key}")
        due = record.created_at + new.delay if new.delay else None
        if started.created and record.wake_at != due:
            raise Broken("I13", f"{record.key} is to begin at {due}, and waits: {record.wake_at}")
        if started.created and record.state is _S.RUNNING:
            self._grant(record, moment)

    def claimed(
        self,
        request: ClaimRequest,
        batch: ClaimBatch,
        before: Callable[[InvocationKey], Before],
        moment: Moment,
    ) -> None:
        """A claim was answered: each row was free for it, and is its own now."""
        if len(batch.records) > request.limit:
            raise Broken("I17", f"a claim for {request.limit} got {len(batch.records)}")
        for record in batch.records:
            was = before(record.key)
            why = _not_claimable(was, request, moment)
            if why:
                number = "I20" if why.endswith("app") else "I6"
                raise Broken(number, f"{moment.who} claimed {record.key}, which {why}: {was}")
            if record.owner != request.owner or record.state is not _S.RUNNING:
                raise Broken("I6", f"{record.key} was claimed by {request.owner}: {record}")
            crashed = was is not None and was.state is _S.RUNNING
            if was is not None and record.crashes != was.crashes + crashed:
                raise Broken("E1", f"{record.key} had {was.crashes} crashes: {record.crashes}")
            self.happened["stolen"] += crashed
            self._grant(record, moment)

    def within_limits(
        self,
        rows: dict[InvocationKey, InvocationRecord],
        limits: dict[str, int],
        taken: tuple[InvocationRecord, ...],
        moment: Moment,
    ) -> None:
        """After a claim of these, no queue has more live leases than it may have."""
        for app, queue in sorted({(each.app, each.queue) for each in taken}):
            live = [
                row.key
                for row in rows.values()
                if (row.app, row.queue) == (app, queue) and row.state is _S.RUNNING
                if (row.lease_until or 0) > moment.clock and row.owner not in moment.gone
            ]
            if len(live) > limits.get(queue, len(live)):
                raise Broken("I17", f"{live} run in queue {queue!r}, limit {limits[queue]}")

    def seized(self, key: InvocationKey, epoch: int, before: Before, moment: Moment) -> None:
        """Something was taken from whoever had it, and settled."""
        if before is None or before.epoch != epoch or before.state in TERMINAL:
            raise Broken("I5", f"{moment.who} seized {key} at epoch {epoch}: {before}")
        holding = Holding(key, epoch + 1)
        if self.granted.setdefault(holding, moment.who) != moment.who:
            raise Broken("I6", f"{holding} was granted to {self.granted[holding]}")

    def _grant(self, record: InvocationRecord, moment: Moment) -> None:
        holding = Holding(record.key, record.epoch)
        if holding in self.granted:
            other = self.granted[holding]
            raise Broken("I6", f"{holding} was granted to {other} and then to {moment.who}")
        self.granted[holding] = moment.who
        self.grants[record.key, moment.who] += 1

    def committed(
        self, asked: Transition, result: CommitResult, before: Before, moment: Moment
    ) -> None:
        """A commit was answered: what was accepted had the fence on its side."""
        if not isinstance(result, Committed):
            return
        holding = Holding(asked.key, asked.epoch)
        if before is None or before.state is not _S.RUNNING or before.epoch != asked.epoch:
            raise Broken("I5", f"{moment.who} wrote under {holding}, which was over: {before}")
        if before.head != asked.head:
            raise Broken("I4", f"{moment.who} wrote at {asked.head} of {before.key}: {before.head}")
        owner = self.granted.get(holding)
        if owner != moment.who:
            raise Broken("I5", f"{moment.who} wrote under {holding}, which {owner} was granted")
        if not _PROGRESS.isdisjoint(entry.kind for entry in asked.entries):
            self._advanced.add(asked.key)

    def renewed(
        self,
        asked: tuple[Holding, ...],
        kept: frozenset[Holding],
        before: Callable[[InvocationKey], Before],
        moment: Moment,
    ) -> None:
        """A renewal was answered: what was kept was held."""
        for holding in kept:
            was = before(holding.key)
            if holding not in asked or self.granted.get(holding) != moment.who:
                raise Broken("I5", f"{moment.who} renewed {holding}, which it was not granted")
            if was is None or was.epoch != holding.epoch or was.state is not _S.RUNNING:
                raise Broken("I5", f"{moment.who} renewed {holding}, which was over: {was}")
            if was.lease_until is None or was.lease_until <= moment.clock:
                raise Broken("I5", f"{moment.who} renewed {holding}, whose lease was over: {was}")

    # --- all of them ------------------------------------------------------------------------------

    def complete(self, rows: dict[InvocationKey, InvocationRecord]) -> None:
        """Nothing that was acknowledged is gone, and nothing that has ended changed."""
        for key in self._acknowledged:
            if key not in rows:
                raise Broken("I1", f"{key} was started and is gone")
        for key, ended in self._ended.items():
            if rows.get(key) != ended:
                raise Broken("I2", f"{key} has changed since its end: {ended} -> {rows.get(key)}")


_brought = attrgetter(
    "seed",
    "arguments",
    "name",
    "parent",
    "root",
    "app",
    "created_at",
    "kind",
    "fingerprint",
    "call_id",
    "workflow",
    "queue",
    "limit_key",
    "priority",
    "options",
    "draw_algorithm",
)
"""What a start brought: it never changes."""


def _not_claimable(was: Before, request: ClaimRequest, moment: Moment) -> str:
    """Why a row may not be claimed; "" if it may."""
    if was is None:
        return "did not exist"
    for what, fits in (
        ("app", was.app == request.app),
        ("name", was.name in request.names),
        ("queue", request.queues is None or was.queue in request.queues),
        ("tree", request.roots is None or was.root in request.roots),
    ):
        if not fits:
            return f"is of another {what}"
    return _not_free(was, moment)


def _not_free(was: InvocationRecord, moment: Moment) -> str:
    match was.state:
        case _S.READY:
            why = "is not due"
            free = was.wake_at is None or was.wake_at <= moment.clock
        case _S.WAITING:
            why = "waits for what has not come"
            free = was.wake_at is not None and was.wake_at <= moment.clock
        case _S.RUNNING:
            why = "was held"
            over = was.lease_until is None or was.lease_until <= moment.clock
            free = over or was.owner in moment.gone
        case _:
            why, free = f"is {was.state}", False
    return "" if free else why
