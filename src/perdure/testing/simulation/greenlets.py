"""Simulated threads on greenlets, which share one real thread: the fast way to hand over.

The engine's code is the same, so what it finds must be: a greenlet has context variables, a stack
and an exception of its own, and what Python keeps for each real thread beyond that is changed at
each hand-over: the asyncio loop that runs and the hooks for async generators. (Before Python 3.14
the current task hangs on its loop.) A scope belongs to a thread, so the engine is told of greenlets
where it asks which thread it is on.

Locks are safe as long as nobody hands over with one in hand, as on real threads: a lock that
another simulated thread holds would hang both ways, and is found by the watchdog.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Generator
from typing import cast

from greenlet import getcurrent, greenlet

from perdure.engine import context
from perdure.testing.simulation.real_threads import Carrier
from perdure.testing.simulation.threads import Course, SimulatedThread

_running_loop = asyncio._get_running_loop  # noqa: SLF001 - how a loop finds that it is current
_set_running_loop = asyncio._set_running_loop  # noqa: SLF001 - how it makes itself current


class Greenlets:
    """Each simulated thread is a greenlet, all of them on one real thread; see `Carriers`."""

    def __init__(self, course: Course) -> None:
        """Nothing runs yet."""
        self._course = course
        self._carrier: Carrier | None = None
        self._hub: greenlet | None = None

    @property
    def ident(self) -> int:
        """See `Carriers.ident`."""
        return 0 if self._carrier is None else self._carrier.ident

    @contextlib.contextmanager
    def playing(self, first: SimulatedThread) -> Generator[None]:
        """See `Carriers.playing`. Not on the caller's thread, which watches whether it goes on."""
        self._carrier = Carrier.take(lambda: self._carry(first))
        get_ident = context.get_ident  # type: ignore[attr-defined] # what the engine asks
        context.get_ident = lambda: id(getcurrent())  # type: ignore[attr-defined] # as above
        try:
            self._carrier.go.release()
            yield
        finally:
            context.get_ident = get_ident  # type: ignore[attr-defined] # as above

    def _carry(self, first: SimulatedThread) -> None:
        """On the one real thread: let one begin, and go on with another whenever one ends."""
        self._hub = getcurrent()
        following: SimulatedThread | None = first
        while following is not None:
            self._let_go_on(following)
            following = self._course.after()
        cast("Carrier", self._carrier).rest()
        self._course.finish()

    def _let_go_on(self, thread: SimulatedThread) -> None:
        if thread.carrier is None:
            thread.carrier = greenlet(self._course.begin, self._hub)
        thread.carrier.switch(thread)

    def hand_over(self, thread: SimulatedThread, following: SimulatedThread) -> None:
        """See `Carriers.hand_over`."""
        del thread
        loop = _running_loop()
        if loop is None:
            if following.carrier is None:
                following.carrier = greenlet(self._course.begin, self._hub)
            following.carrier.switch(following)
            return
        hooks = sys.get_asyncgen_hooks()
        _set_running_loop(None)
        sys.set_asyncgen_hooks(None, None)
        self._let_go_on(following)
        sys.set_asyncgen_hooks(*hooks)
        _set_running_loop(loop)
