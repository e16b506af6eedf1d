"""Threads of a simulation, of which exactly one runs at a time, on virtual time.

A simulated thread runs until it waits; then it hands on to the one that chance picks among those
that could go on, or, if there is none, time jumps to the next that is due. So the order in which
things happen is a function of the seed alone, whatever the operating system does.

What they run on is either real threads or greenlets (`perdure.testing.simulation.carriers`).
"""

from __future__ import annotations

import contextvars
import heapq
import random
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from hashlib import blake2b
from typing import Any, Protocol

LOOKS_MAX = 20_000
"""Looks at a clock without any wait between them, after which a thread is held to loop for ever."""
TURNS_MAX = 5_000
"""Of threads at one moment. A hundred are many: what takes no time is done by few of them."""
WATCHDOG_SECONDS = 20.0
"""Real seconds without a hand-over after which a simulated thread is held to hang in a real wait,
which would be a bug of the simulation or a lock held across a call of the state backend."""


class Crashed(BaseException):
    """The process of this code is dead. It stands for a SIGKILL, so nothing may handle it."""


class Hung(Exception):
    """A simulated thread waits for something real, or the schedule does not come to an end."""


class Owner(Protocol):
    """The process that a thread belongs to."""

    name: str

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
        waits: it may be woken.
        turns: how often it waited; a timer of an earlier wait is void.
        carrier: what it runs on, once it has begun.
    """

    __slots__ = ("carrier", "name", "number", "owner", "run", "turns", "waits")

    def __init__(self, number: int, name: str, owner: Owner, run: Callable[[], None]) -> None:
        """A thread that has not begun."""
        self.number = number
        self.name = name
        self.owner = owner
        self.run = run
        self.waits = False
        self.turns = 0
        self.carrier: Any = None


class Carriers(Protocol):
    """What simulated threads run on, one at a time."""

    @property
    def ident(self) -> int:
        """The real thread on which one runs now."""
        ...

    def playing(self, first: SimulatedThread) -> AbstractContextManager[None]:
        """Let this one begin, which hands over to others. All have ended when the block does."""
        ...

    def hand_over(self, thread: SimulatedThread, following: SimulatedThread) -> None:
        """Let `following` go on, or begin. Comes back when `thread`, which calls, is to go on."""
        ...


class Course(Protocol):
    """What `Carriers` need to know of the threads that they carry."""

    def begin(self, thread: SimulatedThread) -> None:
        """Run a thread to its end."""
        ...

    def after(self) -> SimulatedThread | None:
        """A thread has ended: who goes on now; None if all have ended."""
        ...

    def finish(self) -> None:
        """All have ended, and nothing more is to be done for them."""
        ...


class Scheduler:
    """Who runs, and what time it is. One per schedule.

    Attributes:
        now: microseconds since 1970 UTC, true time, from `start` on.
        events: hand-overs and whatever else was noted.
        trace: hash over all that was noted.
        story: told of everything that is noted, if it is given.
        looks: how often a clock was looked at since anything last waited.
        ended_by: told of an error that ends a thread.
        stuck: told when threads wake each other for ever and time does not go on.
    """

    def __init__(
        self,
        chance: random.Random,
        start: int,
        carriers: Callable[[Course], Carriers],
        story: Callable[[str], None] | None = None,
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
        self.stuck: Callable[[], None] = lambda: None
        self._moment = start
        self._before = 0
        """Events before this moment."""
        self._chance = chance
        self._ready: list[SimulatedThread] = []
        self._timers: list[tuple[int, int, int, SimulatedThread]] = []
        self._threads = 0
        self._live = 0
        self._finished = threading.Event()
        self._carriers = carriers(self)

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
        with self._carriers.playing(self._following()):
            events = -1
            while not self._finished.wait(WATCHDOG_SECONDS):
                if events == self.events:
                    raise Hung(self._where())
                events = self.events

    def _where(self) -> str:
        """Where the thread is that does not hand over."""
        thread = self.current
        if thread is None:
            return "no thread is running"
        frame = sys._current_frames().get(self._carriers.ident)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - the only way
        lines = traceback.format_stack(frame) if frame else []
        return f"thread {thread.name} does not hand over:\n{''.join(lines[-12:])}"

    def _following(self) -> SimulatedThread:
        """Who goes on, and is the current one from now on."""
        self.current = following = self._next()
        self.looks = 0
        return following

    def begin(self, thread: SimulatedThread) -> None:
        """See `Course.begin`."""
        try:
            if not thread.owner.dead:
                contextvars.Context().run(thread.run)
        except Crashed:
            pass
        except BaseException as error:  # noqa: BLE001 - it would end a real thread unseen
            self.ended_by(error)
        finally:
            self._live -= 1

    def after(self) -> SimulatedThread | None:
        """See `Course.after`."""
        self.current = None
        return self._following() if self._live else None

    def finish(self) -> None:
        """See `Course.finish`."""
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
        self._wait_until(self._here(), None if microseconds is None else self.now + microseconds)

    def wake(self, thread: SimulatedThread, delay: int = 0) -> None:
        """End the wait of a thread, now or so many microseconds later."""
        if not thread.waits:
            return
        if delay:
            heapq.heappush(self._timers, (self.now + delay, thread.number, thread.turns, thread))
        else:
            thread.waits = False
            thread.turns += 1
            self._ready.append(thread)

    def _here(self) -> SimulatedThread:
        thread = self.current
        if thread is None:
            raise AssertionError("only simulated threads wait")
        return thread

    def _is_first(self, at: int) -> bool:
        timers = self._timers
        while timers and timers[0][2] != timers[0][3].turns:
            heapq.heappop(timers)
        return not timers or timers[0][0] > at

    def _wait_until(self, thread: SimulatedThread, at: int | None) -> None:
        thread.waits = True
        if at is not None:
            heapq.heappush(self._timers, (at, thread.number, thread.turns, thread))
        following = self._next()
        if following is not thread:
            self.current = following
            self.looks = 0
            self._carriers.hand_over(thread, following)
        if thread.owner.dead:
            raise Crashed

    def _next(self) -> SimulatedThread:
        """Who goes on; time jumps if nobody can at this moment."""
        ready = self._ready
        while True:
            if len(ready) > 1:
                index = int(self._chance.random() * len(ready))
                ready[index], ready[-1] = ready[-1], ready[index]
            thread = ready.pop() if ready and not self._is_stuck() else self._due()
            owner = thread.owner
            if (held := owner.stopped_until) > self.now and not owner.dead:
                thread.waits = True
                heapq.heappush(self._timers, (held, thread.number, thread.turns, thread))
                continue
            self.events += 1
            return thread

    def _is_stuck(self) -> bool:
        """Whether so much happens at this moment that it will never be over.

        Time is made to go on then, so that somebody can put an end to it.
        """
        if self.now != self._moment:
            self._moment, self._before = self.now, self.events
        elif self.events - self._before > TURNS_MAX:
            self.stuck()
            return True
        return False

    def _due(self) -> SimulatedThread:
        """Go to the time of the next timer, and end the wait of whoever waits for it."""
        timers = self._timers
        while timers:
            at, _, turns, thread = heapq.heappop(timers)
            if turns == thread.turns and thread.waits:
                self.now = max(self.now, at)
                thread.waits = False
                thread.turns += 1
                return thread
        raise AssertionError("every thread waits, and nothing will wake any")
