"""What a store shows its auditor: rows with their journals, and what single statements find.

Reads only. Each method reads one commit of the store, so that workers may go on meanwhile and
nothing is reported that was only under way. What must be true is in `CHECKS`, and for journals
where they are read.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

from perdure.backends.base import InvocationRecord
from perdure.core.entries import Entry
from perdure.core.identity import InvocationKey


class Check(NamedTuple):
    """One statement that must find nothing, by its name in `statements/audit.sql`."""

    name: str
    invariant: str
    expected: str


CHECKS = (
    Check("audit_states", "I16", "one of the states of an invocation"),
    Check("audit_leases", "I6", "an owner, a lease and an epoch while running, and only then"),
    Check("audit_outcomes", "I2", "an outcome and an end time in terminal states, and only there"),
    Check("audit_generations", "I15", "generations 1, 2, 3, ... of one id, each once"),
    Check("audit_superseded", "I15", "a newer generation only after a failed or cancelled one"),
    Check("audit_orphans", "I11", "the parent and the root that the row names"),
    Check("audit_halves", "I4", "each invocation with its call, each call with its invocation"),
    Check("audit_entries", "I4", "an invocation for every journal entry"),
    Check("audit_reasons", "I16", "a reason why it is parked or dead"),
    Check("audit_waits", "I16", "a timer, or a live invocation to wait for"),
    Check("audit_unread", "I16", "ready, as there is something unread"),
    Check("audit_inbox", "I16", "a live invocation that will read the message"),
    Check("audit_watches", "I16", "a live invocation to watch, and a watcher that exists"),
)
"""What one statement can find out. The invariants are those of docs/invariants.md."""


class Finding(NamedTuple):
    """A row that breaks a check. The id is "" where no invocation belongs to it."""

    invocation_id: str
    generation: int
    found: str


class Subject(NamedTuple):
    """One invocation with all that belongs to it, as of one commit.

    Attributes:
        children: every row that names it as its parent.
    """

    record: InvocationRecord
    entries: list[Entry]
    children: list[InvocationKey]


class Slots(NamedTuple):
    """How many live leases one owner has in one queue under one key, on one server of several."""

    app: str
    queue: str
    limit_key: str
    owner: str
    running: int
    server: int = 0


@runtime_checkable
class Auditable(Protocol):
    """A backend that can be audited while others work on it."""

    def audit_page(self, after: int, limit: int) -> list[int]:
        """Numbers of the next rows after number `after`, in rising order."""
        ...

    def audit_subject(self, number: int) -> Subject | None:
        """One row of a page; None for a row whose state is not known."""
        ...

    def audit_findings(self, name: str, limit: int) -> list[Finding]:
        """What the named statement of `CHECKS` finds."""
        ...

    def audit_slots(self) -> list[Slots]:
        """Live leases, counted."""
        ...
