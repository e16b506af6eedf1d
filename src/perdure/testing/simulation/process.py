"""Processes of a simulation: each has an `Env` on virtual time, which ends with it."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from queue import Empty

from perdure.testing.simulation.threads import LOOKS_MAX, Crashed, Scheduler, SimulatedThread


class Process:
    """One process: what it was told of the time, and its threads, until it dies.

    Args:
        skew: microseconds that its wall clock is ahead.
        pace: seconds that its monotonic clock counts in a true one.
        late: gives the microseconds by which a wake-up comes late.
        loops: called when a thread of it seems to loop for ever.

    Attributes:
        dead: nothing of it goes on.
        stopped_until: as after a SIGSTOP, nothing of it goes on before this time.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        name: str,
        *,
        skew: int = 0,
        pace: float = 1.0,
        late: Callable[[], int] = lambda: 0,
        loops: Callable[[], None] = lambda: None,
    ) -> None:
        """A process that runs nothing yet."""
        self.scheduler = scheduler
        self.name = name
        self.skew = skew
        self.pace = pace
        self.late = late
        self.loops = loops
        self.dead = False
        self.stopped_until = 0
        self._threads: list[SimulatedThread] = []
        self._mourners: list[SimulatedThread] = []

    def check(self) -> None:
        """Let nothing of a dead process go on.

        Raises:
            Crashed: it is dead.
        """
        if self.dead:
            raise Crashed
        scheduler = self.scheduler
        scheduler.looks += 1
        if scheduler.looks > LOOKS_MAX:
            self.loops()
            raise Crashed

    def spawn(self, name: str, run: Callable[[], None]) -> None:
        """Start a thread of it."""
        self.check()
        self._threads.append(self.scheduler.spawn(f"{self.name}/{name}", self, run))

    def kill(self) -> None:
        """End it: its threads end where they wait, one after the other."""
        if not self.dead:
            self.dead = True
            for thread in (*self._threads, *self._mourners):
                self.scheduler.wake(thread)

    def outlive(self) -> None:
        """Let the current thread, of another process, wait until this one is dead."""
        thread = self.scheduler.current
        if thread is not None and not self.dead:
            self._mourners.append(thread)
            self.scheduler.wait(None)


class SimulatedSignal:
    """A flag on virtual time; see `perdure.engine.env.Signal`."""

    __slots__ = ("_process", "_up", "_waiting")

    def __init__(self, process: Process) -> None:
        """Down."""
        self._process = process
        self._up = False
        self._waiting: SimulatedThread | None = None

    def set(self) -> None:
        """Raise the flag and wake the waiter, perhaps a little late."""
        self._up = True
        if self._waiting is not None:
            process = self._process
            process.scheduler.wake(self._waiting, process.late())

    def clear(self) -> None:
        """Lower the flag."""
        self._up = False

    def is_set(self) -> bool:
        """Whether the flag is up."""
        return self._up

    def wait(self, timeout: float | None = None) -> bool:
        """Wait at most `timeout` seconds of the process; True if the flag is up.

        Raises:
            Crashed: the process is dead, or died meanwhile.
        """
        process = self._process
        process.check()
        if not self._up:
            scheduler = process.scheduler
            self._waiting = scheduler.current
            scheduler.wait(None if timeout is None else int(timeout * 1e6 / process.pace) + 1)
            self._waiting = None
            process.check()
        return self._up


class SimulatedHandOff:
    """A queue on virtual time; see `perdure.engine.env.HandOff`."""

    __slots__ = ("_items", "_signal")

    def __init__(self, process: Process) -> None:
        """Empty."""
        self._items: deque[None] = deque()
        self._signal = SimulatedSignal(process)

    def put(self, item: None) -> None:
        """Hand over, and wake the waiter."""
        self._items.append(item)
        self._signal.set()

    def get(self, *, timeout: float) -> None:
        """Take what was handed over, or wait for it.

        Raises:
            Empty: nothing came in so many seconds.
        """
        if not self._items:
            self._signal.clear()
            self._signal.wait(timeout)
        if not self._items:
            raise Empty
        return self._items.popleft()


class SimulatedEnv:
    """The world of one process; see `perdure.engine.env.Env`."""

    def __init__(self, process: Process, chance: random.Random) -> None:
        """Time, threads and flags are those of `process`."""
        self._process = process
        self._scheduler = process.scheduler
        self._chance = chance

    def now(self) -> int:
        """What the wall clock of this host shows."""
        return self._scheduler.now + self._process.skew

    def monotonic(self) -> float:
        """Seconds by a clock that may go a little too fast or too slowly."""
        process, scheduler = self._process, self._scheduler
        process.check()
        return (scheduler.now - scheduler.started_at) / 1e6 * process.pace

    def entropy(self, count: int) -> bytes:
        """Bytes that follow from the seed."""
        self._process.check()
        return self._chance.randbytes(count)

    def new_id(self) -> str:
        """An id that follows from the seed and sorts by time."""
        passed = self._scheduler.now - self._scheduler.started_at
        return f"{passed:012}-{self._chance.getrandbits(32):08x}"

    def spawn(self, name: str, run: Callable[[], None]) -> None:
        """Start a simulated thread."""
        self._process.spawn(name.removeprefix("perdure-"), run)

    def signal(self) -> SimulatedSignal:
        """A new flag, down."""
        return SimulatedSignal(self._process)

    def hand_off(self) -> SimulatedHandOff:
        """A new queue, empty."""
        return SimulatedHandOff(self._process)
