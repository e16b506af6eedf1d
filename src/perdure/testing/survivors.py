"""What a store holds at one moment, and what must be true of it later. Reads only.

Every check gives sentences about what is wrong; none means all is well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from perdure.backends.base import Backend, InvocationQuery, InvocationRecord
from perdure.backends.server import Spread
from perdure.backends.sharded.placement import is_marked
from perdure.core.draws import derive_id
from perdure.core.entries import Entry, EntryKind, verify_chain
from perdure.core.identity import InvocationKey
from perdure.core.journal import find_counter
from perdure.core.lifecycle import TERMINAL, InvocationState
from perdure.core.reading import Meta
from perdure.engine.outcome import read_body
from perdure.engine.outside import left_open
from perdure.engine.topics import TOPIC

ROWS_MAX = 10_000
"""Rows that are read; a program under test has a handful."""

_UNKNOWN = b'"perdure.errors.OutcomeUnknown"'
"""How its class stands in the record of an `OutcomeUnknown`."""
_STOPPED = frozenset({InvocationState.PARKED, InvocationState.DEAD})


@dataclass(frozen=True, slots=True)
class Survivors:
    """Rows and journals of one app.

    Attributes:
        rows: every invocation.
        journals: entries of every workflow.
        inboxes: how many messages each invocation has not read yet.
        left_open: tasks whose body has run, and which wait for their completion from outside.
        is_spread: whether these are the rows of several servers.
    """

    rows: dict[InvocationKey, InvocationRecord]
    journals: dict[InvocationKey, list[Entry]]
    inboxes: dict[InvocationKey, int]
    left_open: frozenset[InvocationKey] = frozenset()
    is_spread: bool = False

    @classmethod
    def of(cls, backend: Backend, app: str) -> Survivors:
        """Everything that `backend` holds of the app of this name."""
        found = backend.query(InvocationQuery(app=app, limit=ROWS_MAX))
        rows = {row.key: row for row in found}
        journals = {key: backend.read_journal(key) for key in rows}
        inboxes = {key: len(backend.read_inbox(key)) for key in rows}
        tasks = (row for row in found if row.kind == "task" and row.state not in TERMINAL)
        left = frozenset(row.key for row in tasks if left_open(row, backend.read_data(row.key)))
        return cls(rows, journals, inboxes, left, isinstance(backend, Spread))

    def attempts(self) -> Counter[str]:
        """How many ended attempts of each task are recorded, by the id its body sees."""
        found: Counter[str] = Counter()
        for key, row in self.rows.items():
            for entry in self.journals[key]:
                if entry.kind in {EntryKind.TASK, EntryKind.ATTEMPT}:
                    found[body_id(row, entry)] += 1
            if row.kind == "task" and row.name != TOPIC:  # nobody runs an emit
                ended = key in self.left_open or row.state in {
                    InvocationState.COMPLETED,
                    InvocationState.FAILED,
                }
                found[row.key.invocation_id] += row.attempts + ended
        return found

    def ended(self) -> set[str]:
        """Tasks whose body need not run again as it stands, by the id their bodies see."""
        found = {
            body_id(self.rows[key], entry)
            for key, entries in self.journals.items()
            for entry in entries
            if entry.kind == EntryKind.TASK
        }
        tasks = (row for row in self.rows.values() if row.kind == "task")
        over = {row.key for row in tasks if row.state in TERMINAL} | self.left_open
        return found | {key.invocation_id for key in over}

    def unknown(self) -> set[str]:
        """At-most-once tasks of whose outcome is on record that nobody knows it."""
        found = {
            body_id(self.rows[key], entry)
            for key, entries in self.journals.items()
            for entry in entries
            if entry.kind == EntryKind.TASK and _UNKNOWN in entry.body
        }
        tasks = (row for row in self.rows.values() if row.kind == "task")
        return found | {row.key.invocation_id for row in tasks if _UNKNOWN in (row.outcome or b"")}

    def dropped(self) -> set[str]:
        """Tasks that their workflow cancelled, by the id their bodies see."""
        return {
            body_id(self.rows[key], entry)
            for key, entries in self.journals.items()
            for entry in entries
            if entry.kind == EntryKind.DROPPED
        }

    def shape(self) -> Counter[tuple[str, str]]:
        """How many invocations there are of each kind and name."""
        return Counter((row.kind, row.name) for row in self.rows.values())

    # --- what must be true ----------------------------------------------------------------------

    def unsound(self) -> Iterator[str]:
        """What is wrong with this moment by itself."""
        for key, row in self.rows.items():
            if row.state in _STOPPED:
                yield f"{key} is {row.state}: {row.reason}"
            verify_chain(key, row.seed, self.journals[key], row.head)
            ends = [e for e in self.journals[key] if e.kind == EntryKind.END and not e.scope]
            ended = row.kind == "workflow" and row.state in TERMINAL
            if row.state is InvocationState.TERMINATED or not row.head:
                ended = False  # from outside: its own code did not come to an end
            if len(ends) != ended:
                yield f"{key} is {row.state} and its journal holds {len(ends)} ends"
            epochs = [entry.epoch for entry in self.journals[key]]
            if epochs != sorted(epochs):
                yield f"epochs of {key} fall: {epochs}"
            yield from self._unsound_journal(key)
        for key in self.rows:
            for child in self.starts(key):
                if InvocationKey(child, 1) not in self.rows:
                    yield f"{key} recorded the start of {child!r}, which does not exist"

    def _unsound_journal(self, key: InvocationKey) -> Iterator[str]:
        entries = self.journals[key]
        watches = Counter(_named(entry) for entry in entries if entry.kind == EntryKind.WATCH)
        for entry in entries:
            if entry.kind == EntryKind.DONE:
                source = _named(entry)
                watches[source] -= 1
                if watches[source] < 0:
                    yield f"{key} was told more often of the end of {source} than it asked"
            if entry.kind == EntryKind.END and not entry.scope:
                for kind, count in msgspec.json.decode(entry.meta, type=Meta).draws.items():
                    if (kept := find_counter(entries, kind)) != count:
                        yield f"{key} drew {count} of {kind}, {kept} are kept"

    def starts(self, parent: InvocationKey) -> Counter[str]:
        """How often the journal of `parent` names each invocation as started."""
        found: Counter[str] = Counter()
        for entry in self.journals[parent]:
            if entry.kind == EntryKind.MEMO:
                found[entry.body.decode().strip('"')] += 1
            elif entry.kind == EntryKind.START and (child := read_body(entry.body).id):
                found[child] += 1
        return found

    def changed_in(self, later: Survivors) -> Iterator[str]:
        """What of this moment a later one does not have, or has otherwise."""
        for key, row in self.rows.items():
            if key not in later.rows:
                yield f"{key} is gone"
                continue
            yield from self._changed_row(row, later)
            entries, now = self.journals[key], later.journals[key]
            if len(now) < len(entries):
                yield f"{key} lost entries: {len(entries)} to {len(now)}"
            for before, after in zip(entries, now, strict=False):
                if before != after:
                    yield f"an entry of {key} changed:\n  {before}\n  {after}"

    def _changed_row(self, row: InvocationRecord, later: Survivors) -> Iterator[str]:
        key, parent, now = row.key, row.parent, later.rows[row.key]
        for name in ("seed", "base_time", "arguments", "name", "parent", "root", "created_at"):
            before, after = getattr(row, name), getattr(now, name)
            if before not in {None, after}:
                yield f"{name} of {key} changed from {before!r} to {after!r}"
        if row.state in TERMINAL and row != now:
            yield f"{key} changed after its end:\n  {row}\n  {now}"
        if self.is_spread and not is_marked(key.invocation_id):
            return  # an id that the user gave is started first, on whichever server it lives
        is_early = parent is not None and key.invocation_id not in self.starts(parent)
        if parent is not None and is_early and key.invocation_id in later.starts(parent):
            yield f"{key} existed before its parent {parent} recorded its start"


def _named(entry: Entry) -> InvocationKey:
    """Whose end this entry asks for, or tells of."""
    members = read_body(entry.body)
    return InvocationKey(members.id, members.generation)


def body_id(row: InvocationRecord, entry: Entry) -> str:
    """The id that the body of a direct task call sees (see `flows.call_task`)."""
    return derive_id(row.seed, "task", entry.scope, str(entry.ordinal))


NOTHING = Survivors({}, {}, {})
"""An empty store."""
