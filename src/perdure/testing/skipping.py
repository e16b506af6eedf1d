"""Time skipping for ordinary tests: sleeps, timeouts, retries and schedules pass at once."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator
from datetime import datetime, timedelta
from typing import cast

from perdure.app import Perdure
from perdure.core.retry import seconds
from perdure.errors import ConfigurationError, OperationRefused, ResultTimeout
from perdure.testing.faults import SimulatedCrash, env_of_thread
from perdure.testing.stores import Store, make_store, open_store
from perdure.testing.virtual import START, TimedBackend, VirtualClock
from perdure.testing.watching import Process

CLOSE_SECONDS = 5.0
STUCK_SECONDS = 15.0
"""Real seconds after which a wait ends for what only somebody outside could bring about."""
LOOK_GAP_SECONDS = 2.0
"""Longer than any pause between two looks of one wait."""
ADVANCE_SECONDS = 30.0
"""Real seconds after which `advance` gives up on work that does not come to a wait or an end."""


class _World(Process):
    """A process whose waiters from outside are told when they wait for ever."""

    def __init__(self) -> None:
        super().__init__(0)
        self.is_stuck: Callable[[], bool] = bool
        self._since: dict[int, tuple[float, float]] = {}

    def monotonic(self) -> float:
        """See `Env.monotonic`; whoever waits asks for it before each look.

        Raises:
            ResultTimeout: nothing ran and nothing was due for too long while this thread waited.
        """
        now = super().monotonic()
        thread = threading.get_ident()
        if env_of_thread() is self or not self.is_stuck():
            self._since.pop(thread, None)
            return now
        began, last = self._since.get(thread, (now, now))
        if now - last > LOOK_GAP_SECONDS:  # it did something else meanwhile
            began = now
        self._since[thread] = began, now
        if now - began > STUCK_SECONDS:
            del self._since[thread]
            raise ResultTimeout(
                f"For {STUCK_SECONDS:g} real seconds nothing has run, and nothing is due, so what "
                "is waited for will not come. Does the workflow wait for a message that nobody "
                "sends? Send it before you ask for the result, or give the wait a timeout."
            )
        return now


class SkippedTime:
    """The time of an app in a `skip_time` block."""

    def __init__(self, app: Perdure, clock: VirtualClock, backend: TimedBackend) -> None:
        self._app = app
        self._clock = clock
        self._backend = backend
        self._due = threading.Event()
        self._over = False

    @property
    def now(self) -> datetime:
        """The moment, aware UTC."""
        return self._clock.now

    def advance(self, by: timedelta | float) -> None:
        """Let so much time pass (seconds or a timedelta), with all that comes due until then.

        What comes due runs in its order, and each at its moment. When this returns everything
        waits for something later, or has ended.

        Raises:
            ResultTimeout: a task still runs after 30 real seconds.
            ConfigurationError: it is no duration.
            OperationRefused: the block has ended.
        """
        if self._over:
            raise OperationRefused("The skip_time block has ended, and with it its time.")
        until = self._clock() + int(seconds(by, "advance") * 1e6)
        if not self._backend.let_pass(until, ADVANCE_SECONDS):
            raise ResultTimeout(
                f"Something still runs after {ADVANCE_SECONDS:g} real seconds, at {self.now}, so "
                "time does not pass. Task bodies take real time: use doubles for slow ones."
            )

    def next_tick(self, after: int) -> int | None:
        """When a schedule of the app is due next."""
        ticks = (each.next_tick(after) for each in self._app.schedules.values())
        return min((each for each in ticks if each is not None), default=None)

    def tick(self) -> None:
        """A schedule is due: time stands still until its run is started. From any thread."""
        self._due.set()

    def end(self) -> None:
        """Decide no more ticks."""
        self._over = True
        self._due.set()

    def decide_ticks(self) -> None:
        """Start what is due, at each tick, until `end`; for a thread of its own."""
        while not self._over:
            self._app.schedules.run_due()
            self._due.clear()
            self._backend.ticked()
            self._due.wait()


@contextlib.contextmanager
def skip_time(
    app: Perdure, *, start: datetime = START, store: Store = "memory"
) -> Generator[SkippedTime]:
    """Let `app` live on an empty store of its own whose time is skipped, until the block ends.

        with skip_time(app) as time:
            started = trial.start("ada")      # sleeps for 30 days
            assert started.result() == "over" # at once
            assert time.now == START + timedelta(days=30)

    A worker of the app runs what is started. Time stands still while the test does something, and
    passes while the test waits for a result or calls `advance`: then it skips to whatever is due
    next, whenever nothing runs. Only workflows see this time (`wf.sleep`, `wf.now`, timeouts,
    delays, retries, schedules); task bodies take real time, and see the real clock.

    Args:
        start: its first moment.
        store: "memory", "sqlite" (a temporary file), or a function that makes an empty state
            backend on a given clock.

    Raises:
        ConfigurationError: it is no app, or one of the others is of no use.
    """
    if not isinstance(cast("object", app), Perdure):
        raise ConfigurationError(f"skip_time({app!r}): expected the app itself, a Perdure.")
    clock = VirtualClock(start)
    world = _World()
    made = open_store(make_store(store), clock, app.settings.name)
    backend = TimedBackend(made, world, clock)
    world.is_stuck = backend.is_stuck
    try:
        with app.moved(backend, world):
            time = SkippedTime(app, clock, backend)
            if app.schedules:
                backend.next_tick, backend.on_tick = time.next_tick, time.tick
                world.spawn("perdure-ticks", time.decide_ticks)
            app.start_worker()
            try:
                yield time
            finally:
                time.end()
                with contextlib.suppress(SimulatedCrash):
                    app.close(CLOSE_SECONDS)
                world.kill()
    finally:
        made.close()
