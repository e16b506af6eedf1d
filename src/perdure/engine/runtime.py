"""What every attempt of one app shares in one process. A plain bundle; it decides nothing."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from perdure.backends.base import (
    Backend,
    Holding,
    InvocationRecord,
    NewInvocation,
    OnExisting,
    Started,
    Stop,
)
from perdure.backends.server import Spread
from perdure.core.draws import derive_seed
from perdure.core.identity import InvocationKey
from perdure.engine.bodies import BodyRunner
from perdure.engine.committer import Committer
from perdure.engine.env import Env
from perdure.engine.hearing import Hearing
from perdure.engine.hub import Hub
from perdure.engine.outcome import Unfinished
from perdure.errors import BodyDied, JournalCorrupted, PerdureError
from perdure.values import TypeRegistry

UNAVAILABLE_SECONDS = 5.0
"""Before a body is tried again that its executor could not run."""

logger = logging.getLogger("perdure.engine")
logging.getLogger("perdure").addHandler(logging.NullHandler())  # users choose where it goes


def log_stop(key: InvocationKey, stop: Stop) -> None:
    """Say that an invocation waits for a person now."""
    logger.error("%s is %s: %s", key.invocation_id, stop.state, stop.reason)


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Numbers that an attempt goes by. Seconds, unless the name says otherwise.

    Attributes:
        lease: how long a claim holds without renewal.
        grace: how long a waiting workflow keeps its frame before it is dropped.
        crash_limit: crashes without progress after which an invocation is dead.
    """

    lease: float = 30.0
    grace: float = 0.1
    crash_limit: int = 10


PAST_MAX = 10_000
"""Leases that were held before and are remembered: about 2 MB."""


class LeaseTable:
    """Leases that this process holds, and until when each is confirmed. Thread-safe.

    An attempt asks before each side effect; a lease that could not be confirmed in time counts as
    lost, although it may still be ours: stopping early costs a replay, going on could cost more.

    Attributes:
        claiming: held by a worker from its claim until the leases are in here. What the store says
            is ours and was never in here was taken unseen, then.
    """

    def __init__(self, env: Env, lease: float) -> None:
        """Start with none."""
        self._monotonic = env.monotonic
        self._margin = lease * 0.1
        self.claiming = threading.Lock()
        self._lock = threading.Lock()
        self._expected: set[Holding] = set()
        self._confirmed: dict[Holding, float] = {}
        self._past: dict[Holding, None] = {}

    def expect(self, holding: Holding) -> bool:
        """This lease is about to be asked for; False if somebody here has, had or expects it."""
        with self._lock:
            if holding in self._expected or holding in self._confirmed or holding in self._past:
                return False
            self._expected.add(holding)
            return True

    def forget(self, holding: Holding) -> None:
        """It was expected, or even granted, and nobody here goes on with it."""
        with self._lock:
            self._expected.discard(holding)
            self._confirmed.pop(holding, None)

    def add(self, key: InvocationKey, epoch: int, asked_at: float, lease: float) -> None:
        """A claim was asked for at `asked_at` (monotonic) and granted for `lease` seconds."""
        with self._lock:
            self._confirmed[Holding(key, epoch)] = asked_at + lease - self._margin
            self._expected.discard(Holding(key, epoch))

    def remove(self, key: InvocationKey, epoch: int) -> None:
        """The attempt is over."""
        with self._lock:
            self._confirmed.pop(Holding(key, epoch), None)
            self._past[Holding(key, epoch)] = None
            if len(self._past) > PAST_MAX:
                del self._past[next(iter(self._past))]

    def known(self) -> set[Holding]:
        """All that an attempt here has or will have, and the latest that one had.

        Some of them are let run out.
        """
        with self._lock:
            return {*self._expected, *self._confirmed, *self._past}

    def held(self) -> list[Holding]:
        """All of them, to renew."""
        with self._lock:
            return list(self._confirmed)

    def renewed(self, asked: list[Holding], kept: frozenset[Holding], until: float) -> None:
        """A renewal came back: `kept` hold until `until` (monotonic), the others are lost."""
        with self._lock:
            for holding in asked:
                if holding in self._confirmed:
                    self._confirmed[holding] = until - self._margin if holding in kept else 0.0

    def lose(self, holding: Holding) -> None:
        """The state backend says that it is not ours any more."""
        with self._lock:
            if holding in self._confirmed:
                self._confirmed[holding] = 0.0

    def is_live(self, holding: Holding) -> bool:
        """Whether the lease is confirmed for now."""
        return self._monotonic() < self._confirmed.get(holding, 0.0)


class Starter(Protocol):
    """A worker of this process that may take what is started beside it."""

    @property
    def is_ready(self) -> bool:
        """Whether it would take one, as far as its slots and its last look tell."""
        ...

    def start(self, new: NewInvocation, on_existing: OnExisting) -> Started | None:
        """Start it claimed, and run it; None if that may not be, and nothing happened then."""
        ...


@dataclass(slots=True)
class Runtime:
    """Backend, committer, env and tables of one app in one process.

    Attributes:
        stopping: set when attempts shall let go at their next wait or body.
        store_id: part of every seed, read once.
        claimer: the name under which this process claims and renews; one for all its workers.
        owner: what the api layer needs back from a context; carried, never looked at.
        hearing: tells the hub what other processes did.
        spread: which server has what; None where there is one server.
        failed: tells whoever waits for this tree here what holds it up.
        starters: the workers that run in this process now.
        emits_seen: how many emits a topic had at the last look, by topic.
    """

    app_name: str
    env: Env
    backend: Backend
    types: TypeRegistry
    settings: EngineSettings
    hub: Hub
    committer: Committer
    bodies: BodyRunner
    leases: LeaseTable
    store_id: bytes
    claimer: str
    owner: object
    failed: Callable[[PerdureError, InvocationKey], None]
    hearing: Hearing
    spread: Spread | None = None
    stopping: threading.Event = field(default_factory=threading.Event)
    starters: list[Starter] = field(default_factory=list)
    emits_seen: dict[str, int] = field(default_factory=dict)

    def now(self, key: InvocationKey) -> int:
        """The time by which the timers of this invocation are due."""
        return self.clock_of(key)()

    def check_identity(self, record: InvocationRecord) -> None:
        """What stands in two tables under one number belongs together, in a damaged file too.

        A seed follows from whose it is. (Over several servers each has seeds of its own, and they
        are PostgreSQL, which finds damage by itself.)

        Raises:
            JournalCorrupted: the arguments and the seed are those of another invocation.
        """
        if self.spread is None and record.seed != derive_seed(
            self.store_id, record.app, record.name, *record.key
        ):
            raise JournalCorrupted(
                f"The row of {record.key.invocation_id!r} (generation {record.key.generation}) "
                "leads to the arguments of another one, so the database is damaged. Restore it "
                "from a backup; they were not used."
            )

    def clock_of(self, key: InvocationKey) -> Callable[[], int]:
        """What gives the time by which the timers of this invocation are due.

        The clocks of two servers differ. By another one's, a claim that was due would find its
        timer not due, again and again.
        """
        spread = self.spread
        if spread is None:
            return self.backend.now
        return functools.partial(spread.now_at, key.invocation_id)


def due_again(
    runtime: Runtime, record: InvocationRecord, task: str, ended: Unfinished
) -> int | None:
    """When a body that was not run is tried again, by the state backend's clock.

    None if its process died under it. Whoever holds the lease must let it run out then, as if it
    had died too: that counts as a crash, and a body that always kills comes to the crash limit.
    """
    if isinstance(ended.error, BodyDied):
        logger.error("task %r of %s: %s It will run again.", task, record.key, ended.error)
        return None
    logger.warning("task %r of %s did not run: %s", task, record.key, ended.error)
    runtime.failed(ended.error, record.root)
    return runtime.now(record.key) + int(UNAVAILABLE_SECONDS * 1e6)
