"""What every attempt of one app shares in one process. A plain bundle; it decides nothing."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field

from perdure.backends.base import Backend, Holding, Stop
from perdure.core.identity import InvocationKey
from perdure.engine.bodies import BodyRunner
from perdure.engine.committer import Committer
from perdure.engine.env import Env
from perdure.engine.hub import Hub
from perdure.values import TypeRegistry

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


class LeaseTable:
    """Leases that this process holds, and until when each is confirmed. Thread-safe.

    An attempt asks before each side effect; a lease that could not be confirmed in time counts as
    lost, although it may still be ours: stopping early costs a replay, going on could cost more.
    """

    def __init__(self, env: Env, lease: float) -> None:
        """Start with none."""
        self._env = env
        self._margin = lease * 0.1
        self._lock = threading.Lock()
        self._confirmed: dict[Holding, float] = {}

    def add(self, key: InvocationKey, epoch: int, asked_at: float, lease: float) -> None:
        """A claim was asked for at `asked_at` (monotonic) and granted for `lease` seconds."""
        with self._lock:
            self._confirmed[Holding(key, epoch)] = asked_at + lease - self._margin

    def remove(self, key: InvocationKey, epoch: int) -> None:
        """The attempt is over."""
        with self._lock:
            self._confirmed.pop(Holding(key, epoch), None)

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

    def is_live(self, key: InvocationKey, epoch: int) -> bool:
        """Whether the lease is confirmed for now."""
        return self._env.monotonic() < self._confirmed.get(Holding(key, epoch), 0.0)


@dataclass(slots=True)
class Runtime:
    """Backend, committer, env and tables of one app in one process.

    Attributes:
        stopping: set when attempts shall let go at their next wait or body.
        store_id: part of every seed, read once.
        claimer: the name under which this process claims and renews; one for all its workers.
        owner: what the api layer needs back from a context; carried, never looked at.
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
    stopping: threading.Event = field(default_factory=threading.Event)
