"""A bell for other processes: counters in the lock file, and threads that look at them.

Who commits something that others may wait for counts up in the lock file while it holds the lock.
Who listens reads the counters now and then: often while something is expected or happened a moment
ago, else seldom. There is nothing to wait on: SQLite tells nobody of a commit, and what tells of a
change of a file differs from system to system and tells of our own changes, too.
"""

from __future__ import annotations

import os
import threading
import time
from array import array

from perdure.backends.hints import NOTHING, SLOTS, Heard, Hint

LOOK_SECONDS = 0.001
"""Between two looks while something is expected."""
LOOK_MAX_SECONDS = 0.08
"""Between two looks in a long silence: what comes then is heard so late at most. To wake up and to
look takes 0.1 to 0.15 ms, so this is less than a fifth of a percent of a core."""
SILENCE_SHARE = 16
"""The next look is made when the silence has become longer by one part in so many."""
CLOSE_SECONDS = 1.0
"""How long closing waits for the thread."""

_OFFSET = 64
"""Where the counters are in the lock file, behind the pid."""
_COUNTERS = SLOTS + 1
"""One for each bit of a hint."""
_BYTES = 4 * _COUNTERS
_WRAP = 1 << 32


class Bell:
    """The counters of one database as one process sees them. Thread-safe.

    Args:
        path: the lock file; whoever rings has made it.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._own = _counters(b"")
        self._listeners: list[_Listener] = []

    def ring(self, descriptor: int, hint: Hint) -> None:
        """Count up. The lock on this file is held."""
        try:
            counters = _counters(os.pread(descriptor, _BYTES, _OFFSET))
            while hint:
                number = hint.bit_length() - 1
                hint ^= 1 << number
                counters[number] = (counters[number] + 1) % _WRAP
                self._own[number] = (self._own[number] + 1) % _WRAP
            os.pwrite(descriptor, counters.tobytes(), _OFFSET)
        except OSError:
            return  # what others are told of has happened, and is found by polling

    def read(self) -> bytes:
        """The counters of all processes.

        The file is opened each time: it may have been made anew, and a fork must not share it.
        """
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return b""
        try:
            return os.pread(descriptor, _BYTES, _OFFSET)
        finally:
            os.close(descriptor)

    def without_own(self, counters: bytes) -> list[int]:
        """How often others rang. A ring of ours that is on its way may be one of theirs."""
        pairs = zip(_counters(counters), self._own, strict=True)
        return [(every - own) % _WRAP for every, own in pairs]

    def listen(self, heard: Heard) -> _Listener:
        """Call `heard` when others ring, until it is closed."""
        listener = _Listener(self, heard)
        self._listeners.append(listener)
        listener.start()
        return listener

    def close(self) -> None:
        """Close all who listen."""
        listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener.close()

    def abandon(self) -> None:
        """End the threads without waiting for them. It may be called inside one of them."""
        for listener in self._listeners:
            listener.end()


def _counters(found: bytes) -> array[int]:
    """From the lock file, which may end before them."""
    return array("I", found.ljust(_BYTES, b"\0"))


class _Listener:
    """Looks at the counters on a thread of its own. See `perdure.backends.hints.Ear`."""

    def __init__(self, bell: Bell, heard: Heard) -> None:
        self._bell = bell
        self._heard = heard
        self._seen = bell.read()
        self._others = bell.without_own(self._seen)
        self._since = time.monotonic()
        self._pause = 0.0
        self._ended = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="perdure-listen", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def expect(self) -> None:
        self._since = time.monotonic()
        if self._pause > 2 * LOOK_SECONDS:
            self._wake.set()

    def end(self) -> None:
        self._ended = True
        self._wake.set()

    def close(self) -> None:
        self.end()
        self._thread.join(CLOSE_SECONDS)

    def _run(self) -> None:
        while not self._ended:
            hint = self._look()
            if hint != NOTHING:
                self._since = time.monotonic()
                self._heard(hint)
            silence = time.monotonic() - self._since
            self._pause = min(max(silence / SILENCE_SHARE, LOOK_SECONDS), LOOK_MAX_SECONDS)
            self._wake.wait(self._pause)
            self._wake.clear()

    def _look(self) -> Hint:
        """What others told since the last look."""
        seen = self._bell.read()
        if seen == self._seen:
            return NOTHING
        before, self._seen = self._others, seen
        self._others = self._bell.without_own(seen)
        pairs = enumerate(zip(before, self._others, strict=True))
        return sum(1 << number for number, (here, there) in pairs if here != there)
