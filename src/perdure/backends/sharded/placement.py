"""On which server an id lives. Pure; positions count from 1.

An id made by us names its server: `<id>.<position>`. Any other id goes where rendezvous hashing
puts it under the list of servers at that time. A list grows at its end only, so the servers that
earlier lists chose can be told at any time: they are the candidates, and no row ever moves.
"""

from __future__ import annotations

import re
from hashlib import blake2b

_MADE = re.compile(
    r"(?:[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.(?P<position>[1-9]\d{0,3})"
)
"""What `mark` makes: a derived id or a UUID, and a position. No other id is taken at its word."""


def mark(made: str, position: int) -> str:
    """The id with its server."""
    return f"{made}.{position}"


def is_marked(id_: str) -> bool:
    """Whether this is an id that `mark` made, or looks like one."""
    return _MADE.fullmatch(id_) is not None


class Placement:
    """The lists so far, as the newest of them.

    Args:
        stores: store ids in the order of the list.
    """

    def __init__(self, stores: tuple[bytes, ...]) -> None:
        self.stores = stores

    def candidates(self, id_: str) -> tuple[int, ...]:
        """Where the id would be started now, then where earlier lists would have, newest first.

        An id that only looks like one of ours was hashed as long as the list was shorter than the
        position it names, so it is found like any other.
        """
        match = _MADE.fullmatch(id_)
        named = int(match["position"]) if match else len(self.stores) + 1
        hashed = self._winners(id_)[: named - 1]
        taken = [named] if named <= len(self.stores) else []
        return tuple(dict.fromkeys([*taken, *reversed(hashed)]))

    def choose(self, made: str, among: frozenset[int]) -> int:
        """A server for something new, equally often each one of those."""
        return max(among, key=lambda position: self._weight(made, position))

    def _winners(self, id_: str) -> list[int]:
        """What each list chooses, oldest list first: the heaviest of its servers."""
        winners: list[int] = []
        for position in range(1, len(self.stores) + 1):
            best = winners[-1] if winners else position
            heavier = self._weight(id_, position) > self._weight(id_, best)
            winners.append(position if heavier else best)
        return winners

    def _weight(self, id_: str, position: int) -> bytes:
        # An id may hold any character but surrogates, so it has an encoding.
        return blake2b(id_.encode(), digest_size=16, key=self.stores[position - 1]).digest()
