"""The stores of a simulation: state backends that tell what each call changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from perdure.backends.base import (
    Backend,
    InvocationQuery,
    InvocationRecord,
    NewInvocation,
    StartClaim,
)
from perdure.backends.letters import InboxRow
from perdure.backends.memory import MemoryBackend
from perdure.backends.sqlite import SQLiteBackend
from perdure.core.entries import Entry
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import TERMINAL

APPS = ("simulated", "other")
"""The names of the apps that share a store."""
ROWS_MAX = 10_000
"""Rows that are looked at; a schedule has a few dozen."""


class Store(Backend, Protocol):
    """What survives every process.

    Attributes:
        changed: rows that were written since this was last cleared, as they were before.
        told: inboxes that may have got a row since then.
        damaged: an entry as it was, and the epoch at which another one was put in its place.
        ever_damaged: whose journals were damaged at any time.
    """

    changed: dict[InvocationKey, InvocationRecord | None]
    told: dict[InvocationKey, None]
    damaged: dict[InvocationKey, tuple[Entry, int]]
    ever_damaged: set[InvocationKey]

    def settle(self) -> None:
        """A call was made: see what it changed."""
        ...

    def rows(self) -> dict[InvocationKey, InvocationRecord]:
        """Every row, by key, oldest first. Not to be changed."""
        ...

    def journal(self, key: InvocationKey) -> Sequence[Entry]:
        """The entries of one workflow, as they were before any damage. Not to be changed."""
        ...

    def inbox(self, key: InvocationKey) -> Sequence[InboxRow]:
        """What it has not read."""
        ...

    def damage(self, key: InvocationKey, position: int, entry: Entry) -> bool:
        """Put another entry in the place of one, unseen; False if that cannot be."""
        ...

    def mend(self, key: InvocationKey) -> None:
        """Put it back."""
        ...


class MemoryStore(MemoryBackend):
    """In memory: fast, and the specification of the others. See `Store`."""

    def __init__(self, now: Callable[[], int], store_id: bytes) -> None:
        """Empty."""
        super().__init__(now, store_id)
        self.changed: dict[InvocationKey, InvocationRecord | None] = {}
        self.told: dict[InvocationKey, None] = {}
        self.damaged: dict[InvocationKey, tuple[Entry, int]] = {}
        self.ever_damaged: set[InvocationKey] = set()

    def _put(self, row: InvocationRecord) -> None:
        key = row.key
        if key not in self.changed:
            self.changed[key] = self._rows[key]
        super()._put(row)

    def _insert(
        self, new: NewInvocation, generation: int, claim: StartClaim | None = None
    ) -> InvocationRecord:
        row = super()._insert(new, generation, claim)
        self.changed[row.key] = None
        return row

    def _wake(self, key: InvocationKey) -> None:
        self.told[key] = None
        super()._wake(key)

    def settle(self) -> None:
        """See `Store.settle`. It was noted when it was written."""

    def rows(self) -> dict[InvocationKey, InvocationRecord]:
        """See `Store.rows`."""
        return self._rows

    def journal(self, key: InvocationKey) -> Sequence[Entry]:
        """See `Store.journal`."""
        entries = self._journals.get(key, [])
        if key in self.damaged:
            entries = list(entries)
            entry = self.damaged[key][0]
            entries[entry.position] = entry
        return entries

    def damage(self, key: InvocationKey, position: int, entry: Entry) -> bool:
        """See `Store.damage`."""
        self.damaged[key] = self._journals[key][position], self._rows[key].epoch
        self.ever_damaged.add(key)
        self._journals[key][position] = entry
        return True

    def mend(self, key: InvocationKey) -> None:
        """See `Store.mend`."""
        entry, _ = self.damaged.pop(key)
        self._journals[key][entry.position] = entry

    def inbox(self, key: InvocationKey) -> Sequence[InboxRow]:
        """See `Store.inbox`."""
        return self._inboxes.unread(key)


class SQLiteStore(SQLiteBackend):
    """In a file: slower, as all of it is looked at after each call. See `Store`."""

    def __init__(self, path: Path, now: Callable[[], int], store_id: bytes) -> None:
        """Empty; the file is made."""
        super().__init__(path, now=now, synchronous="normal", store_id=store_id)
        self.changed: dict[InvocationKey, InvocationRecord | None] = {}
        self.told: dict[InvocationKey, None] = {}
        self.damaged: dict[InvocationKey, tuple[Entry, int]] = {}
        self.ever_damaged: set[InvocationKey] = set()
        self._seen: dict[InvocationKey, InvocationRecord] = {}

    def settle(self) -> None:
        """See `Store.settle`."""
        found: list[InvocationRecord] = []
        for app in APPS:
            found += self.query(InvocationQuery(app=app, limit=ROWS_MAX))
        found.sort(key=lambda row: (row.created_at, row.key))
        before, self._seen = self._seen, {row.key: row for row in found}
        self.changed = {row.key: before.get(row.key) for row in found if before.get(row.key) != row}
        self.told = {row.key: None for row in found if row.state not in TERMINAL}

    def rows(self) -> dict[InvocationKey, InvocationRecord]:
        """See `Store.rows`."""
        return self._seen

    def journal(self, key: InvocationKey) -> Sequence[Entry]:
        """See `Store.journal`."""
        return self.read_journal(key)

    def inbox(self, key: InvocationKey) -> Sequence[InboxRow]:
        """See `Store.inbox`."""
        return self.read_inbox(key)

    def damage(self, key: InvocationKey, position: int, entry: Entry) -> bool:
        """See `Store.damage`. A file has belts against that."""
        del key, position, entry
        return False

    def mend(self, key: InvocationKey) -> None:
        """See `Store.mend`. Nothing was damaged."""
