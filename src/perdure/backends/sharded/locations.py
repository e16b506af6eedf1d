"""Where ids live: looked up on the candidates, and remembered, for rows never move."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TypeVar

from perdure.backends.base import InvocationRecord
from perdure.backends.sharded.placement import Placement, mark
from perdure.backends.sharded.servers import Members

T = TypeVar("T")

REMEMBERED_MAX = 100_000
"""Ids whose server is remembered: about 20 MB."""
FRESH_MAX = 10_000
"""Ids made here that have not been started yet."""


class Locations:
    """The positions of ids. Thread-safe."""

    def __init__(self, members: Members) -> None:
        self._members = members
        self._lock = threading.Lock()
        self._known: OrderedDict[str, int] = OrderedDict()
        self._fresh: OrderedDict[str, None] = OrderedDict()

    @property
    def placement(self) -> Placement:
        """The list as it is known to every server."""
        return Placement(self._members.stores())

    def fresh_id(self, made: str) -> str:
        """An id that names a server, one that answers; nobody else has it."""
        willing = frozenset(member.position for member in self._members.willing())
        id_ = mark(made, self.placement.choose(made, willing))
        self._keep(self._fresh, id_, None, FRESH_MAX)
        return id_

    def remember(self, id_: str, position: int) -> None:
        """It lives there."""
        if self._known.get(id_) != position:
            self._keep(self._known, id_, position, REMEMBERED_MAX)

    def known(self, id_: str) -> int | None:
        """Where it lives, without a look."""
        return self._known.get(id_)

    def candidates(self, id_: str) -> tuple[int, ...]:
        """Where it may live: where it would be started first."""
        found = self._known.get(id_)
        if found is not None:
            return (found,)
        candidates = self.placement.candidates(id_)
        # One that was made here can be nowhere yet, so a server that is down is not asked for it.
        return candidates[:1] if id_ in self._fresh else candidates

    def read(
        self, id_: str, generation: int | None = None, *, locked: bool = False
    ) -> tuple[int, InvocationRecord] | None:
        """The row and its position, or None where no candidate has it.

        Raises:
            ServerListMismatch: no candidate has it, and there is a newer list.
        """
        for position in self.candidates(id_):
            server = self._members.at(position)
            record = server.read(id_, generation, locked=locked)
            if record is not None:
                self.remember(id_, position)
                return position, record
        self._members.refuse_if_old()
        return None

    def find(self, id_: str) -> int | None:
        """The position of an id, or None."""
        known = self.known(id_)
        if known is not None:
            return known
        found = self.read(id_)
        return None if found is None else found[0]

    def home(self, id_: str) -> int:
        """The position of an id, or where it would be started."""
        return self.find(id_) or self.candidates(id_)[0]

    def _keep(self, kept: OrderedDict[str, T], id_: str, value: T, most: int) -> None:
        with self._lock:
            kept[id_] = value
            while len(kept) > most:
                kept.popitem(last=False)
