"""Virtual time: it stands still while anything runs, and skips to the next thing that is due.

The clock of the state backend is the only one that decides when something is due, so it is the only
one that is virtual. Task bodies, timeouts of bodies and everything else take real time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import cast

from perdure.backends.base import (
    Backend,
    ClaimBatch,
    ClaimRequest,
    CommitResult,
    InvocationQuery,
    InvocationRecord,
    Suspend,
    Transition,
)
from perdure.backends.hints import CLAIMABLE, Ear, Heard
from perdure.core.lifecycle import TERMINAL, InvocationState
from perdure.engine.topics import TOPIC
from perdure.errors import ConfigurationError
from perdure.testing.faults import ROWS_MAX, Fault, FaultyBackend, MortalEnv

START = datetime(2030, 1, 1, tzinfo=UTC)
"""When virtual time begins, unless it is told otherwise: the same in every run."""
LIMITED_MICROSECONDS = 250_000
"""How far time skips for what is due and is kept back by the rate of its queue."""

_MICROSECOND = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OPEN = tuple(each for each in InvocationState if each not in TERMINAL)
_LIVE = (InvocationState.READY, InvocationState.WAITING, InvocationState.RUNNING)


class VirtualClock:
    """A clock that goes only where it is put. Thread-safe.

    Args:
        start: its first moment, an aware datetime.

    Raises:
        ConfigurationError: it has no time zone.
    """

    def __init__(self, start: datetime = START) -> None:
        if not isinstance(cast("object", start), datetime) or start.tzinfo is None:
            raise ConfigurationError(
                f"start={start!r} is no moment with a time zone. Give one: "
                "datetime(..., tzinfo=UTC)."
            )
        self._lock = threading.Lock()
        self._now = (start - _EPOCH) // _MICROSECOND

    def __call__(self) -> int:
        """Microseconds since 1970 UTC."""
        return self._now

    @property
    def now(self) -> datetime:
        """The moment, aware UTC."""
        return _EPOCH + timedelta(microseconds=self._now)

    def go_to(self, moment: int) -> None:
        """Skip to a moment in microseconds; never back."""
        with self._lock:
            self._now = max(self._now, moment)


class _Ear:
    """One that is told until it is closed. See `perdure.backends.hints.Ear`."""

    def __init__(self, ears: set[_Ear], heard: Heard) -> None:
        self._ears = ears
        self.heard = heard
        ears.add(self)

    def expect(self) -> None:
        """It hears at once anyway."""

    def close(self) -> None:
        self._ears.discard(self)


class TimedBackend(FaultyBackend):
    """A state backend that skips time when a claim finds nothing and nothing runs.

    It does so while somebody in this process waits for a result, or while `let_pass` waits.
    Otherwise time stands still, so that a test decides what happens before a timer fires.

    Attributes:
        is_held: whether time stands still, whoever waits.
        next_tick: when a schedule is due next after a moment; None for never.
        on_tick: told that one is due now; time stands still until `ticked`.
        drops: how often a workflow's frame was dropped at a wait.
    """

    def __init__(
        self,
        inner: Backend,
        env: MortalEnv,
        clock: VirtualClock,
        fault: Fault | None = None,
        gone: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__(inner, env, fault, gone)
        self._clock = clock
        self._ears: set[_Ear] = set()
        self._requests: dict[object, ClaimRequest] = {}
        self._goal: int | None = None
        self._reached = threading.Event()
        self.is_held: Callable[[], bool] = bool
        self.next_tick: Callable[[int], int | None] = _never
        self.on_tick: Callable[[], None] = _nothing
        self._ticking = False
        self.drops = 0

    def claim(self, request: ClaimRequest) -> ClaimBatch:
        """See `Backend.claim`."""
        with self._lock:  # so that nothing changes between the claim and the look
            self._requests[request.roots is None, request.queues] = request
            while True:
                batch = super().claim(request)
                if batch.records or not self._skip(request):
                    return batch

    def commit(self, transitions: Sequence[Transition]) -> list[CommitResult]:
        """See `Backend.commit`."""
        results = super().commit(transitions)
        self.drops += sum(isinstance(each.disposition, Suspend) for each in transitions)
        if any(each.disposition is not None for each in transitions):
            self.poke()
        return results

    def hints(self, heard: Heard) -> Ear:
        """See `Backend.hints`: workers hear of each lease that ends, for time may skip then."""
        return _Ear(self._ears, heard)

    def poke(self) -> None:
        """Have the workers look."""
        for ear in list(self._ears):
            ear.heard(CLAIMABLE)

    def ticked(self) -> None:
        """What was due is started; time may go on."""
        with self._lock:
            self._ticking = False
        self.poke()

    def let_pass(self, until: int, timeout: float) -> bool:
        """Let time pass up to a moment in microseconds, with all that comes due until then.

        False if something still runs after `timeout` real seconds.
        """
        with self._lock:
            self._reached.clear()
            self._goal = until
        self.poke()
        return self._reached.wait(timeout)

    @property
    def moment(self) -> datetime:
        """The virtual moment, aware UTC."""
        return self._clock.now

    def is_stuck(self) -> bool:
        """Whether nothing runs, and nothing will ever be due: only somebody outside can help."""
        with self._lock:
            now = self._clock()
            if self._ticking or self.is_held() or self.next_tick(now) is not None:
                return False
            looks = [self._upcoming(each, now) for each in self._requests.values()]
            return bool(looks) and all(each is None for each in looks)

    def _skip(self, request: ClaimRequest) -> bool:
        """Skip to what comes next; False if time stands still now."""
        if self._ticking or self.is_held() or not (request.roots or self._goal is not None):
            return False
        now, goal = self._clock(), self._goal
        if goal is None and not self._is_open(request):
            return False  # what is waited for has come, and whoever waits is about to see it
        upcoming = self._upcoming(request, now)
        if upcoming is not None and upcoming <= now:
            return False
        if goal is not None and now >= goal:
            self._goal = None
            self._reached.set()
            return False
        tick = self.next_tick(now)
        moment = min((each for each in (upcoming, goal, tick) if each is not None), default=None)
        if moment is None:
            return False
        self._clock.go_to(moment)
        if moment == tick:
            self._ticking = True
            self.on_tick()
        return True

    def _is_open(self, request: ClaimRequest) -> bool:
        """Whether anything of what somebody waits for goes on still."""
        rows = self._inner.query(InvocationQuery(app=request.app, states=_OPEN, limit=ROWS_MAX))
        return any(row.root in (request.roots or ()) for row in rows)

    def _upcoming(self, request: ClaimRequest, now: int) -> int | None:
        """When something of the app is due next: None for never, `now` while something runs."""
        rows = self._inner.query(InvocationQuery(app=request.app, states=_LIVE, limit=ROWS_MAX))
        found: list[int] = []
        for row in rows:
            if row.name == TOPIC:  # nobody runs an emit, also where a crash left it claimed
                continue
            if row.state is InvocationState.RUNNING:
                return now
            at = row.wake_at if row.state is InvocationState.WAITING else row.wake_at or now
            if at is None:
                continue
            if at > now:
                found.append(at)
            elif _fits(row, request):
                found.append(now + LIMITED_MICROSECONDS)  # else this claim would have taken it
            elif any(_fits(row, other) for other in self._requests.values()):
                return now
        return min(found, default=None)


def _fits(row: InvocationRecord, request: ClaimRequest) -> bool:
    in_tree = request.roots is None or row.root in request.roots
    served = request.queues is None or row.queue in request.queues
    return in_tree and served and row.name in request.names


def _never(after: int) -> None:
    del after


def _nothing() -> None:
    return
