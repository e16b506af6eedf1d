"""Who in this process wants to know what happened: a table of flags, without any decision.

A poke is only a hint. Whoever is poked looks at the state backend; whoever is not poked looks
there by itself after its poll interval, so a lost hint costs time and never work.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager

from perdure.backends.base import Transition
from perdure.backends.hints import CLAIMABLE, Hint, slot_of
from perdure.core.identity import InvocationKey

Poke = Callable[[], None]


class Hub:
    """Subscriptions by invocation, and of workers for anything claimable. Thread-safe."""

    def __init__(self) -> None:
        """Start with nobody listening."""
        self._lock = threading.Lock()
        self._by_key: dict[InvocationKey, list[Poke]] = defaultdict(list)
        self._readers: dict[InvocationKey, list[Poke]] = defaultdict(list)
        self._ends: dict[InvocationKey, Transition] = {}
        self._workers: list[Poke] = []

    def subscribe(self, key: InvocationKey, poke: Poke) -> None:
        """Call `poke` whenever something about `key` changes here."""
        with self._lock:
            self._by_key[key].append(poke)

    def unsubscribe(self, key: InvocationKey, poke: Poke) -> None:
        """Undo one `subscribe`."""
        with self._lock:
            _remove(self._by_key, key, poke)
            if key not in self._by_key:
                self._ends.pop(key, None)

    @contextmanager
    def listening(self, key: InvocationKey, poke: Poke) -> Generator[None]:
        """Subscribe for the time of a with block."""
        self.subscribe(key, poke)
        try:
            yield
        finally:
            self.unsubscribe(key, poke)

    @contextmanager
    def reading(self, key: InvocationKey, poke: Poke) -> Generator[None]:
        """As `listening`, and also for what the invocation tells while it goes on."""
        with self.listening(key, poke):
            with self._lock:
                self._readers[key].append(poke)
            try:
                yield
            finally:
                with self._lock:
                    _remove(self._readers, key, poke)

    def told(self, key: InvocationKey) -> None:
        """This one committed something for its readers."""
        with self._lock:
            pokes = list(self._readers.get(key, ()))
        for poke in pokes:
            poke()

    def add_worker(self, poke: Poke) -> None:
        """Call `poke` whenever something became claimable here."""
        with self._lock:
            self._workers.append(poke)

    def remove_worker(self, poke: Poke) -> None:
        """Undo one `add_worker`."""
        with self._lock:
            self._workers.remove(poke)

    def touched(self, keys: Iterable[InvocationKey]) -> None:
        """These became claimable or got an inbox row."""
        with self._lock:
            pokes = [poke for key in keys for poke in self._by_key.get(key, ())]
            pokes += self._workers
        for poke in pokes:
            poke()

    def ended(self, key: InvocationKey, end: Transition | None = None) -> None:
        """This one changed its state for good, or stopped.

        Args:
            end: what made that durable, for those who listen now.
        """
        with self._lock:
            pokes = list(self._by_key.get(key, ()))
            if end is not None and pokes:
                self._ends[key] = end
        for poke in pokes:
            poke()

    def end_of(self, key: InvocationKey) -> Transition | None:
        """How it ended, if that was told since somebody listens for it."""
        return self._ends.get(key)

    def heard(self, hint: Hint) -> None:
        """Another process did something."""
        with self._lock:
            listed = self._by_key.items()
            found = [pokes for key, pokes in listed if hint & slot_of(key.invocation_id)]
            pokes = [poke for each in found for poke in each]
            if hint & CLAIMABLE:
                pokes += self._workers
        for poke in pokes:
            poke()

    def everyone(self) -> None:
        """Something that concerns all who listen for an invocation."""
        with self._lock:
            pokes = [poke for pokes in self._by_key.values() for poke in pokes]
        for poke in pokes:
            poke()


def _remove(table: dict[InvocationKey, list[Poke]], key: InvocationKey, poke: Poke) -> None:
    pokes = table[key]
    pokes.remove(poke)
    if not pokes:
        del table[key]
