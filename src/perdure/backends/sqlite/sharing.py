"""Writes of many threads in one transaction: one sync of the disk serves all of them.

The thread that finds no shared transaction under way leads: it opens one, does its own part, then
the parts of everyone who waits by then, and commits. Alone, it does so without any hand-off. Each
part is undone alone when it fails, and nobody is told "done" before the commit is.
"""

from __future__ import annotations

import copy
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from queue import Empty, SimpleQueue
from typing import Any, TypeVar, cast

from perdure.backends.sqlite.failures import FAILURES, translate
from perdure.backends.sqlite.gate import late, nested
from perdure.errors import BackendUnavailable, CommitUnknown

T = TypeVar("T")

Begin = Callable[[], AbstractContextManager[sqlite3.Connection]]
"""Opens a transaction that is durable when its block is left, or not there at all."""

PARTS_MAX = 64
"""Parts in one transaction: bounds how long one holds the writer."""

LOOK_AGAIN = 1.0
"""Seconds after which one who waits looks whether anybody leads at all: an interrupt
(KeyboardInterrupt) may have hit a leader just before it woke the next one."""


class _Part:
    """What one thread wants to write.

    Attributes:
        taken: a leader is about to do it; it has begun once it is not among those who wait.
        done: nobody works on it any more.
    """

    __slots__ = ("done", "error", "result", "taken", "wake", "work")

    def __init__(self, work: Callable[[sqlite3.Connection], Any]) -> None:
        self.work = work
        self.result: Any = None
        self.error: Exception | None = None
        self.taken = False
        self.done = False
        self.wake: SimpleQueue[None] | None = None


class Sharing:
    """The shared transactions of one database in one process. Used from any thread.

    Args:
        path: the database, for errors.
        timeout: seconds that a part waits for a leader.
        forget_now: called before each part but the first, so that each has a "now" of its own.
    """

    def __init__(self, path: str, timeout: float, forget_now: Callable[[], None]) -> None:
        self._path = path
        self._timeout = timeout
        self._forget_now = forget_now
        self._waiting: deque[_Part] = deque()
        self._leading = threading.Lock()
        self._leader: int | None = None

    def write(self, begin: Begin, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do `work` in a transaction, on whichever thread leads; return when it is durable.

        An exception of `work` undoes what it did, and is raised here.

        Raises:
            CommitUnknown: it may or may not have happened.
            BackendError: it did not happen.
        """
        if self._leader == threading.get_ident():
            raise nested()
        part = _Part(work)
        try:
            if not self._led(begin, part):
                self._follow(begin, part)
        except BaseException:
            # Given up or interrupted. What no leader has taken yet does not happen any more.
            self._take_back(part)
            self._name_leader()
            raise
        if part.error is not None:
            raise part.error
        return cast("T", part.result)

    def _follow(self, begin: Begin, part: _Part) -> None:
        """Wait until it is done, or lead."""
        wake = part.wake = SimpleQueue()
        deadline = time.monotonic() + self._timeout
        self._waiting.append(part)
        while not (part.done or self._led(begin, part)):
            left = deadline - time.monotonic()
            if left <= 0 and self._take_back(part):
                raise BackendUnavailable(late("write", self._timeout))
            try:
                wake.get(timeout=min(left, LOOK_AGAIN) if left > 0 else LOOK_AGAIN)
            except Empty:
                continue

    def _take_back(self, part: _Part) -> bool:
        """False if a leader has it, or had it."""
        try:
            self._waiting.remove(part)
        except ValueError:
            return False
        return True

    def _name_leader(self) -> None:
        """Wake the oldest who waits, to lead if nobody does by then."""
        if self._waiting:
            with suppress(IndexError):
                _wake(self._waiting[0])

    def _led(self, begin: Begin, own: _Part) -> bool:
        """Lead until this part is done; False at once while somebody else leads."""
        if not self._leading.acquire(blocking=False):
            return False
        try:
            self._leader = threading.get_ident()
            if not own.done:
                has_begun = not self._take_back(own) and own.taken
                if has_begun:
                    own.error = _interrupted()
                else:
                    self._lead(begin, own)
        finally:
            self._leader = None
            self._leading.release()
        # After the release: whoever came before it and found a leader is seen here.
        self._name_leader()
        return True

    def _lead(self, begin: Begin, own: _Part) -> None:
        others: list[_Part] = []
        try:
            with begin() as connection:
                # Alone so far, so what fails here undoes the transaction.
                own.result = own.work(connection)
                self._take_along(connection, others)
        except Exception as error:  # noqa: BLE001 - handed to each thread, which raises it
            own.error = error
            for part in others:
                part.error = part.error or copy.copy(error)
        except BaseException:
            for part in others:
                # It may be among those who wait still. Nobody may do it any more once its thread is
                # told, which reads back, or does it again.
                self._take_back(part)
                part.error = part.error or _interrupted()
            raise
        finally:
            for part in others:
                part.done = True
                _wake(part)

    def _take_along(self, connection: sqlite3.Connection, others: list[_Part]) -> None:
        """Do the parts of those who wait now, oldest first."""
        while self._waiting and len(others) < PARTS_MAX:
            try:
                part = self._waiting[0]
            except IndexError:
                return  # who is interrupted takes its part back at any time
            part.taken = True
            others.append(part)
            if self._take_back(part):
                self._do(connection, part)
            else:
                others.pop()

    def _do(self, connection: sqlite3.Connection, part: _Part) -> None:
        self._forget_now()
        connection.execute("SAVEPOINT part")
        try:
            part.result = part.work(connection)
        except Exception as error:
            if not connection.in_transaction:
                raise  # SQLite has undone all of it
            connection.execute("ROLLBACK TO part")
            part.error = translate(error, self._path) if isinstance(error, FAILURES) else error
        connection.execute("RELEASE part")


def _wake(part: _Part) -> None:
    if part.wake is not None:
        part.wake.put(None)


def _interrupted() -> CommitUnknown:
    return CommitUnknown(
        "The thread that wrote for several others was interrupted, and this write may or may not "
        "have happened. The caller reads back, or does it again, before it goes on."
    )
