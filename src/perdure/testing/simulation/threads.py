"""Threads of a simulation: real ones, of which exactly one runs at a time, on virtual time.

A simulated thread runs until it waits; then it hands on to the one that chance picks among those
that could go on, or, if there is none, time jumps to the next that is due. So the order in which
things happen is a function of the seed alone, whatever the operating system does.

Real threads are kept and used again, in later schedules too: to start one costs more than a
hundred hand-overs.
"""

from __future__ import annotations

import contextvars
import heapq
import random
import sys
import threading
import traceback
from collections.abc import Callable
from enum import Enum
from hashlib import blake2b
from typing import Protocol

LOOKS_MAX = 20_000
"""Looks at a clock without any wait between them, after which a thread is held to loop for ever."""
WATCHDOG_SECONDS = 20.0
"""Real seconds without a hand-over after which a simulated thread is held to hang in a real wait,
which would be a bug of the simulation or a lock held across a call of the state backend."""


class Crashed(BaseException):
    """The process of this code is dead. It stands for a SIGKILL, so nothing may handle it."""


class Hung(Exception):
    """A simulated thread waits for something real, or the schedule does not come to an end."""


class _State(Enum):
    READY = "ready"
    WAITING = "waiting"
    ENDED = "ended"


class Owner(Protocol):
    """The process that a thread belongs to."""

    @property
    def dead(self) -> bool:
        """Whether its threads are to end."""
        ...

    def kill(self) -> None:
        """End it."""
        ...

    @property
    def stopped_until(self) -> int:
        """None of its threads goes on before this time (microseconds)."""
        ...


class SimulatedThread:
    """One thread of a simulated process.

    Attributes:
        number: by order of creation in its schedule; what ties are broken by.
        turns: how often it waited; a timer of an earlier wait is void.
    """

    __slots__ = ("carrier", "name", "number", "owner", "run", "state", "turns")

    def __init__(self, number: int, name: str, owner: Owner, run: Callable[[], None]) -> None:
        """A thread that has not begun."""
        self.number = number
        self.name = name
        self.owner = owner
        self.run = run
        self.state = _State.READY
        self.turns = 0
        self.carrier: _Carrier | None = None


class _Carrier:
    """A real thread that runs simulated ones, one after the other."""

    _idle: list[_Carrier] = []  # noqa: RUF012 - shared on purpose: they outlive a schedule

    def __init__(self) -> None:
        self.go = threading.Lock()
        self.go.acquire()
        self.job: Callable[[], None] | None = None
        thread = threading.Thread(target=self._serve, name="perdure-simulated", daemon=True)
        contextvars.Context().run(thread.start)
        self.ident = thread.ident or 0

    @classmethod
    def take(cls) -> _Carrier:
        """One that has nothing to do."""
        return cls._idle.pop() if cls._idle else cls()

    def _serve(self) -> None:
        while True:
            self.go.acquire()
            job = self.job
            if job is None:
                raise AssertionError("woken without a job")
            job()

    def rest(self) -> None:
        """It has nothing to do from now on. Called by whoever runs at the moment."""
        self.job = None
        self._idle.append(self)


class Scheduler:
    """Who runs, and what time it is. One per schedule.

    Attributes:
        now: microseconds since 1970 UTC, true time, from `start` on.
        events: hand-overs and whatever else was noted.
        trace: hash over all that was noted.
        story: told of everything that is noted, if it is given.
        looks: how often a clock was looked at since anything last waited.
        ended_by: told of an error that ends a thread.
    """

    def __init__(
        self, chance: random.Random, start: int, story: Callable[[str], None] | None = None
    ) -> None:
        """Nothing runs yet."""
        self.now = start
        self.started_at = start
        self.events = 0
        self.trace = blake2b(digest_size=16)
        self.story = story
        self.current: SimulatedThread | None = None
        self.looks = 0
        self.ended_by: Callable[[BaseException], None] = lambda _: None
        self._chance = chance
        self._ready: list[SimulatedThread] = []
        self._timers: list[tuple[int, int, int, SimulatedThread]] = []
        self._threads = 0
        self._live = 0
        self._finished = threading.Event()

    # --- what is told ---------------------------------------------------------------------------

    def note(self, what: str) -> None:
        """Something happened."""
        self.events += 1
        self.trace.update(what.encode())
        if self.story is not None:
            who = self.current.name if self.current else "-"
            self.story(f"{(self.now - self.started_at) / 1e6:11.6f} {who:28} {what}")

    # --- threads --------------------------------------------------------------------------------

    def spawn(self, name: str, owner: Owner, run: Callable[[], None]) -> SimulatedThread:
        """Make a thread; it runs when it is its turn."""
        self._threads += 1
        self._live += 1
        thread = SimulatedThread(self._threads, name, owner, run)
        self._ready.append(thread)
        return thread

    def run(self) -> None:
        """Run everything to its end, from the one real thread that is no simulated one.

        Raises:
            Hung: a simulated thread waits for something real.
        """
        if not self._ready:
            return
        self._finished.clear()
        self._hand_to(self._next())
        events = -1
        while not self._finished.wait(WATCHDOG_SECONDS):
            if events == self.events:
                raise Hung(self._where())
            events = self.events

    def _where(self) -> str:
        """Where the thread is that does not hand over."""
        thread = self.current
        if thread is None or thread.carrier is None:
            return "no thread is running"
        frame = sys._current_frames().get(thread.carrier.ident)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - the only way
        lines = traceback.format_stack(frame) if frame else []
        return f"thread {thread.name} does not hand over:\n{''.join(lines[-12:])}"

    def _hand_to(self, thread: SimulatedThread) -> None:
        self.current = thread
        self.looks = 0
        carrier = thread.carrier
        if carrier is None:
            thread.carrier = carrier = _Carrier.take()
            carrier.job = lambda: self._begin(thread)
        carrier.go.release()

    def _begin(self, thread: SimulatedThread) -> None:
        try:
            if not thread.owner.dead:
                contextvars.Context().run(thread.run)
        except Crashed:
            pass
        except BaseException as error:  # noqa: BLE001 - it would end a real thread unseen
            self.ended_by(error)
        finally:
            thread.state = _State.ENDED
            self._live -= 1
            carrier = thread.carrier
            if carrier is not None:
                carrier.rest()
            if self._live:
                self._hand_to(self._next())
            else:
                self.current = None
                self._finished.set()

    # --- waiting --------------------------------------------------------------------------------

    def sleep(self, microseconds: int) -> None:
        """Let the current thread wait for so long; others run meanwhile."""
        thread = self._here()
        at = self.now + microseconds
        self.looks = 0
        if not self._ready and self._is_first(at) and thread.owner.stopped_until <= at:
            self.now = at
        else:
            self._wait_until(thread, at)

    def wait(self, microseconds: int | None) -> None:
        """Let the current thread wait until `wake`, or for so long at most."""
        thread = self._here()
        self._wait_until(thread, None if microseconds is None else self.now + microseconds)

    def give_way(self) -> None:
        """Let another thread that could go on do so first, perhaps."""
        if self._ready:
            thread = self._here()
            self._ready.append(thread)
            self._switch(thread)

    def wake(self, thread: SimulatedThread, delay: int = 0) -> None:
        """End the wait of a thread, now or so many microseconds later."""
        if thread.state is not _State.WAITING:
            return
        if delay:
            self._set_timer(thread, self.now + delay)
        else:
            thread.state = _State.READY
            thread.turns += 1
            self._ready.append(thread)

    def _here(self) -> SimulatedThread:
        thread = self.current
        if thread is None:
            raise AssertionError("only simulated threads wait")
        return thread

    def _is_first(self, at: int) -> bool:
        while self._timers and self._timers[0][2] != self._timers[0][3].turns:
            heapq.heappop(self._timers)
        return not self._timers or self._timers[0][0] > at

    def _wait_until(self, thread: SimulatedThread, at: int | None) -> None:
        thread.state = _State.WAITING
        if at is not None:
            self._set_timer(thread, at)
        self._switch(thread)

    def _set_timer(self, thread: SimulatedThread, at: int) -> None:
        heapq.heappush(self._timers, (at, thread.number, thread.turns, thread))

    def _switch(self, thread: SimulatedThread) -> None:
        following = self._next()
        if following is thread:
            if thread.owner.dead:
                raise Crashed
            return
        self._hand_to(following)
        carrier = thread.carrier
        if carrier is None:
            raise AssertionError("it runs")
        carrier.go.acquire()
        if thread.owner.dead:
            raise Crashed

    def _next(self) -> SimulatedThread:
        """Who goes on; time jumps if nobody can at this moment."""
        while True:
            ready = self._ready
            if not ready:
                self._jump()
                continue
            index = int(self._chance.random() * len(ready)) if len(ready) > 1 else 0
            ready[index], ready[-1] = ready[-1], ready[index]
            thread = ready.pop()
            held = thread.owner.stopped_until
            if held > self.now and not thread.owner.dead:
                thread.state = _State.WAITING
                self._set_timer(thread, held)
                continue
            self.events += 1
            return thread

    def _jump(self) -> None:
        """Go to the time of the next timer, and make ready who waits for it."""
        while self._timers:
            at, _, turns, thread = heapq.heappop(self._timers)
            if turns == thread.turns and thread.state is _State.WAITING:
                self.now = max(self.now, at)
                self.wake(thread)
                return
        raise AssertionError("every thread waits, and nothing will wake any")
