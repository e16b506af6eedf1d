"""How one PostgreSQL store is shown to the auditor. Reads only, one journal at a time."""

from __future__ import annotations

from perdure.backends.audit import Finding, Slots, Subject
from perdure.backends.postgres.store import Store, Transaction
from perdure.backends.rows import entry_of, record_of
from perdure.core.identity import InvocationKey


class Audit:
    """The methods of `Auditable`, for a backend to inherit."""

    _store: Store

    def audit_page(self, after: int, limit: int) -> list[int]:
        """See `Auditable.audit_page`."""
        asked = {"after": after, "limit": limit}
        rows = self._store.read(lambda transaction: transaction.rows("audit_page", asked))
        return [row[0] for row in rows]

    def audit_subject(self, number: int) -> Subject | None:
        """See `Auditable.audit_subject`."""
        asked = {"seq": number}
        rows, entries, children = self._store.read(
            lambda transaction: transaction.together(
                ("audit_row", asked), ("journal_entries", asked), ("audit_children", asked)
            )
        )
        if not rows:
            return None
        return Subject(
            record_of(rows[0]),
            [entry_of(each) for each in entries],
            [InvocationKey(*child) for child in children],
        )

    def audit_findings(self, name: str, limit: int) -> list[Finding]:
        """See `Auditable.audit_findings`."""
        asked = {"limit": limit}
        _, rows = self._store.read(
            lambda transaction: transaction.together(("plan_as_found", None), (name, asked))
        )
        return [Finding(*row) for row in rows]

    def audit_slots(self) -> list[Slots]:
        """See `Auditable.audit_slots`."""

        def look(transaction: Transaction) -> list[Slots]:
            ((now,),) = transaction.rows("now")
            return [Slots(*row) for row in transaction.rows("audit_slots", {"now": now})]

        return self._store.read(look)
