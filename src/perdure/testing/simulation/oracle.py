"""Watches one schedule: each event is checked when it happens, and everything at the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import msgspec

from perdure.backends.base import (
    ClaimBatch,
    ClaimRequest,
    CommitResult,
    Committed,
    Holding,
    InvocationRecord,
    NewInvocation,
    RegisterPut,
    RegisterResult,
    Started,
    Transition,
)
from perdure.backends.letters import Letter, Sent
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import TERMINAL, InvocationState
from perdure.testing.simulation.backend import Call
from perdure.testing.simulation.checks.bodies import BY_ITSELF, Bodies
from perdure.testing.simulation.checks.broken import Broken, Moment
from perdure.testing.simulation.checks.ends import ended_well, told_truly
from perdure.testing.simulation.checks.inboxes import Inboxes
from perdure.testing.simulation.checks.journals import VALUE, Journals
from perdure.testing.simulation.checks.rows import Rows
from perdure.testing.simulation.checks.sights import Sights
from perdure.testing.simulation.checks.ticks import Ticks
from perdure.testing.simulation.plan import Timetable
from perdure.testing.simulation.store import Store

T = TypeVar("T")
LIMITS = {"narrow": 1}
"""How much may run at a time, by queue."""


class Oracle:
    """Every check, over one store."""

    def __init__(
        self,
        store: Store,
        may_stop: Callable[[InvocationRecord], bool],
        timetable: Timetable | None,
    ) -> None:
        """The store is empty.

        Args:
            may_stop: whether this row has a reason to be parked or dead.
            timetable: the schedule of the app.
        """
        self._store = store
        self.rows = Rows(may_stop)
        self.bodies = Bodies()
        self.journals = Journals(self.bodies.gave)
        self.inboxes = Inboxes()
        self.sights = Sights()
        self.ticks = Ticks(timetable)

    def jumped(self, before: int) -> None:
        """The clock of the store showed this before it jumped.

        Maybe to nobody but who looked for what is due.
        """
        self.journals.shown(before)
        self.ticks.shown(before)
        self.ticks.jumped(before)

    def watch(self, call: Call, run: Callable[[], T], moment: Moment) -> T:
        """Make a call and check what it did.

        Raises:
            Broken: something that must not be.
        """
        store = self._store
        store.changed.clear()
        store.told.clear()
        result = run()
        store.settle()
        changed = store.changed
        self._answered(call, result, moment)
        if changed or store.told:
            rows = store.rows()
            for key, before in changed.items():
                row = rows[key]
                self.rows.changed(before, row, call.name)
                new = self.journals.extended(row, store.journal(key), moment.clock)
                if new:
                    self.inboxes.delivered(key, new)
                    self.inboxes.asked(row, new, rows)
                    told_truly(key, new, rows)
                    self.journals.begun(new, rows)
                self.journals.waits(row)
            for key, before in changed.items():
                if before is None:
                    self.journals.appeared(rows[key])
            for key in dict.fromkeys((*changed, *store.told)):
                self.inboxes.balanced(rows[key], store.inbox(key), rows)
        return result

    def _before(self, key: InvocationKey) -> InvocationRecord | None:
        """A row as it was before the call that is looked at."""
        changed = self._store.changed
        return changed[key] if key in changed else self._store.rows().get(key)

    def _answered(self, call: Call, result: object, moment: Moment) -> None:
        request = call.request
        match call.name:
            case "claim":
                asked, batch = cast("ClaimRequest", request), cast("ClaimBatch", result)
                if batch.records:
                    self.rows.claimed(asked, batch, self._before, moment)
                    self.rows.within_limits(self._store.rows(), LIMITS, batch.records, moment)
            case "commit":
                transitions = cast("tuple[Transition, ...]", request)
                self._committed(transitions, cast("list[CommitResult]", result), moment)
            case "start":
                new, started = cast("NewInvocation", request), cast("Started", result)
                self.rows.started(new, started, moment)
                if started.created:
                    self.inboxes.started(started.record.key, new.letters)
            case "seize":
                key, epoch = cast("Holding", request)
                if isinstance(result, Committed):
                    self.rows.seized(key, epoch, self._before(key), moment)
            case "renew":
                holdings = cast("tuple[Holding, ...]", request)
                kept = cast("frozenset[Holding]", result)
                self.rows.renewed(holdings, kept, self._before, moment)
            case "send":
                key, letter = cast("tuple[InvocationKey, Letter]", request)
                self.inboxes.sent(key, letter, cast("Sent", result))
            case _:
                self._put(request, result, moment)

    def _put(self, request: object, result: object, moment: Moment) -> None:
        if isinstance(request, RegisterPut) and cast("RegisterResult", result).won:
            self.ticks.put(request, self._store.rows(), moment.clock)

    def _committed(
        self, transitions: tuple[Transition, ...], results: list[CommitResult], moment: Moment
    ) -> None:
        for asked, result in zip(transitions, results, strict=True):
            self.rows.committed(asked, result, self._before(asked.key), moment)
            if isinstance(result, Committed):
                self.inboxes.committed(asked)
                self._undamaged(asked)

    def _undamaged(self, asked: Transition) -> None:
        """Nobody goes on from a damaged journal that it read."""
        damaged = self._store.damaged.get(asked.key)
        if damaged is not None and asked.epoch > damaged[1] and asked.entries:
            raise Broken("I19", f"{asked.key} is damaged at {damaged[0]}, and got {asked.entries}")

    def accepted(self, key: InvocationKey, what: str) -> bool:
        """Whether an invocation was asked to do this, or has done it already."""
        return self.inboxes.was_asked(key, what) or (what == "pause" and key in self.rows.paused)

    def body_ended(self, body: str) -> bool:
        """Whether the final outcome of a body is recorded.

        (A task that was cancelled has none; whoever held it may not have heard of that yet.)
        """
        if body in self.journals.ended:
            return True
        row = self._store.rows().get(InvocationKey(body, 1))
        return row is not None and row.state in BY_ITSELF

    def complete(self) -> None:
        """All has come to its end: look at everything once more.

        Raises:
            Broken: something that must not be.
        """
        store, rows = self._store, self._store.rows()
        for key, row in rows.items():
            self.journals.extended(row, store.journal(key), store.now())
            self.inboxes.balanced(row, store.inbox(key), rows)
            if row.state not in TERMINAL:
                raise Broken("I1", f"{key} is {row.state} and does not end: {row.reason or row}")
            self._outcome(row)
            ended_well(row, store.journal(key), store.read_data(key))
        self.rows.complete(rows)
        self.ticks.complete(rows)
        self.journals.complete(rows)
        self.bodies.complete(self.journals.outcomes, self.journals.dropped, rows)

    def _outcome(self, row: InvocationRecord) -> None:
        """A result tells of what was seen, and holds no value that was not recorded."""
        if row.state is not InvocationState.COMPLETED or row.outcome is None:
            return
        result: Any = msgspec.json.decode(row.outcome)
        values = set(VALUE.findall(str(result)))
        if row.kind == "task":
            given = {value for value in values if self.bodies.gave.get(value)}
            if (
                not values
                or given != values
                or any(self.bodies.gave[value] != row.key.invocation_id for value in values)
            ):
                raise Broken("I9", f"{row.key} has the result {result}, which its body never gave")
            return
        recorded = {
            value
            for entry in self._store.journal(row.key)
            for value in VALUE.findall(entry.body.decode())
        }
        if not values <= recorded:
            lost = sorted(values - recorded)
            raise Broken("I8", f"the result of {row.key} holds {lost}, which is not in its journal")
        seen = self.sights.of(row.key)
        if not set(cast("list[str]", result)) <= set(seen):
            raise Broken("I8", f"{row.key} saw {seen} and gave {result}")
