"""What of the memory backend has a deadline and was never claimed. The caller holds the lock."""

from __future__ import annotations

from collections.abc import Mapping

from perdure.backends.base import InvocationRecord
from perdure.backends.endings import deadline_of
from perdure.backends.memory_rows import is_unbegun
from perdure.core.identity import InvocationKey


class Deadlines:
    """Deadlines by key. What was claimed since is forgotten at the next look."""

    def __init__(self) -> None:
        """Start with none."""
        self._at: dict[InvocationKey, int] = {}

    def add(self, row: InvocationRecord) -> None:
        """A row was made."""
        deadline = deadline_of(row.options, row.created_at)
        if deadline is not None:
            self._at[row.key] = deadline

    def passed(
        self, rows: Mapping[InvocationKey, InvocationRecord], now: int
    ) -> list[InvocationRecord]:
        """Rows past their deadline that nobody has claimed, earliest first."""
        self._at = {key: at for key, at in self._at.items() if is_unbegun(rows[key])}
        return [
            rows[key] for _, key in sorted((at, key) for key, at in self._at.items() if at <= now)
        ]
