"""How several servers are shown to the auditor as one store. Reads only."""

from __future__ import annotations

from perdure.backends.audit import Auditable, Finding, Slots, Subject
from perdure.backends.sharded.placement import is_marked
from perdure.backends.sharded.servers import Members

_SEQ_BITS = 48
"""A row's number is that on its server, with the server's position above."""


class Audit:
    """The methods of `Auditable`, for a backend to inherit."""

    _members: Members

    def audit_page(self, after: int, limit: int) -> list[int]:
        """See `Auditable.audit_page`. One server after the other."""
        first, seq = max(1, after >> _SEQ_BITS), after & (1 << _SEQ_BITS) - 1
        for position in range(first, len(self._members) + 1):
            page = self._auditable(position).audit_page(seq if position == first else 0, limit)
            if page:
                return [position << _SEQ_BITS | number for number in page]
        return []

    def audit_subject(self, number: int) -> Subject | None:
        """See `Auditable.audit_subject`.

        A child with an id of the user's choice may be there before its parent has recorded it, so
        only the others are shown as children.
        """
        server = self._auditable(number >> _SEQ_BITS)
        subject = server.audit_subject(number & (1 << _SEQ_BITS) - 1)
        if subject is None:
            return None
        children = [child for child in subject.children if is_marked(child.invocation_id)]
        return subject._replace(children=children)

    def audit_findings(self, name: str, limit: int) -> list[Finding]:
        """See `Auditable.audit_findings`."""
        positions = range(1, len(self._members) + 1)
        return [
            finding
            for position in positions
            for finding in self._auditable(position).audit_findings(name, limit)
        ][:limit]

    def audit_slots(self) -> list[Slots]:
        """See `Auditable.audit_slots`."""
        positions = range(1, len(self._members) + 1)
        return [
            slots._replace(server=position)
            for position in positions
            for slots in self._auditable(position).audit_slots()
        ]

    def _auditable(self, position: int) -> Auditable:
        server = self._members.at(position)
        assert isinstance(server, Auditable)
        return server
