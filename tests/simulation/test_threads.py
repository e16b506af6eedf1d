"""Simulated threads: what never ends on its own is ended, and told."""

from __future__ import annotations

import random

from perdure.testing.simulation.carriers import best_carriers
from perdure.testing.simulation.process import Process, SimulatedSignal
from perdure.testing.simulation.threads import TURNS_MAX, Scheduler


def test_threads_that_wake_each_other_for_ever_are_told_of() -> None:
    scheduler = Scheduler(random.Random(1), 0, best_carriers())
    process, told = Process(scheduler, "p"), []
    scheduler.stuck = lambda: told.append(scheduler.events)
    ping, pong = SimulatedSignal(process), SimulatedSignal(process)

    def play(mine: SimulatedSignal, other: SimulatedSignal) -> None:
        while True:
            other.set()
            mine.wait(None)
            mine.clear()

    def end() -> None:
        scheduler.sleep(1_000_000)
        process.kill()

    process.spawn("ping", lambda: play(ping, pong))
    process.spawn("pong", lambda: play(pong, ping))
    Process(scheduler, "q").spawn("end", end)
    scheduler.run()
    assert told
    assert TURNS_MAX < told[0] < TURNS_MAX + 10
    assert scheduler.now >= 1_000_000
