"""Carries what the servers have for each other: who waits for which end, and the ends.

A row of an outbox is handed over, accepted by the other server in a transaction of its own, and
only then marked as sent. A crash between the two hands it over again, which changes nothing: an end
is told by removing the watch that waits for it, and a second time there is none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial

from perdure.backends.server import Ask, End, Outbox, Server
from perdure.backends.sharded.servers import Member, Members
from perdure.core.identity import InvocationKey
from perdure.errors import BackendError

ROWS_MAX = 1_000
"""Asks and ends that one round takes from each server."""


class Relay:
    """Any number of them may run at once."""

    def __init__(self, members: Members) -> None:
        self._members = members

    def run(self) -> None:
        """Hand over all that is there; what is not accepted stays for the next time.

        An ask for what has ended already is answered by a second round.
        """
        if _Round(self._members).run():
            _Round(self._members).run()


class _Round:
    """One look at each server that answers."""

    def __init__(self, members: Members) -> None:
        self._members = members
        self._willing = members.willing()
        self._accepting = {member.position for member in self._willing}

    def run(self) -> bool:
        """True if some ask was accepted."""
        has_asked = False
        for member in self._willing:
            try:
                has_asked = self._empty(member) or has_asked
            except BackendError:
                continue  # `attempt` has told
        return has_asked

    def _empty(self, member: Member) -> bool:
        """Hand over what one server has, leaving out those that do not accept theirs."""
        has_asked = False
        while True:
            positions = sorted(self._accepting)
            box = member.attempt(partial(_look, positions))
            accepted = Outbox(self._send_asks(member, box.asks), self._send_ends(box.ends))
            if accepted.asks or accepted.ends:
                member.attempt(partial(_forget, accepted))
            has_asked = has_asked or bool(accepted.asks)
            if len(positions) == len(self._accepting):
                return has_asked

    def _send_asks(self, member: Member, asks: Sequence[Ask]) -> list[Ask]:
        by_home: defaultdict[int, list[Ask]] = defaultdict(list)
        for ask in asks:
            by_home[ask.position].append(ask)
        accepted: list[Ask] = []
        for home, those in by_home.items():
            targets = [ask.target for ask in those]
            if self._give(home, partial(_accept_asks, targets, member.position)):
                accepted += those
        return accepted

    def _send_ends(self, ends: Sequence[End]) -> list[End]:
        by_server: defaultdict[int, list[End]] = defaultdict(list)
        for end in ends:
            by_server[end.position].append(end)
        accepted: list[End] = []
        for position, those in by_server.items():
            targets = [end.target for end in those]
            if self._give(position, partial(_accept_ends, targets)):
                accepted += those
        return accepted

    def _give(self, position: int, accept: Callable[[Server], object]) -> bool:
        try:
            self._members.member(position).attempt(accept)
        except BackendError:  # also when it is not known: it is handed over again
            self._accepting.discard(position)
            return False
        return True


def _look(positions: Sequence[int], server: Server) -> Outbox:
    return server.outbox(positions, ROWS_MAX)


def _accept_asks(targets: Sequence[InvocationKey], position: int, server: Server) -> None:
    server.accept_asks(targets, position)


def _accept_ends(targets: Sequence[InvocationKey], server: Server) -> None:
    server.accept_ends(targets)


def _forget(accepted: Outbox, server: Server) -> None:
    server.sent(accepted)
