"""The store of a simulation: the memory backend, which tells what each call changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from perdure.backends.base import InvocationRecord, NewInvocation, StartClaim
from perdure.backends.letters import InboxRow
from perdure.backends.memory import MemoryBackend
from perdure.core.entries import Entry
from perdure.core.identity import InvocationKey


class Store(MemoryBackend):
    """What survives every process.

    Attributes:
        changed: rows that were written since this was last cleared.
        told: inboxes that got a row since then.
    """

    def __init__(self, now: Callable[[], int], store_id: bytes) -> None:
        """Empty."""
        super().__init__(now, store_id)
        self.changed: dict[InvocationKey, None] = {}
        self.told: dict[InvocationKey, None] = {}

    def _put(self, row: InvocationRecord) -> None:
        self.changed[row.key] = None
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

    def rows(self) -> dict[InvocationKey, InvocationRecord]:
        """Every row, by key. Not to be changed."""
        return self._rows

    def journal(self, key: InvocationKey) -> Sequence[Entry]:
        """The entries of one workflow. Not to be changed."""
        return self._journals.get(key, ())

    def inbox(self, key: InvocationKey) -> Sequence[InboxRow]:
        """What it has not read."""
        return self._inboxes.unread(key)
