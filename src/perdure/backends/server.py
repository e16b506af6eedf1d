"""What a backend offers beyond `Backend` to be one of several servers of an app, and its rules.

A list of servers only grows: its number is its length, and earlier lists are its beginnings. Every
server keeps the newest list that was published to it, and refuses to begin anything for a process
that goes by an older one. So what such a process began is there to be seen once the newer list is
published everywhere, or it was refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import msgspec

from perdure.backends.base import Backend, Holding
from perdure.core.identity import InvocationKey
from perdure.errors import BackendError, ServerListMismatch

FIRST_LIST = 1
"""The number of an app with one URL; what a server counts as that was never part of a list."""


class ServerList(msgspec.Struct, frozen=True, kw_only=True):
    """A list as one of its servers keeps it.

    Attributes:
        position: of this server in the list, from 1.
        stores: the store ids of all servers, in order.
        complete: whether every server of the list has it.
    """

    position: int
    stores: tuple[bytes, ...]
    complete: bool = False

    @property
    def number(self) -> int:
        """Tells lists apart: how many servers there are."""
        return len(self.stores)


class PartlyRenewed(BackendError):
    """Some servers did not answer a renewal, so nothing is known of the leases there.

    Attributes:
        answered: the holdings that a server answered for.
        kept: those of them that are still held.
    """

    def __init__(self, message: str, answered: Sequence[Holding], kept: frozenset[Holding]) -> None:
        super().__init__(message)
        self.answered = answered
        self.kept = kept


class Ask(NamedTuple):
    """Something here waits for the end of `target`, which lives on the server at `position`."""

    row_id: int
    target: InvocationKey
    position: int


class End(NamedTuple):
    """`target` has ended here, and the server at `position` asked to be told."""

    row_id: int
    target: InvocationKey
    position: int


class Outbox(NamedTuple):
    """What a server has for others, oldest first. A row stays until it is `sent`."""

    asks: Sequence[Ask] = ()
    ends: Sequence[End] = ()


@runtime_checkable
class Spread(Protocol):
    """A state backend over several servers: what lives where."""

    def fresh_id(self, made: str) -> str:
        """An id that carries its server, from one that nobody else has."""
        ...

    def beside(self, made: str, invocation_id: str) -> str:
        """An id, from a derived one, that lives where `invocation_id` does."""
        ...

    def position(self, invocation_id: str) -> int:
        """The server where this id lives, or would be started; from 1."""
        ...

    def carry(self) -> None:
        """Hand over what the servers have for each other. A claim does it first, by itself."""
        ...

    def now_at(self, invocation_id: str) -> int:
        """The clock of the server where this id lives, which is the clock of its timers."""
        ...


class Server(Backend, Protocol):
    """A backend that can be one of several."""

    def server_list(self) -> ServerList | None:
        """The newest list that was published here, or None."""
        ...

    def publish(self, given: ServerList) -> None:
        """Keep this list, in turn with every start: none is half way before or after it.

        Raises:
            ServerListMismatch: it contradicts the one that is kept, or this server would join an
                existing list with invocations of its own. Nothing changed.
        """
        ...

    def go_by(self, number: int) -> None:
        """From now on this object starts things under the list of this number (default: 1).

        Starts, commits with children and `register_put` raise `ServerListMismatch`, and change
        nothing, once a list of a higher number is published here.
        """
        ...

    def outbox(self, positions: Sequence[int], limit: int) -> Outbox:
        """At most `limit` asks and as many ends for the servers at these positions."""
        ...

    def accept_asks(self, targets: Sequence[InvocationKey], position: int) -> None:
        """Note that the server at `position` waits for the ends of these.

        One that has ended, or is not here, is in the outbox at once. Calling again is harmless.
        """
        ...

    def accept_ends(self, targets: Sequence[InvocationKey]) -> list[InvocationKey]:
        """Put an inbox row for each of these ends to whoever watches it here; gives the watchers.

        One transaction removes the watches and puts the rows, so an end is told once, however often
        it comes.
        """
        ...

    def sent(self, outbox: Outbox) -> None:
        """Other servers have accepted these. Rows that came for the same targets since stay."""
        ...


def refuse_old(kept: int, used: int) -> None:
    """Refuse to begin anything under an older list than the one that is kept.

    Raises:
        ServerListMismatch: nothing was written.
    """
    if used < kept:
        raise ServerListMismatch(
            f"This process goes by a list of {_servers(used)}, and a list of {_servers(kept)} was "
            "published since. Nothing was started. Restart this process with the new list."
        )


def check_list(kept: ServerList | None, given: ServerList, *, has_rows: bool) -> None:
    """Refuse a list that does not continue the kept one, or a server that brings work along.

    Raises:
        ServerListMismatch: says what to do.
    """
    if kept is None:
        if given.position > FIRST_LIST and has_rows:
            raise ServerListMismatch(
                f"Server {given.position} of the list holds invocations that were started before "
                "it was part of any list; they would not be found. Put the server that has work "
                "first and empty ones behind it."
            )
        return
    refuse_old(kept.number, given.number)
    if kept.position != given.position or kept.stores != given.stores[: kept.number]:
        raise ServerListMismatch(
            f"Server {given.position} of the list knows itself as server {kept.position} of a list "
            f"of {_servers(kept.number)} that the given list does not begin with. Give the servers "
            "in the order in which they were added, new ones at the end, and leave none out."
        )


def _servers(count: int) -> str:
    return "1 server" if count == 1 else f"{count} servers"
