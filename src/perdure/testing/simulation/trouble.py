"""What goes wrong by itself: deaths, pauses, clocks, outages, damage."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import msgspec

from perdure.core.identity import InvocationKey
from perdure.testing.simulation.actors import Worker
from perdure.testing.simulation.luck import Fault, Luck
from perdure.testing.simulation.plan import SECOND
from perdure.testing.simulation.process import Process
from perdure.testing.simulation.store import Store
from perdure.testing.simulation.threads import Scheduler

OUTAGE_SECONDS = 4
"""The longest time for which the store is away."""
DAMAGE_SECONDS = 2
"""After so long somebody restores what was damaged."""
DIGITS = tuple(b"%d" % digit for digit in range(10))


class Trouble:
    """Makes trouble, as often as `luck` says.

    Attributes:
        jumped: microseconds by which the clock of the store is off.
        before_jump: what that clock showed last before it jumped.
        away_until: the store answers nobody before this time.
    """

    def __init__(
        self,
        luck: Luck,
        scheduler: Scheduler,
        store: Store,
        chance: random.Random,
        lease: float,
        spawn: Callable[[str, Callable[[], None]], None],
    ) -> None:
        """None yet."""
        self.jumped = self.before_jump = 0
        self._jumped_at: int | None = None
        self.away_until = 0
        self._luck = luck
        self._scheduler = scheduler
        self._store = store
        self._chance = chance
        self._lease = int(lease * SECOND)
        self._spawn = spawn

    def make(self, workers: Sequence[Worker], until: int, is_over: Callable[[], bool]) -> None:
        """Let things happen for a while, on the thread of the director."""
        self._strike_until(workers, until, is_over)
        self._luck.over = True
        self.away_until = 0

    def _strike_until(
        self, workers: Sequence[Worker], until: int, is_over: Callable[[], bool]
    ) -> None:
        while not is_over():
            pause = self._luck.next_moment()
            left = until - self._scheduler.now
            if left <= 0:
                return
            self._scheduler.sleep(min(left, SECOND // 4 if pause is None else pause))
            if pause is not None and pause < left:
                self._strike(self._chance.choice(workers), self._luck.at_moment())

    def _strike(self, worker: Worker, fault: Fault | None) -> None:
        if fault is not None:
            self._scheduler.note(f"{fault} {worker.name}")
        match fault:
            case Fault.DIES:
                worker.process.kill()
            case Fault.RESTS:
                self.stop(worker.process)
            case Fault.CLOCK_JUMPS:
                self.before_jump = self._scheduler.now + self.jumped
                self.jumped += self._chance.randint(-2 * self._lease, 2 * self._lease)
                self._jumped_at = self._scheduler.now
            case Fault.SHUTS_DOWN:
                worker.shut_down()
            case Fault.OUTAGE:
                away = self._chance.randrange(1, OUTAGE_SECONDS * SECOND)
                self.away_until = self._scheduler.now + away
            case Fault.DAMAGE:
                self._damage()
            case _:
                pass

    @property
    def clock_has_jumped(self) -> bool:
        """Whether the time between two moments may not be what this clock shows."""
        return self._jumped_at is not None

    def clock_jumped_lately(self) -> bool:
        """Whether a process may believe in a lease that is over by the clock of the store."""
        at = self._jumped_at
        return at is not None and self._scheduler.now - at <= self._lease

    def stop(self, process: Process) -> None:
        """Let a process stand still for half a lease up to three."""
        lease = self._lease
        process.stopped_until = self._scheduler.now + self._chance.randint(lease // 2, 3 * lease)

    def _damage(self) -> None:
        """Change one letter of one entry, until somebody finds the backup.

        A digit if there is one: what it makes of the entry can be read as well as what it was.
        """
        keys = [key for key in self._store.rows() if self._store.journal(key)]
        if not keys:
            return
        key = self._chance.choice(keys)
        position = self._chance.randrange(len(self._store.journal(key)))
        if key in self._store.damaged:
            return
        entry = self._store.journal(key)[position]
        at = max(map(entry.body.rfind, DIGITS))
        body = bytearray(entry.body)
        body[at] ^= 1  # the last one if there is no digit
        if self._store.damage(key, position, msgspec.structs.replace(entry, body=bytes(body))):
            self._spawn("mender", lambda: self._mend(key))

    def _mend(self, key: InvocationKey) -> None:
        self._scheduler.sleep(DAMAGE_SECONDS * SECOND)
        self._store.mend(key)
