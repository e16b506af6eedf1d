"""What is recorded and seen again: values, order, draws, timers (classes D, H)."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest

from perdure.backends.base import Transition
from perdure.backends.memory import MemoryBackend
from perdure.core.draws import DrawSource
from perdure.core.entries import Entry
from perdure.core.journal import Journal
from perdure.engine.arrivals import Arrivals
from perdure.engine.attempt import Attempt
from perdure.engine.inbox import receive
from perdure.engine.ledger import Ledger
from perdure.engine.mailbox import Mailbox
from perdure.testing.simulation.plan import Plan, Workflow
from perdure.testing.simulation.programs import Op
from tests.zoo import bug

Patch = pytest.MonkeyPatch
_replace = msgspec.structs.replace
_SEEN = Op("loop", 6, ((Op("record", 0.0, (), 1), Op("task", 0.0, (), 2)),), 3)
_LIMITED = (Op("record", 0.0, (), 1), Op("task", 0.0, (), 2))
_DEADLINES = Op("loop", 4, ((Op("deadline", 0.001, (_LIMITED,), 3),),), 4)
_CHANGED = (Op("task", 0.0, (), 1), Op("sleep", 1.0, (), 2), Op("task", 0.0, (), 3))


@bug("H2", "Timers fire before they are due")
def timers_fire_early(patch: Patch) -> None:
    patch.setattr(Mailbox, "due_by", lambda self, now: self._timers())


@bug(
    "H3",
    "A deadline whose firing is on record, and not yet delivered, fires again",
    plan=Plan(seed=0, workflows=(Workflow((_DEADLINES,), 0.0),)),
)
def deadlines_fire_again(patch: Patch) -> None:
    def collect(self: Arrivals, ledger: Ledger, now: int) -> bool:
        due = self._mailbox.due_by(now)
        for wait in due:
            self._fire(ledger, wait, now)
        return self.read(ledger, now) or bool(due)

    patch.setattr(Arrivals, "collect", collect)


@bug(
    "D7",
    "What came from outside is not durable before a body runs on it",
    plan=Plan(seed=0, workflows=(Workflow((_SEEN,), 0.0),)),
)
def records_stay_in_memory(patch: Patch) -> None:
    dull = property(lambda self: False, lambda self, value: None)
    patch.setattr(Journal, "observed", dull, raising=False)


@bug("D7", "Draws come from chance, not from the seed")
def draws_are_fresh(patch: Patch) -> None:
    numbers = itertools.count()

    def uuid(self: DrawSource, ordinal: int) -> str:
        del self, ordinal
        return f"00000000-0000-4000-8000-{next(numbers):012}"

    patch.setattr(DrawSource, "uuid", uuid)


@bug("D7", "What was drawn is not recorded, and an attempt draws the same again by its place")
def draws_are_counted_by_attempt(patch: Patch) -> None:
    count: dict[int, int] = {}
    uuid = DrawSource.uuid

    def counted(self: DrawSource, ordinal: int) -> str:
        del ordinal
        count[0] = count.get(0, 0) + 1
        return uuid(self, count[0])

    patch.setattr(DrawSource, "uuid", counted)


@bug("D1", "An entry is overwritten by the next one of its place")
def entries_are_replaced(patch: Patch) -> None:
    append = MemoryBackend._append

    def replace(self: MemoryBackend, asked: Transition) -> None:
        append(self, asked)
        journal = self._journals[asked.key]
        if len(journal) > 3:
            journal[1] = _replace(journal[1], at=journal[1].at + 1)

    patch.setattr(MemoryBackend, "_append", replace)


@bug("F6", "The head moves and the entries do not")
def entries_get_lost(patch: Patch) -> None:
    append = MemoryBackend._append

    def lose(self: MemoryBackend, asked: Transition) -> None:
        append(self, asked)
        journal = self._journals[asked.key]
        if len(journal) > 2:
            journal.pop()

    patch.setattr(MemoryBackend, "_append", lose)


@bug("D9", "What is dropped may still do something")
def dropped_frames_go_on(patch: Patch) -> None:
    patch.setattr(Attempt, "refuse", lambda self: None)


@bug("D10", "A cancellation is taken from the inbox and never told")
def cancellations_are_swallowed(patch: Patch) -> None:
    def swallow(runtime: Any, ledger: Ledger, row: Any, now: int) -> None:
        if row.kind == "cancel":
            ledger.add_consumed(row.row_id)
        else:
            receive(runtime, ledger, row, now)

    patch.setattr("perdure.engine.arrivals.receive", swallow)


@bug("D1", "A value that says nothing counts as none")
def none_is_missing(patch: Patch) -> None:
    ahead = Journal.ahead

    def doubtful(self: Journal, scope: Any) -> Entry | None:
        entry = ahead(self, scope)
        if entry is not None and entry.kind == "task" and b'"result":null' in entry.body:
            return None
        return entry

    patch.setattr(Journal, "ahead", doubtful)


@bug(
    "D8",
    "What the code asks for is not compared with the journal",
    plan=Plan(seed=0, workflows=(Workflow(_CHANGED, 0.0, changed_at=0.5),)),
)
def nothing_is_compared(patch: Patch) -> None:
    begin = Journal.begin

    def believe(self: Journal, scope: Any, *rest: Any) -> Any:
        recorded, scope.recorded = scope.recorded, ()
        ends, self._ends = self._ends, {}
        try:
            command = begin(self, scope, *rest)
        finally:
            scope.recorded, self._ends = recorded, ends
        if command.ordinal <= len(recorded):
            command.recorded = recorded[command.ordinal - 1]
        return command

    patch.setattr(Journal, "begin", believe)
