"""Empty stores on virtual time, for tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, cast

from perdure.backends.base import Backend, InvocationQuery
from perdure.backends.memory_server import MemoryServer
from perdure.backends.sqlite import SQLiteBackend
from perdure.errors import ConfigurationError
from perdure.testing.virtual import VirtualClock

STORE_ID = b"perdure-testing!"
"""One for all runs, so that what workflows draw is the same in all of them."""

MakeStore = Callable[[VirtualClock], Backend]
Store = Literal["memory", "sqlite"] | MakeStore
"""How a test names its store: in memory, in a temporary file, or made by a function."""


class _Temporary(SQLiteBackend):
    """A SQLite store that takes its folder along."""

    def __init__(self, clock: VirtualClock) -> None:
        self._folder = TemporaryDirectory(prefix="perdure-")
        path = Path(self._folder.name) / "test.db"
        super().__init__(path, synchronous="normal", now=clock, store_id=STORE_ID)

    def close(self) -> None:
        """See `Backend.close`."""
        super().close()
        self._folder.cleanup()


def in_memory(clock: VirtualClock) -> Backend:
    """An empty store in memory."""
    return MemoryServer(clock, STORE_ID)


_STORES: dict[str, MakeStore] = {"memory": in_memory, "sqlite": _Temporary}


def make_store(given: object) -> MakeStore:
    """What makes the store that a caller named.

    Raises:
        ConfigurationError: there is no such store.
    """
    if callable(given):
        return cast("MakeStore", given)
    if isinstance(given, str) and given in _STORES:
        return _STORES[given]
    raise ConfigurationError(
        f"store={given!r}: expected 'memory', 'sqlite' or a function of a clock that makes an "
        "empty state backend."
    )


def open_store(make: MakeStore, clock: VirtualClock, app: str) -> Backend:
    """An empty store for the app of this name.

    Raises:
        ConfigurationError: the function that a test gave makes none, or one that is not empty.
    """
    store = make(clock)
    if not hasattr(store, "read_journal"):
        raise ConfigurationError(
            f"store={make!r} gave {store!r}: expected a state backend, such as MemoryBackend(now)."
        )
    if found := store.query(InvocationQuery(app=app, limit=1)):
        raise ConfigurationError(
            f"store={make!r} gave a state backend that holds {str(found[0].key)!r} already. It is "
            "called for each run: let it make an empty one each time."
        )
    return store
