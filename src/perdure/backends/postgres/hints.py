"""NOTIFY and LISTEN: hints to other processes that something may be claimable.

A hint decides nothing. Whoever hears one looks at the database; whoever hears none looks there by
itself in time, so a lost hint costs time and never work. Hints are told on a thread of their own,
in transactions of their own, and seldom: the commit of a NOTIFY takes a lock that all of them
share, and an append must not wait for it.
"""

from __future__ import annotations

import logging
import os
import random
import selectors
import threading
import time
from collections.abc import Callable

import psycopg

from perdure.backends.forks import watch_forks
from perdure.backends.hints import ANYTHING, NOTHING, Heard, Hint
from perdure.backends.postgres.connections import abandon, close, connect
from perdure.backends.postgres.sql import text
from perdure.backends.postgres.store import Store
from perdure.errors import PerdureError

TELL_SECONDS = 0.002
TELL_MAX_SECONDS = 0.1
"""After a hint comes a pause; what there is to tell by then is told together, and doubles the next
pause, up to so much. So a hint now and then is told at once, and of a stream ten in a second."""
CLOSE_SECONDS = 1.0
"""How long closing waits for the last hint."""
PROOF_SECONDS = 5.0
"""A note to ourselves that did not come back in this time is lost."""
PROVE_EVERY = 30.0
"""Seconds between two notes to ourselves: a silent connection may be a dead one."""
PAUSE_MAX = 30.0
"""Seconds between two tries to connect, at most."""

logger = logging.getLogger("perdure.postgres")


class Hints:
    """What one backend tells others and hears from them. Thread-safe.

    Threads start when they are needed; they hold the store and never the backend, so that a backend
    which nobody holds any more ends them.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._start_afresh()
        watch_forks(self)

    def _start_afresh(self) -> None:
        self._lock = threading.RLock()
        self._teller: _Teller | None = None
        self._listeners: list[_Listener] = []
        self._name = os.urandom(8).hex()

    def tell(self, hint: Hint) -> None:
        """Tell others. Returns at once; never fails, for what it tells of has happened."""
        try:
            with self._lock:
                if self._teller is None:
                    self._teller = _Teller(
                        lambda told: self._note(_written(self._name, told)), self._store.close
                    )
                self._teller.wanted(hint)
        except RuntimeError as error:  # no thread can be started, now or any more
            logger.debug("a hint was not told: %s", error)

    def listen(self, heard: Heard) -> _Listener:
        """Call `heard` for hints of others until it is closed."""
        listener = _Listener(self._store, self._name, lambda: self._note(""), heard)
        with self._lock:
            self._listeners.append(listener)
        listener.start()
        return listener

    def close(self) -> None:
        """Tell what is still to be told, and stop listening. It may be used again."""
        with self._lock:
            teller, self._teller = self._teller, None
            listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener.close()
        if teller is not None:
            teller.close()

    def abandon(self) -> None:
        """Nobody holds the backend: end the threads without waiting, and close the store.

        It may be called by the garbage collector inside of one of the threads, with locks of the
        store held; so where there is a teller it closes the store at its end.
        """
        for listener in self._listeners:
            listener.end()
        if self._teller is None:
            self._store.close()
        else:
            self._teller.end(closes=True)

    def _note(self, note: str) -> None:
        self._store.change("tell", {"note": note})

    # --- forks -----------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Nothing to do: the child has none of the threads."""

    def after_fork_in_parent(self) -> None:
        """Go on."""

    def after_fork_in_child(self) -> None:
        """Start afresh, and never close what the parent still uses."""
        for listener in self._listeners:
            listener.forked()
        self._start_afresh()


def _written(name: str, hint: Hint) -> str:
    """A hint as a note, with the name of who tells it."""
    return f"{name} {hint:x}"


def _read(note: str) -> tuple[str, Hint]:
    """Who told it, and what. Notes of other versions may have the name alone, or something else."""
    name, _, told = note.partition(" ")
    try:
        return name, int(told, 16) & ANYTHING
    except ValueError:
        return name, ANYTHING


class _Teller:
    """Tells on a thread of its own: the first hint at once, what comes meanwhile as one."""

    def __init__(self, tell: Callable[[Hint], None], finish: Callable[[], None]) -> None:
        self._tell = tell
        self._finish = finish
        self._changed = threading.Condition(threading.RLock())
        self._pending: Hint = NOTHING
        self._closes = False
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="perdure-tell", daemon=True)
        self._thread.start()

    def wanted(self, hint: Hint) -> None:
        with self._changed:
            self._pending |= hint
            self._changed.notify()

    def end(self, *, closes: bool) -> None:
        """End after what is pending; close the store then if `closes`."""
        with self._changed:
            self._closes = closes
            self._ending.set()
            self._changed.notify()

    def close(self) -> None:
        self.end(closes=False)
        self._thread.join(CLOSE_SECONDS)

    def _run(self) -> None:
        pause = TELL_SECONDS
        while (hint := self._next()) != NOTHING:
            try:
                self._tell(hint)
            except PerdureError as error:
                logger.debug("a hint was not told: %s", error)
            self._ending.wait(pause)
            pause = TELL_SECONDS if self._pending == NOTHING else min(2 * pause, TELL_MAX_SECONDS)
        if self._closes:
            self._finish()

    def _next(self) -> Hint:
        with self._changed:
            self._changed.wait_for(lambda: self._pending != NOTHING or self._ending.is_set())
            pending, self._pending = self._pending, NOTHING
            return pending


class _Deaf(Exception):
    """A note to ourselves did not arrive."""


class _Listener:
    """Listens on a session of its own, and proves by notes to itself that it hears.

    See `perdure.backends.hints.Ear`.

    Args:
        name: ours; what our own hints tell is known here without them.
        prove: sends a note to everybody that is no hint, on another connection.
        heard: called for each hint, and when hints may have been missed.
    """

    def __init__(self, store: Store, name: str, prove: Callable[[], None], heard: Heard) -> None:
        self._store = store
        self._name = name
        self._prove = prove
        self._heard = heard
        self._connection: psycopg.Connection | None = None
        self._has_heard = False
        self._ending = threading.Event()
        self._lock = threading.RLock()
        self._wake: int | None = None
        self._thread = threading.Thread(target=self._run, name="perdure-listen", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def expect(self) -> None:
        """It hears at once anyway."""

    def end(self) -> None:
        """End soon."""
        with self._lock:
            self._ending.set()
            if self._wake is not None:
                os.write(self._wake, b"\0")

    def close(self) -> None:
        """End now, if the server does not keep us waiting."""
        self.end()
        self._thread.join(CLOSE_SECONDS)

    def forked(self) -> None:
        """In the child of a fork: the session is the parent's."""
        if self._connection is not None:
            abandon([self._connection])

    def _run(self) -> None:
        woken, wake = os.pipe()
        with self._lock:
            self._wake = wake
        try:
            self._listen_until_ended(woken)
        finally:
            with self._lock:
                self._wake = None
            os.close(wake)
            os.close(woken)

    def _listen_until_ended(self, woken: int) -> None:
        failures = 0
        while not self._ending.is_set():
            began = time.monotonic()
            try:
                self._listen(woken)
            except (psycopg.Error, PerdureError) as error:
                logger.debug("listening for hints ended: %s", type(error).__name__)
            except _Deaf:
                if not self._has_heard:
                    logger.info(
                        "%s: no hints are heard through what is in between (a pooler?); work is "
                        "looked for by polling",
                        self._store.target.shown,
                    )
                    return
            failures = 0 if time.monotonic() - began > PAUSE_MAX else failures + 1
            # Many listeners lose one server at once; they must not all come back at once.
            pause = min(PAUSE_MAX, 0.1 * 2.0**failures)
            self._ending.wait(random.uniform(0.5, 1) * pause)  # noqa: S311 - jitter, no secret

    def _listen(self, woken: int) -> None:
        if self._store.is_pooled():
            raise _Deaf
        connection = self._connection = connect(self._store.target)
        try:
            connection.execute(text("listen"))
            with selectors.DefaultSelector() as selector:
                selector.register(woken, selectors.EVENT_READ)
                selector.register(connection.fileno(), selectors.EVENT_READ)
                try:
                    self._hear(connection, selector)
                except _Deaf:
                    # Where a pooler hid itself, some session of the server may listen for ever.
                    connection.execute(text("unlisten"))
                    raise
        finally:
            self._connection = None
            close(connection)

    def _hear(self, connection: psycopg.Connection, selector: selectors.BaseSelector) -> None:
        """Until we shall end. A long silence is broken by a note to ourselves.

        Raises:
            _Deaf: that did not arrive.
            psycopg.Error: the connection was lost.
        """
        is_first = True
        asked = False
        due = time.monotonic()
        while not self._ending.is_set():
            if time.monotonic() >= due:
                if asked:
                    raise _Deaf
                self._prove()
                asked, due = True, time.monotonic() + PROOF_SECONDS
            selector.select(max(0.0, due - time.monotonic()))
            notes = {note.payload for note in connection.notifies(timeout=0)}
            if not notes:
                continue
            asked, due = False, time.monotonic() + PROVE_EVERY
            self._has_heard = True
            hint = ANYTHING if is_first else NOTHING
            is_first = False
            for name, told in map(_read, notes - {""}):
                if name != self._name:
                    hint |= told
            if hint != NOTHING:
                self._heard(hint)
