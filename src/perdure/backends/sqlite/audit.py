"""How one SQLite store is shown to the auditor. Reads only, one row with its journal at a time."""

from __future__ import annotations

from perdure.backends.audit import Finding, Slots, Subject
from perdure.backends.rows import entry_of, record_of
from perdure.backends.sqlite import sql
from perdure.backends.sqlite.store import Store
from perdure.core.identity import InvocationKey


class Audit:
    """The methods of `Auditable`, for a backend to inherit."""

    _store: Store

    def audit_page(self, after: int, limit: int) -> list[int]:
        """See `Auditable.audit_page`."""
        asked = {"after": after, "limit": limit}
        with self._store.read() as connection:
            return [row[0] for row in connection.execute(sql.AUDIT_PAGE, asked).fetchall()]

    def audit_subject(self, number: int) -> Subject | None:
        """See `Auditable.audit_subject`."""
        asked = {"seq": number}
        with self._store.snapshot() as connection:
            row = connection.execute(sql.AUDIT_ROW, asked).fetchone()
            entries = connection.execute(sql.JOURNAL_ENTRIES, asked).fetchall()
            children = connection.execute(sql.AUDIT_CHILDREN, asked).fetchall()
        if row is None:
            return None
        return Subject(
            record_of(row),
            [entry_of(each) for each in entries],
            [InvocationKey(*child) for child in children],
        )

    def audit_findings(self, name: str, limit: int) -> list[Finding]:
        """See `Auditable.audit_findings`."""
        with self._store.read() as connection:
            rows = connection.execute(sql.STATEMENTS[name].text, {"limit": limit}).fetchall()
        return [Finding(*row) for row in rows]

    def audit_slots(self) -> list[Slots]:
        """See `Auditable.audit_slots`."""
        with self._store.read() as connection:
            asked = {"now": self._store.settings.clock()}
            return [Slots(*row) for row in connection.execute(sql.AUDIT_SLOTS, asked).fetchall()]
