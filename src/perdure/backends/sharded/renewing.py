"""Renewals go to all servers at once, so that one that hangs keeps no lease of another waiting."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

from perdure.backends.base import Holding
from perdure.backends.server import PartlyRenewed
from perdure.backends.sharded.servers import Member
from perdure.errors import BackendError, BackendUnavailable

PATIENCE = 1 / 6
"""How much of a lease a renewal waits for the slowest server; the rest is for the next try."""


class _Call:
    """The renewal on one server, on a thread of its own."""

    def __init__(self, member: Member, owner: str, holdings: Sequence[Holding], lease: int) -> None:
        self.holdings = holdings
        self.kept: frozenset[Holding] | None = None
        self.error: BackendError = BackendUnavailable(f"{member.shown} did not answer in time")
        self._run: Callable[[], frozenset[Holding]] = lambda: member.server.renew(
            owner, holdings, lease
        )
        self.thread = threading.Thread(target=self._renew, name="perdure-renew", daemon=True)

    def _renew(self) -> None:
        try:
            self.kept = self._run()
        except BackendError as error:
            self.error = error


def renew(groups: Mapping[Member, Sequence[Holding]], owner: str, lease: int) -> frozenset[Holding]:
    """Extend leases on several servers.

    Raises:
        PartlyRenewed: some servers did not answer.
        BackendError: none did.
    """
    if len(groups) == 1:
        ((member, holdings),) = groups.items()
        return member.server.renew(owner, holdings, lease)
    calls = [_Call(member, owner, holdings, lease) for member, holdings in groups.items()]
    for call in calls:
        call.thread.start()
    for call in calls:
        call.thread.join(lease / 1e6 * PATIENCE / len(calls))
    answers = [(call.holdings, kept) for call in calls if (kept := call.kept) is not None]
    kept = frozenset[Holding]().union(*(kept for _, kept in answers))
    errors = [call.error for call in calls if call.kept is None]
    if errors and not answers:
        raise errors[0]
    if errors:
        answered = [holding for holdings, _ in answers for holding in holdings]
        raise PartlyRenewed("; ".join(map(str, errors)), answered, kept)
    return kept
