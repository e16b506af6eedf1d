"""The servers of a list: opened together, published together, each down and up on its own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from perdure.backends.server import Server, ServerList
from perdure.errors import (
    BackendError,
    BackendUnavailable,
    CommitUnknown,
    SchemaMismatch,
    ServerListMismatch,
)

BACKOFF_MAX_SECONDS = 10.0
"""How long a server that failed is left alone at most, before a poll looks at it again."""
BACKOFF_FIRST_SECONDS = 0.25

T = TypeVar("T")

logger = logging.getLogger("perdure.servers")


class Member:
    """One server of the list. `name` is its URL without a password."""

    def __init__(self, position: int, name: str, server: Server) -> None:
        self.position = position
        self.name = name
        self.server = server
        self._failures = 0
        self._next_look = 0.0

    @property
    def shown(self) -> str:
        """For messages."""
        return f"server {self.position} ({self.name})"

    @property
    def is_left_alone(self) -> bool:
        """Whether it failed a moment ago."""
        return time.monotonic() < self._next_look

    def attempt(self, run: Callable[[Server], T]) -> T:
        """Ask it something, and remember whether it answered.

        Raises:
            BackendError: as the server does.
        """
        try:
            answer = run(self.server)
        except (CommitUnknown, SchemaMismatch):
            raise
        except BackendError as error:
            self._failures += 1
            pause = BACKOFF_FIRST_SECONDS * 2.0 ** min(self._failures - 1, 10)
            self._next_look = time.monotonic() + min(BACKOFF_MAX_SECONDS, pause)
            if self._failures & (self._failures - 1) == 0:  # an outage is a handful of lines
                logger.warning("%s failed (%d in a row): %s", self.shown, self._failures, error)
            raise
        if self._failures:
            logger.warning("%s answers again", self.shown)
            self._failures, self._next_look = 0, 0.0
        return answer


class Members:
    """All servers of one app, in the order of the list.

    Args:
        publishes: whether a longer list is made known to the servers; False for tools that only
            look.
    """

    def __init__(self, servers: Sequence[tuple[str, Server]], *, publishes: bool) -> None:
        self._all = [
            Member(position, name, server) for position, (name, server) in enumerate(servers, 1)
        ]
        self._publishes = publishes
        self._opening = threading.Lock()
        self._stores: tuple[bytes, ...] = ()
        for member in self._all:
            member.server.go_by(len(self._all))

    def __iter__(self) -> Iterator[Member]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def at(self, position: int) -> Server:
        """The server of this position."""
        return self.member(position).server

    def member(self, position: int) -> Member:
        """The member of this position."""
        return self._all[position - 1]

    def willing(self) -> list[Member]:
        """Those that did not fail a moment ago; all, if every one did."""
        return [each for each in self._all if not each.is_left_alone] or self._all

    def stores(self) -> tuple[bytes, ...]:
        """Store ids in order; the list is known to every server when this returns.

        Raises:
            ServerListMismatch: the list contradicts what the servers know.
            BackendUnavailable: the list is new, and not every server can be reached.
        """
        with self._opening:
            if not self._stores:
                self._stores = self._join()
            return self._stores

    def refuse_if_old(self) -> None:
        """Look for a newer list, before "there is none" is said of an id.

        Raises:
            ServerListMismatch: there is one.
        """
        for member in self._all:
            kept = member.server.server_list()
            if kept is not None and kept.number > len(self._all):
                raise _too_old(member, kept, len(self._all))

    def _join(self) -> tuple[bytes, ...]:
        found: dict[Member, tuple[bytes, ServerList | None]] = {}
        errors: list[str] = []
        for member in self._all:
            try:
                found[member] = member.attempt(lambda s: (s.store_id(), s.server_list()))
            except BackendError as error:
                errors.append(f"{member.shown}: {error}")
        stores = self._given(found)
        self._check(found, stores)
        knowing = [_has(kept, len(self._all)) for _, kept in found.values()]
        if errors and not any(knowing):
            raise BackendUnavailable(
                f"A list of {len(self._all)} servers is new, and each of them must hear of it once "
                f"before anything is started under it. Not reached: {'; '.join(errors)}"
            )
        if not errors and not all(knowing) and self._publishes:
            self._publish(stores)
        return stores

    def _given(self, found: dict[Member, tuple[bytes, ServerList | None]]) -> tuple[bytes, ...]:
        """The ids of the given list; of a server that is not reached, what the others know."""
        if len(found) == len(self._all):
            stores = tuple(store for store, _ in found.values())
            if len(set(stores)) < len(stores):
                raise ServerListMismatch(
                    "Two URLs of the list name the same database. Name each server once."
                )
            return stores
        for member, (_, kept) in found.items():
            if kept is not None and kept.number > len(self._all):
                raise _too_old(member, kept, len(self._all))
            if kept is not None and _has(kept, len(self._all)):
                return kept.stores
        return ()

    def _check(
        self, found: dict[Member, tuple[bytes, ServerList | None]], stores: tuple[bytes, ...]
    ) -> None:
        for member, (store, kept) in found.items():
            if kept is not None and kept.number > len(self._all):
                raise _too_old(member, kept, len(self._all))
            fits = kept is None or (
                kept.position == member.position and stores[: kept.number] == kept.stores
            )
            if stores and not (fits and stores[member.position - 1] == store):
                raise ServerListMismatch(
                    f"The list of servers contradicts what {member.shown} knows. Give the servers "
                    "in the order in which they were added, new ones at the end, and leave none "
                    "out."
                )

    def _publish(self, stores: tuple[bytes, ...]) -> None:
        """To the newest servers first: one that must not join refuses before the others know.

        A second round says that the first one is over, so that from then on a process can start
        while some server is down.
        """
        for complete in (False, True):
            for member in reversed(self._all):
                given = ServerList(position=member.position, stores=stores, complete=complete)
                member.server.publish(given)


def _has(kept: ServerList | None, number: int) -> bool:
    return kept is not None and kept.number == number and kept.complete


def _too_old(member: Member, kept: ServerList, number: int) -> ServerListMismatch:
    return ServerListMismatch(
        f"This process goes by a list of {number}, and {member.shown} knows a list of "
        f"{kept.number} servers. Nothing was started. Restart this process with the whole list."
    )
