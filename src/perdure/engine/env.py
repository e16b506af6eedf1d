"""The seam between the engine and the world: time, entropy, threads, waiting. Nothing else.

Everything in the engine, worker and api that needs one of these takes it from an `Env`, so that a
simulation can run the same code on virtual time with chosen chances.
"""

from __future__ import annotations

import contextvars
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Protocol

_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""A monotonic clock that also counts while the machine sleeps: leases run out then as well."""


class Signal(Protocol):
    """A flag that one thread waits for and others set. Setting it twice is setting it once."""

    def set(self) -> None:
        """Raise the flag and wake the waiter."""
        ...

    def clear(self) -> None:
        """Lower the flag."""
        ...

    def is_set(self) -> bool:
        """Whether the flag is up."""
        ...

    def wait(self, timeout: float | None = None) -> bool:
        """Wait at most `timeout` seconds; True if the flag is up."""
        ...


class HandOff(Protocol):
    """A queue through which one thread wakes another one that waits for it."""

    def put(self, item: None, /) -> None:
        """Hand over; whoever waits is woken."""
        ...

    def get(self, *, timeout: float) -> None:
        """Wait at most `timeout` seconds for what is handed over.

        Raises:
            queue.Empty: nothing was.
        """
        ...


class Env(Protocol):
    """What the engine takes from the world."""

    def now(self) -> int:
        """Wall clock, microseconds since 1970 UTC. May jump; only a backend decides by it."""
        ...

    def monotonic(self) -> float:
        """Seconds of a clock that never jumps back."""
        ...

    def entropy(self, count: int) -> bytes:
        """`count` bytes from the operating system, fit for secrets."""
        ...

    def new_id(self) -> str:
        """A fresh id for an invocation; ids sort by their time of creation."""
        ...

    def spawn(self, name: str, run: Callable[[], None]) -> None:
        """Run on a new daemon thread with an empty context."""
        ...

    def signal(self) -> Signal:
        """A new flag, down."""
        ...

    def hand_off(self) -> HandOff:
        """A new queue, empty; cheaper than a signal."""
        ...


TOKEN_BYTES = 16
"""The size that is asked for with every commit."""
_TOKENS_AT_ONCE = 64
_TOKEN_STARTS = range(0, TOKEN_BYTES * _TOKENS_AT_ONCE, TOKEN_BYTES)
_tokens: deque[bytes] = deque()
"""Entropy that nobody has had yet: asking the system for 16 bytes costs as much as for 1,024."""

# A forked child would hand out what its parent hands out.
os.register_at_fork(after_in_child=_tokens.clear)


class SystemEnv:
    """The real world."""

    def now(self) -> int:
        """Wall clock, microseconds since 1970 UTC."""
        return time.time_ns() // 1_000

    def monotonic(self) -> float:
        """Seconds since boot, with those that the machine slept."""
        return time.clock_gettime(_BOOT_CLOCK)

    def entropy(self, count: int) -> bytes:
        """Bytes of `os.urandom`."""
        if count != TOKEN_BYTES:
            return os.urandom(count)
        try:
            return _tokens.popleft()
        except IndexError:
            fresh = os.urandom(TOKEN_BYTES * _TOKENS_AT_ONCE)
            _tokens.extend([fresh[at : at + TOKEN_BYTES] for at in _TOKEN_STARTS])
            return os.urandom(TOKEN_BYTES)

    def new_id(self) -> str:
        """A UUID of version 7 (RFC 9562 section 5.7)."""
        if sys.version_info >= (3, 14):
            from uuid import uuid7  # noqa: PLC0415 - the older Pythons do not have it
        else:
            from uuid_utils import uuid7  # noqa: PLC0415 - the newer ones do not need it
        return str(uuid7())

    def spawn(self, name: str, run: Callable[[], None]) -> None:
        """Start a daemon thread.

        It starts in an empty context: a thread that we start while a workflow runs must not look
        like one that the workflow's code started (see `perdure.engine.context`).
        """
        thread = threading.Thread(target=run, name=name, daemon=True)
        contextvars.Context().run(thread.start)

    def signal(self) -> Signal:
        """A `threading.Event`."""
        return threading.Event()

    def hand_off(self) -> HandOff:
        """A `queue.SimpleQueue`."""
        made: SimpleQueue[None] = SimpleQueue()
        return made
