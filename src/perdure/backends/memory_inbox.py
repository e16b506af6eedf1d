"""The inboxes of the memory backend: unread rows, and which letters were accepted."""

from __future__ import annotations

from collections.abc import Collection

from perdure.backends.letters import NOBODY, InboxRow, Letter
from perdure.core.identity import InvocationKey


class Inboxes:
    """Rows by invocation, oldest first. Used under the lock of the backend."""

    def __init__(self) -> None:
        """Nothing is unread, nothing was accepted."""
        self._rows: dict[InvocationKey, list[InboxRow]] = {}
        self._accepted: set[tuple[InvocationKey, str]] = set()
        self._last_id = 0

    def unread(self, key: InvocationKey) -> list[InboxRow]:
        """What is there for it."""
        return list(self._rows.get(key, ()))

    def end_of(self, source: InvocationKey, watcher: InvocationKey) -> None:
        """A watched invocation ended."""
        self._put(watcher, "done", source, None)

    def was_accepted(self, key: InvocationKey, letter: Letter) -> bool:
        """Whether a letter of this id was put."""
        return (key, letter.letter_id) in self._accepted

    def accept(self, key: InvocationKey, letter: Letter) -> None:
        """Put a letter and remember its id."""
        self._accepted.add((key, letter.letter_id))
        self._put(key, letter.kind, NOBODY, letter)

    def _put(
        self, key: InvocationKey, kind: str, source: InvocationKey, letter: Letter | None
    ) -> None:
        self._last_id += 1
        self._rows.setdefault(key, []).append(InboxRow(self._last_id, kind, source, letter))

    def consume(self, key: InvocationKey, row_ids: Collection[int]) -> None:
        """These were delivered."""
        if row_ids:
            self._rows[key] = [row for row in self.unread(key) if row.row_id not in row_ids]

    def drop(self, key: InvocationKey) -> None:
        """What an ended invocation would still have read."""
        self._rows.pop(key, None)
