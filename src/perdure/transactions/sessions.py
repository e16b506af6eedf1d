"""Short work of our own in a user's database: for clean-up and relay, from sync code."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, cast

from perdure.transactions.ports import Door, Rows, Values, Verdict


class SyncSession(Protocol):
    """A session of a sync driver; see `perdure.transactions.ports.Session`."""

    tx: Any

    def begin(self) -> None: ...
    def seal(self) -> None: ...
    def fetch(self, name: str, values: Values) -> Rows: ...
    def change(self, name: str, values: Values) -> int: ...
    def commit(self) -> None: ...
    def verdict(self, error: BaseException) -> Verdict: ...
    def close(self) -> None: ...


@contextmanager
def open_session(door: Door) -> Generator[SyncSession, None, None]:
    """A session that is closed, and rolled back, whatever happens."""
    session = cast("SyncSession", door.open())
    try:
        yield session
    finally:
        session.close()


def fetch(door: Door, name: str, values: Values) -> Rows:
    """The rows of one statement."""
    with open_session(door) as session:
        return session.fetch(name, values)


def change(door: Door, statements: Sequence[tuple[str, Values]]) -> int:
    """Run these in one transaction; gives how many rows they changed."""
    if not statements:
        return 0
    with open_session(door) as session:
        session.begin()
        session.seal()
        count = sum(session.change(name, values) for name, values in statements)
        session.commit()
    return count
