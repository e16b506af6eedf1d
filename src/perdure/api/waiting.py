"""Waiting, outside of workflows, for what an invocation comes to. It reads, and commits nothing."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar, cast

from perdure.api.registry import Registry
from perdure.backends.base import InvocationRecord
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import InvocationState
from perdure.engine.outcome import ended_by
from perdure.engine.runtime import Runtime
from perdure.errors import InvocationDead, InvocationParked, PerdureError

T = TypeVar("T")

logger = logging.getLogger("perdure.api")

POLL_FIRST_SECONDS = 0.02
POLL_MAX_SECONDS = 0.5
"""Other processes cannot poke a waiter here, so it looks by itself, at growing intervals."""
DOUBT_SECONDS = 5.0
"""How long a wait for what nobody took and nobody here could take goes before that is logged."""
FAILURES_KEPT = 1_000
"""Trees whose last failure is kept for who waits for them; more than wait at a time."""


@dataclass(frozen=True, slots=True)
class Wanted(Generic[T]):
    """What somebody waits for.

    Attributes:
        look: finds it, or gives None; called with the record as it is now.
        timeout: seconds, or None.
        late: makes the error that is raised then.
        reads: it may come while the invocation goes on.
        is_run: this process runs the tree already, for as long as it is waited for.
    """

    key: InvocationKey
    look: Callable[[InvocationRecord], T | None]
    timeout: float | None
    late: Callable[[InvocationKey, float | None], PerdureError]
    reads: bool = False
    is_run: bool = False


class Here(Protocol):
    """While the block lasts, this process runs what is in a tree (if it is to)."""

    def __call__(
        self, root: InvocationKey, *, begins: bool = False
    ) -> AbstractContextManager[None]:
        """`begins`: the tree is about to be started, so there is nothing to look for yet."""
        ...


class Waiting:
    """How one app waits. Thread-safe.

    Args:
        runtime: gives the runtime of this process (another one after a fork).
        read: gives the record of a key, or raises.
        here: has this process run a tree while somebody waits for something in it.
    """

    def __init__(
        self,
        runtime: Callable[[], Runtime],
        registry: Registry,
        read: Callable[[InvocationKey], InvocationRecord],
        here: Here,
    ) -> None:
        """Wait for nothing yet."""
        self._runtime = runtime
        self._registry = registry
        self._read = read
        self._here = here
        self._failures: dict[InvocationKey | None, tuple[int, PerdureError]] = {}
        self._failure_count = 0

    def until(self, wanted: Wanted[T]) -> T:
        """Block until `wanted` finds something; whoever waits runs the invocation here, if it may.

        Raises:
            InvocationParked, InvocationDead: nothing was found, and it will not go on by itself.
        """
        signal = self._runtime().env.signal()
        with contextlib.closing(self._looks(wanted, signal.set)) as looks:
            while True:
                try:
                    left = next(looks)
                except StopIteration as found:
                    return cast("T", found.value)
                signal.wait(left)
                signal.clear()

    async def until_async(self, wanted: Wanted[T]) -> T:
        """As `until`, without blocking the running loop between looks."""
        import asyncio  # noqa: PLC0415 - asyncio costs 50 ms at import; only async code pays

        loop = asyncio.get_running_loop()
        event = asyncio.Event()

        def poke() -> None:
            with contextlib.suppress(RuntimeError):  # that loop has ended meanwhile
                loop.call_soon_threadsafe(event.set)

        with contextlib.closing(self._looks(wanted, poke)) as looks:
            while True:
                try:
                    left = next(looks)
                except StopIteration as found:
                    return cast("T", found.value)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(event.wait(), left)
                event.clear()

    def _looks(self, wanted: Wanted[T], poke: Callable[[], None]) -> Generator[float, None, T]:
        """Look again and again; yields how long to wait for a poke before the next look.

        An end that this process committed is known from that commit, once it is durable, and is
        not read again.
        """
        runtime, key, timeout = self._runtime(), wanted.key, wanted.timeout
        monotonic = runtime.env.monotonic
        began = monotonic()
        deadline = None if timeout is None else began + timeout
        pause, failures, doubt_at = POLL_FIRST_SECONDS, self._failure_count, began + DOUBT_SECONDS
        with self._listening(wanted, poke):
            record = self._read(key)  # after the listening began, so that no end comes in between
            if (found := wanted.look(record)) is not None:
                return found
            with contextlib.nullcontext() if wanted.is_run else self._here(record.root):
                may_run = bool(runtime.starters) and record.name in self._registry
                # Another process may do it; one that probably will not is listened for later.
                expect_at = began + (POLL_FIRST_SECONDS if may_run else 0.0)
                while True:
                    if monotonic() >= expect_at:
                        runtime.hearing.expect()
                        expect_at = float("inf")
                    self._refuse_stopped(record, failures)
                    doubt_at = self._doubt(record, doubt_at)
                    left = pause if deadline is None else min(pause, deadline - monotonic())
                    if left <= 0:
                        raise wanted.late(key, timeout)
                    yield left
                    pause = min(pause * 2, POLL_MAX_SECONDS)
                    end = None if wanted.reads else runtime.hub.end_of(key)
                    record = self._read(key) if end is None else ended_by(record, end)
                    if (found := wanted.look(record)) is not None:
                        return found

    def _listening(
        self, wanted: Wanted[T], poke: Callable[[], None]
    ) -> AbstractContextManager[None]:
        hub = self._runtime().hub
        return (hub.reading if wanted.reads else hub.listening)(wanted.key, poke)

    def _doubt(self, record: InvocationRecord, at: float) -> float:
        """Log, once per wait, that nobody may have the code; who waits goes on waiting.

        Args:
            record: as it is now.
            at: when (monotonic seconds) to look for that.

        Returns:
            When to do so next.
        """
        moment = self._runtime().env.monotonic()
        if moment < at:
            return at
        if record.name in self._registry or record.epoch:
            return float("inf")
        if record.wake_at is not None and record.wake_at > self._runtime().now(record.key):
            return moment + DOUBT_SECONDS  # a delayed start
        logger.warning(
            "Still waiting for invocation %r: no worker has taken it, and %r is not registered in "
            "this process. If the name is right, import the module that defines it, or start a "
            "worker that has it: perdure worker -A MODULE:APP",
            record.key.invocation_id,
            record.name,
        )
        return float("inf")

    def _refuse_stopped(self, record: InvocationRecord, failures: int) -> None:
        """Raise why it will not go on by itself, if so.

        Args:
            failures: how many failures of the state backend were known when the wait began.
        """
        for tree in (record.root, None):
            count, failure = self._failures.get(tree, (0, None))
            if failure is not None and count > failures:
                raise failure
        if record.state is InvocationState.PARKED:
            raise InvocationParked(record.reason)
        if record.state is InvocationState.DEAD:
            raise InvocationDead(record.reason)

    def fail(self, error: PerdureError, tree: InvocationKey | None = None) -> None:
        """What runs here failed: whoever waits for this tree (None: for anything) is told."""
        if len(self._failures) > FAILURES_KEPT:
            self._failures.clear()
        self._failure_count += 1
        self._failures[tree] = (self._failure_count, error)
        self._runtime().hub.everyone()
