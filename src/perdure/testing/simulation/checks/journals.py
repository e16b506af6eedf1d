"""Journals: what was recorded stays, in order, once, under the right epoch (I3, I4, I11, I13)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from perdure.backends.base import InvocationRecord
from perdure.backends.endings import deadline_of
from perdure.core.draws import derive_id
from perdure.core.entries import Entry, EntryKind, extend_chain, genesis
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import TERMINAL, InvocationState
from perdure.engine.cancellation import read_cancellation
from perdure.engine.outcome import read_body
from perdure.errors import JournalCorrupted
from perdure.testing.simulation.checks.broken import Broken

VALUE = re.compile(r"\bv\d+\b")
"""What bodies give: no two runs give the same."""
_ENDS_OF_BODIES = frozenset({EntryKind.TASK, EntryKind.ATTEMPT})
_STARTS = frozenset({EntryKind.START, EntryKind.MEMO})
_Place = tuple[str, int]
TRIES = {"flaky": 3, "narrow": 3}
"""How often a task is tried, by name, as its policy says; others once."""
NEVER = 1 << 62
"""Later than everything."""
PUT_OFF = 250_000
"""So many microseconds something that crashed waits at most for another one on its last chance."""


class _Past:
    """What is known of one journal."""

    __slots__ = ("cancelled", "due", "entries", "fired", "seal", "slept")

    def __init__(self, seal: bytes) -> None:
        self.entries: list[Entry] = []
        self.seal = seal
        self.due: dict[_Place, int] = {}
        self.fired: set[_Place] = set()
        self.slept: dict[_Place, int] = {}
        """Until when the workflow waited while a timer was set, by its place."""
        self.cancelled = False


class Journals:
    """Follows every journal.

    Attributes:
        outcomes: how many outcomes of each body are recorded, by the id that the body sees.
        ended: bodies whose final outcome is recorded.
        dropped: bodies that their workflow gave up.
        started: what journals name as started, by the workflow that did.
        again_at: when a body that failed may be tried again.
    """

    def __init__(self, gave: dict[str, str]) -> None:
        """All are empty.

        Args:
            gave: which body gave each value, as `Bodies` knows it.
        """
        self._gave = gave
        self._clock = 0
        """The latest time that the store has shown: what was due then may be recorded later."""
        self._past: dict[InvocationKey, _Past] = {}
        self.outcomes: dict[str, int] = {}
        self.ended: set[str] = set()
        self.dropped: set[str] = set()
        self.started: dict[InvocationKey, InvocationKey] = {}
        self.again_at: dict[str, int] = {}

    def shown(self, clock: int) -> None:
        """The store has shown this time, maybe to nobody but who looked for timers."""
        self._clock = max(self._clock, clock)

    def extended(self, row: InvocationRecord, entries: Sequence[Entry], clock: int) -> list[Entry]:
        """Look at a journal that may have grown; gives what is new in it."""
        key = row.key
        self.shown(clock)
        past = self._past.get(key)
        if past is None:
            if not entries and not row.head:
                return []
            past = self._past[key] = _Past(genesis(key, row.seed))
        known = len(past.entries)
        if entries[:known] != past.entries:
            raise Broken("I3", f"entries of {key} changed: {past.entries} -> {entries}")
        new = list(entries[known:])
        if len(entries) != row.head:
            raise Broken("I4", f"{key} has {len(entries)} entries, its head is {row.head}")
        if new:
            self._check(row, past, new)
            past.entries.extend(new)
        return new

    def _check(self, row: InvocationRecord, past: _Past, new: list[Entry]) -> None:
        key = row.key
        try:
            past.seal = extend_chain(key, past.seal, len(past.entries), new)
        except JournalCorrupted as error:
            raise Broken("I4", str(error)) from error
        if past.seal != row.head_hash:
            raise Broken("I4", f"the seal of {key} is not that of its last entry")
        if past.entries and past.entries[-1].kind == EntryKind.END and not past.entries[-1].scope:
            raise Broken("I18", f"{key} recorded something after its end: {new}")
        for entry in new:
            if entry.epoch != row.epoch:
                raise Broken("I5", f"{key} at epoch {row.epoch} got {entry}")
            self._note(row, past, entry)

    def _note(self, row: InvocationRecord, past: _Past, entry: Entry) -> None:
        place = (entry.scope, entry.ordinal)
        kind = entry.kind
        if kind in _ENDS_OF_BODIES:
            self._note_body(row, past, entry)
        elif kind == EntryKind.DROPPED:
            self.dropped.add(derive_id(row.seed, "task", entry.scope, str(entry.ordinal)))
        elif kind == EntryKind.SLEEP:
            past.due[place] = read_body(entry.body).due
        elif kind == EntryKind.FIRED:
            self._note_fired(row, past, entry)
        elif kind == EntryKind.CANCEL:
            past.cancelled = True
            deadline = read_cancellation(entry.body).deadline
            if self._clock < deadline:
                raise Broken("I13", f"{row.key} was cancelled before its deadline: {entry}")
        elif kind in _STARTS:
            self._note_start(row.key, entry)

    def _note_fired(self, row: InvocationRecord, past: _Past, entry: Entry) -> None:
        place = (entry.scope, entry.ordinal)
        due = past.due.get(place)
        if due is None or place in past.fired:
            raise Broken("I13", f"{row.key} recorded {entry}: due {due}, {past.fired}")
        if self._clock < due:
            raise Broken("I13", f"a timer of {row.key} fired {due - self._clock} us early: {entry}")
        if (until := past.slept.get(place, 0)) > due:
            raise Broken("H2", f"{row.key} waited until {until}, and a timer was due at {due}")
        past.fired.add(place)

    def _note_body(self, row: InvocationRecord, past: _Past, entry: Entry) -> None:
        body = derive_id(row.seed, "task", entry.scope, str(entry.ordinal))
        self.outcomes[body] = self.outcomes.get(body, 0) + 1
        if body in self.ended:
            raise Broken("I9", f"{row.key} recorded {entry} after its final outcome")
        if self.outcomes[body] > TRIES.get(entry.name, 1):
            raise Broken("I9", f"{row.key} tried {entry.name} {self.outcomes[body]} times")
        if entry.kind == EntryKind.ATTEMPT:
            due = read_body(entry.body).due
            past.due[entry.scope, -entry.position] = self.again_at[body] = due
        if entry.kind == EntryKind.TASK:
            self.ended.add(body)
            self._from_its_body(row.key, entry, body)

    def _from_its_body(self, key: InvocationKey, entry: Entry, body: str) -> None:
        members = read_body(entry.body)
        value = VALUE.search(bytes(members.result or members.error).decode())
        if value is None:
            if not _may_be_silent(entry.name, bytes(members.error)):
                raise Broken("I9", f"{key} recorded {entry}, which no body gave")
        elif self._gave.get(value[0]) != body:
            raise Broken("I9", f"{key} recorded {entry}, and another body gave {value[0]}")

    def _note_start(self, key: InvocationKey, entry: Entry) -> None:
        child = _started(entry)
        if child is None:
            return
        if child in self.started:
            raise Broken("I11", f"{key} and {self.started[child]} both started {child}")
        self.started[child] = key

    def waits(self, row: InvocationRecord) -> None:
        """A workflow waits for nothing but the times that its journal names."""
        past = self._past.get(row.key)
        if past is None or row.state is not InvocationState.WAITING:
            return
        until = NEVER if row.wake_at is None else row.wake_at
        if row.crashes and until <= self._clock + PUT_OFF:
            return  # another one has its last chance first
        deadline = deadline_of(row.options, row.created_at)
        due = {NEVER, *past.due.values(), NEVER if deadline is None else deadline}
        if until not in due:
            raise Broken("H2", f"{row.key} waits until {until}, not for one of {due}")
        if deadline is not None and until > deadline and not past.cancelled:
            raise Broken("H2", f"{row.key} waits until {until}, beyond its deadline {deadline}")
        for place in past.due.keys() - past.fired:
            past.slept[place] = max(until, past.slept.get(place, 0))

    def begun(self, new: Sequence[Entry], rows: dict[InvocationKey, InvocationRecord]) -> None:
        """What these entries say was started is there."""
        for entry in new:
            if entry.kind in _STARTS and (child := _started(entry)) and child not in rows:
                raise Broken("I11", f"{entry} names {child}, which is not there")

    def appeared(self, row: InvocationRecord) -> None:
        """A row came into being: its parent's journal must hold its start by now."""
        if row.parent is not None and self.started.get(row.key) != row.parent:
            raise Broken("I11", f"{row.key} is there, and {row.parent} did not record its start")

    def complete(self, rows: dict[InvocationKey, InvocationRecord]) -> None:
        """Every start has its child, and every end its entry."""
        for child, parent in self.started.items():
            if child not in rows:
                raise Broken("I11", f"{parent} recorded the start of {child}, which is not there")
        for key, row in rows.items():
            past = self._past.get(key)
            if row.kind != "workflow" or past is None:
                continue
            ends = sum(entry.kind == EntryKind.END and not entry.scope for entry in past.entries)
            ended = row.state in TERMINAL and row.state is not InvocationState.TERMINATED
            if ends != ended:
                raise Broken("I2", f"{key} is {row.state}, its journal has {ends} ends")


def _may_be_silent(task: str, error: bytes) -> bool:
    """Whether an outcome need not tell which run of the body gave it."""
    if not error:
        return task in {"empty", "number"}
    return b'"perdure.errors.OutcomeUnknown"' in error or task == "hostile"


def _started(entry: Entry) -> InvocationKey | None:
    """What this entry says was started; None if that was refused."""
    if entry.kind == EntryKind.MEMO:
        return InvocationKey(entry.body.decode().strip('"'), 1)
    body = read_body(entry.body)
    return InvocationKey(body.id, body.generation) if body.id else None
