"""A process that dies where it is told to: an `Env` that can be ended, and a backend that ends it.

Both live inside the test's own process. What dies is everything that was made with the `MortalEnv`
and the `FaultyBackend` of one app: its threads end, its waits raise, and none of its calls reaches
the state backend any more. What the wrapped backend holds at that moment is all that survives.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Callable, Collection, Sequence
from enum import StrEnum
from typing import Literal, NamedTuple, TypeVar

import msgspec

from perdure.backends.base import (
    Backend,
    ClaimBatch,
    ClaimRequest,
    CommitResult,
    Finish,
    Holding,
    InvocationQuery,
    InvocationRecord,
    NewInvocation,
    OnExisting,
    RegisterPut,
    RegisterResult,
    StartClaim,
    Started,
    Stop,
    Transition,
)
from perdure.backends.health import Health
from perdure.backends.hints import Ear, Heard
from perdure.backends.lending import HasDatabase, OwnDatabase
from perdure.backends.letters import InboxRow, Letter, Sent
from perdure.backends.limits import QueueStatus
from perdure.backends.server import Spread
from perdure.core.entries import Entry
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import InvocationState
from perdure.engine.env import SystemEnv
from perdure.errors import CommitUnknown

T = TypeVar("T")

ROWS_MAX = 100_000
"""Rows that a look at the whole store reads; a program under test has a handful."""


class SimulatedCrash(BaseException):
    """The process of this code is dead. It stands for a SIGKILL, so nothing may handle it."""


class Mode(StrEnum):
    """What happens at a durable boundary."""

    BEFORE = "before"
    """The process dies instead of making the call."""
    AFTER = "after"
    """The call is made, and the process dies before it learns the answer."""
    UNKNOWN = "unknown"
    """The call is made, and the process is told `CommitUnknown`; it lives on."""
    UNKNOWN_LOST = "unknown_lost"
    """The call is not made, and the process is told `CommitUnknown`; it lives on."""
    STOLEN = "stolen"
    """Another process takes all over and comes to the end; then the call is made, too late."""

    @property
    def is_deadly(self) -> bool:
        """Whether the process ends there."""
        return self in {Mode.BEFORE, Mode.AFTER}


Call = Literal[
    "start", "claim", "commit", "renew", "register_put", "resume", "send", "seize", "elsewhere"
]


class Fault(NamedTuple):
    """What shall go wrong: `mode`, at the `number`-th call that changes something, from 1."""

    number: int
    mode: Mode


_here = threading.local()


def env_of_thread() -> MortalEnv | None:
    """The process that this thread belongs to; None for one that no process started."""
    found: MortalEnv | None = getattr(_here, "env", None)
    return found


class MortalSignal:
    """A flag of a process that may die while somebody waits for it."""

    def __init__(self, env: MortalEnv) -> None:
        self._env = env
        self._event = threading.Event()

    def set(self) -> None:
        """Raise the flag and wake the waiter."""
        self._event.set()

    def clear(self) -> None:
        """Lower the flag."""
        self._event.clear()

    def is_set(self) -> bool:
        """Whether the flag is up."""
        return self._event.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait at most `timeout` seconds; True if the flag is up.

        Raises:
            SimulatedCrash: the process is dead, or died meanwhile.
        """
        self._env.check()
        up = self._event.wait(timeout)
        self._env.check()
        return up


class MortalEnv(SystemEnv):
    """The world of one process, until `kill`. Its threads end at their next wait."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._signals: weakref.WeakSet[MortalSignal] = weakref.WeakSet()
        self.dead = False

    def check(self) -> None:
        """Let nothing of a dead process go on.

        Raises:
            SimulatedCrash: it is dead.
        """
        if self.dead:
            raise SimulatedCrash

    def kill(self) -> None:
        """End the process: whoever waits for a signal of it is woken and raises."""
        with self._lock:
            self.dead = True
            signals = list(self._signals)
        for signal in signals:
            signal.set()

    def spawn(self, name: str, run: Callable[[], None]) -> None:
        """Start a thread that ends silently with the process."""

        def until_death() -> None:
            _here.env = self
            with contextlib.suppress(SimulatedCrash):
                run()

        super().spawn(name, until_death)

    def signal(self) -> MortalSignal:
        """A new flag, down."""
        made = MortalSignal(self)
        with self._lock:
            self._signals.add(made)
        return made


class FaultyBackend:
    """A state backend of one process, over the one that survives it.

    It counts the calls that change something (a claim that gets nothing does not) and lets `fault`
    happen at the call of that number. Calls that change something go through one at a time, so that
    what survives is a clean cut.

    Args:
        inner: what survives.
        env: the process, killed by a deadly fault.
        fault: what shall go wrong, or None.
        gone: owners of earlier processes. In truth they have the pid of this one, so a worker could
            not see that they are dead; their leases count as expired in every claim.

    Attributes:
        claimed_as: names under which this process claimed.
        calls: what was called at each boundary so far.
        struck: the call that the fault happened to, or None.
        meanwhile: what happens before a call of a process that was taken for dead.
    """

    def __init__(
        self,
        inner: Backend,
        env: MortalEnv,
        fault: Fault | None = None,
        gone: frozenset[str] = frozenset(),
    ) -> None:
        self._inner = inner
        self._env = env
        self._fault = fault
        self._gone = gone
        self._lock = threading.RLock()
        self.claimed_as: frozenset[str] = frozenset()
        self.calls: list[Call] = []
        self.struck: Call | None = None
        self.meanwhile: Callable[[], None] = _nothing

    # --- what changes something -----------------------------------------------------------------

    def elsewhere(self, run: Callable[[], T], modes: Collection[Mode]) -> T:
        """A step in another store, such as a user's database: a boundary as well, in these modes.

        In any other mode it is not struck. Stealing takes all over, so what others need must not
        be held then.
        """
        with self._lock:
            if self._is_fatal() in modes:
                return self._change("elsewhere", run)
            self._env.check()
            self.calls.append("elsewhere")
            return run()

    def own_database(self) -> OwnDatabase:
        """See `HasDatabase.own_database`."""
        self._env.check()
        inner = self._inner
        return inner.own_database() if isinstance(inner, HasDatabase) else OwnDatabase("none")

    def _is_fatal(self) -> Mode | None:
        """What happens to the next boundary, if anything."""
        if self._fault is None or self._fault.number != len(self.calls) + 1:
            return None
        return self._fault.mode

    def _change(self, call: Call, run: Callable[[], T]) -> T:
        with self._lock:
            self._env.check()
            mode = self._is_fatal()
            self.calls.append(call)
            if mode is None:
                return run()
            self.struck = call
            if mode is Mode.STOLEN:
                self.meanwhile()
                return run()
            if mode in {Mode.AFTER, Mode.UNKNOWN}:
                run()
            if mode.is_deadly:
                self._env.kill()
                raise SimulatedCrash
            raise CommitUnknown(f"A planted fault: the outcome of this {call} is left open.")

    def start(
        self, new: NewInvocation, on_existing: OnExisting, claim: StartClaim | None = None
    ) -> Started:
        """See `Backend.start`."""
        if claim is not None:
            with self._lock:
                self.claimed_as |= {claim.owner}
        return self._change("start", lambda: self._inner.start(new, on_existing, claim))

    def claim(self, request: ClaimRequest) -> ClaimBatch:
        """See `Backend.claim`. One that gets nothing is no boundary."""
        with self._lock:
            self._env.check()
            self.claimed_as |= {request.owner}
            request = msgspec.structs.replace(request, dead_owners=request.dead_owners | self._gone)
            if self._is_fatal() is not None:
                now = self._inner.now()
                due = self._due(request, now)
                if not any(at <= now for at in due):
                    return ClaimBatch((), now, min(due, default=None))
                return self._change("claim", lambda: self._inner.claim(request))
            batch = self._inner.claim(request)
            if batch.records:
                self.calls.append("claim")
            return batch

    def _due(self, request: ClaimRequest, now: int) -> list[int]:
        """When each row that the request fits is or was claimable, as far as time decides."""
        live = InvocationQuery(
            app=request.app,
            states=(InvocationState.READY, InvocationState.WAITING, InvocationState.RUNNING),
            limit=ROWS_MAX,
        )
        return [
            due
            for row in self._inner.query(live)
            if row.name in request.names and (request.roots is None or row.root in request.roots)
            if (due := _due(row, request, now)) is not None
        ]

    def renew(self, owner: str, holdings: Sequence[Holding], lease: int) -> frozenset[Holding]:
        """See `Backend.renew`."""
        return self._change("renew", lambda: self._inner.renew(owner, holdings, lease))

    def commit(self, transitions: Sequence[Transition]) -> list[CommitResult]:
        """See `Backend.commit`."""
        return self._change("commit", lambda: self._inner.commit(transitions))

    def register_put(self, put: RegisterPut) -> RegisterResult:
        """See `Backend.register_put`."""
        return self._change("register_put", lambda: self._inner.register_put(put))

    def seize(
        self, key: InvocationKey, epoch: int, token: bytes, disposition: Finish | Stop
    ) -> CommitResult:
        """See `Backend.seize`."""
        return self._change("seize", lambda: self._inner.seize(key, epoch, token, disposition))

    def send(self, key: InvocationKey, letter: Letter) -> Sent:
        """See `Backend.send`."""
        return self._change("send", lambda: self._inner.send(key, letter))

    def resume(self, key: InvocationKey) -> bool:
        """See `Backend.resume`."""
        return self._change("resume", lambda: self._inner.resume(key))

    # --- what does not --------------------------------------------------------------------------

    def store_id(self) -> bytes:
        """See `Backend.store_id`."""
        self._env.check()
        return self._inner.store_id()

    def now(self) -> int:
        """See `Backend.now`."""
        self._env.check()
        return self._inner.now()

    def read(
        self, invocation_id: str, generation: int | None = None, *, locked: bool = False
    ) -> InvocationRecord | None:
        """See `Backend.read`."""
        self._env.check()
        return self._inner.read(invocation_id, generation, locked=locked)

    def query(self, query: InvocationQuery) -> list[InvocationRecord]:
        """See `Backend.query`."""
        self._env.check()
        return self._inner.query(query)

    def read_journal(self, key: InvocationKey, start: int = 0) -> list[Entry]:
        """See `Backend.read_journal`."""
        self._env.check()
        return self._inner.read_journal(key, start)

    def read_inbox(self, key: InvocationKey) -> list[InboxRow]:
        """See `Backend.read_inbox`."""
        self._env.check()
        return self._inner.read_inbox(key)

    def read_data(self, key: InvocationKey) -> dict[str, bytes]:
        """See `Backend.read_data`."""
        self._env.check()
        return self._inner.read_data(key)

    def register_get(
        self, app: str, workflow_type: str, workflow_id: str, key: str
    ) -> bytes | None:
        """See `Backend.register_get`."""
        self._env.check()
        return self._inner.register_get(app, workflow_type, workflow_id, key)

    def queues(self, app: str) -> list[QueueStatus]:
        """See `Backend.queues`."""
        self._env.check()
        return self._inner.queues(app)

    def past_deadline(self, app: str, limit: int) -> list[InvocationRecord]:
        """See `Backend.past_deadline`."""
        self._env.check()
        return self._inner.past_deadline(app, limit)

    def owners(self) -> frozenset[str]:
        """See `Backend.owners`."""
        self._env.check()
        return self._inner.owners()

    def hints(self, heard: Heard) -> Ear | None:
        """See `Backend.hints`. There are none: when one arrives is up to chance."""
        del heard
        return None

    def health(self) -> Health:
        """See `Backend.health`."""
        self._env.check()
        return self._inner.health()

    def close(self) -> None:
        """Nothing: what survives is closed by who made it."""


class FaultySpread(FaultyBackend):
    """The same over several servers. What it is told of places, it is told without a fault."""

    def __init__(
        self,
        inner: Backend,
        env: MortalEnv,
        fault: Fault | None = None,
        gone: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__(inner, env, fault, gone)
        assert isinstance(inner, Spread)
        self._places: Spread = inner

    def fresh_id(self, made: str) -> str:
        """See `Spread.fresh_id`."""
        self._env.check()
        return self._places.fresh_id(made)

    def beside(self, made: str, invocation_id: str) -> str:
        """See `Spread.beside`."""
        self._env.check()
        return self._places.beside(made, invocation_id)

    def position(self, invocation_id: str) -> int:
        """See `Spread.position`."""
        self._env.check()
        return self._places.position(invocation_id)

    def carry(self) -> None:
        """See `Spread.carry`."""
        self._env.check()
        self._places.carry()

    def _due(self, request: ClaimRequest, now: int) -> list[int]:
        self._places.carry()
        return super()._due(request, now)

    def now_at(self, invocation_id: str) -> int:
        """See `Spread.now_at`."""
        self._env.check()
        return self._places.now_at(invocation_id)


def _nothing() -> None:
    return


def _due(row: InvocationRecord, request: ClaimRequest, now: int) -> int | None:
    match row.state:
        case InvocationState.READY:
            return row.wake_at or now
        case InvocationState.WAITING:
            return row.wake_at
        case _:
            return now if row.owner in request.dead_owners else row.lease_until
