"""What a backend offers to users who want their own rows in its database. Beside `Backend`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable


class OwnDatabase(NamedTuple):
    """The database of a backend, for transactions of others.

    Attributes:
        kind: "none" if there is none that others could use.
        where: path of the file, or connection string; the latter may hold a password.
        lend: gives a sqlite3 connection in turn with the writers of the backend. Nobody else
            writes until it comes back, so what is done in between must be short.
    """

    kind: Literal["none", "sqlite", "postgres"]
    where: str = ""
    lend: Callable[[], AbstractContextManager[Any]] | None = None


@runtime_checkable
class HasDatabase(Protocol):
    """A backend with a database."""

    def own_database(self) -> OwnDatabase:
        """Where it is, and how others get into it. Opens nothing."""
        ...
