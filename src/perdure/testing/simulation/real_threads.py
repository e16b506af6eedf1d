"""Simulated threads on real ones, of which one runs at a time: what works with every Python."""

from __future__ import annotations

import contextlib
import contextvars
import threading
from collections.abc import Callable, Generator

from perdure.testing.simulation.threads import Course, SimulatedThread


class Carrier:
    """A real thread that does one job after the other.

    It is kept and used again, in later schedules too: to start one costs more than a hundred
    hand-overs.
    """

    _idle: list[Carrier] = []  # noqa: RUF012 - shared on purpose: they outlive a schedule

    def __init__(self) -> None:
        """Make one; `take` is cheaper."""
        self.go = threading.Lock()
        self.go.acquire()
        self.job: Callable[[], None] | None = None
        thread = threading.Thread(target=self._serve, name="perdure-simulated", daemon=True)
        contextvars.Context().run(thread.start)
        self.ident = thread.ident or 0

    @classmethod
    def take(cls, job: Callable[[], None]) -> Carrier:
        """One that has nothing else to do, and does this as soon as `go` is released."""
        carrier = cls._idle.pop() if cls._idle else cls()
        carrier.job = job
        return carrier

    def _serve(self) -> None:
        while True:
            self.go.acquire()
            job = self.job
            if job is None:
                raise AssertionError("woken without a job")
            job()
            del job  # it holds a whole world

    def rest(self) -> None:
        """It has nothing to do from now on. Called by whoever runs at the moment."""
        self.job = None
        self._idle.append(self)


class RealThreads:
    """Each simulated thread has a real one; see `Carriers`."""

    def __init__(self, course: Course) -> None:
        """Nothing runs yet."""
        self._course = course
        self._running: Carrier | None = None

    @property
    def ident(self) -> int:
        """See `Carriers.ident`."""
        return 0 if self._running is None else self._running.ident

    @contextlib.contextmanager
    def playing(self, first: SimulatedThread) -> Generator[None]:
        """See `Carriers.playing`."""
        self._let_go_on(first)
        yield

    def hand_over(self, thread: SimulatedThread, following: SimulatedThread) -> None:
        """See `Carriers.hand_over`."""
        self._let_go_on(following)
        thread.carrier.go.acquire()

    def _let_go_on(self, thread: SimulatedThread) -> None:
        if thread.carrier is None:
            thread.carrier = Carrier.take(lambda: self._carry(thread))
        self._running = thread.carrier
        thread.carrier.go.release()

    def _carry(self, thread: SimulatedThread) -> None:
        self._course.begin(thread)
        thread.carrier.rest()
        following = self._course.after()
        if following is None:
            self._course.finish()
        else:
            self._let_go_on(following)
