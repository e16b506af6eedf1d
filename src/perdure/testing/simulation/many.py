"""Plays many schedules, in this process or in several, and adds up what came of them."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from multiprocessing import get_context

import msgspec

from perdure.core.lifecycle import InvocationState
from perdure.testing.simulation.carriers import best_carriers
from perdure.testing.simulation.luck import Fault
from perdure.testing.simulation.plan import Plan, make_plan
from perdure.testing.simulation.real_threads import RealThreads
from perdure.testing.simulation.runner import Played, Runner

ENOUGH = 1_000
"""In so many schedules all that is `expected` happens, or they are too quiet to find much."""
PART = 50
"""Schedules that a process plays before it tells what came of them."""
EXPECTED = frozenset(Fault) | {
    "stolen",
    "damaged",
    "late commit",
    "refused: stale",
    *(f"became {state}" for state in InvocationState),
}


@dataclass
class Tally:
    """What came of schedules.

    Attributes:
        kinds: how often each kind of event happened.
        broken: the first schedule, by seed, in which an invariant did not hold; none was played
            after those that were begun by then.
    """

    schedules: int = 0
    events: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    broken: Played | None = None

    def add(self, other: Tally) -> None:
        """Count those of `other`, which come after the ones that were counted, too."""
        self.schedules += other.schedules
        self.events += other.events
        self.kinds.update(other.kinds)
        self.broken = self.broken or other.broken

    def missing(self, setting: Setting) -> list[str]:
        """What never happened although enough was played for it."""
        if self.schedules < ENOUGH:
            return []
        return sorted(kind for kind in setting.expected if not self.kinds[kind])


@dataclass(frozen=True)
class Setting:
    """How schedules are played: on which store, and whether each simulated thread is a real one."""

    store: str = "memory"
    real_threads: bool = False

    def plan(self, seed: int) -> Plan:
        """The schedule of a seed."""
        return msgspec.structs.replace(make_plan(seed), store=self.store)

    @property
    def expected(self) -> frozenset[str]:
        """What happens in `ENOUGH` schedules: every fault, and what is there to be survived."""
        # The files of SQLite have belts against damage that comes unseen, and tests of their own.
        return EXPECTED - {"damaged"} if self.store == "sqlite" else EXPECTED

    def runner(self) -> Runner:
        """One that plays them; to be used by one thread."""
        return Runner(RealThreads if self.real_threads else best_carriers())


_runner = cache(Setting.runner)


def play(seeds: range, setting: Setting) -> Tally:
    """Play these in this process, until one breaks."""
    tally = Tally()
    runner = _runner(setting)
    for seed in seeds:
        played = runner.play(setting.plan(seed))
        tally.add(Tally(1, played.events, played.kinds, played if played.broken else None))
        if played.broken:
            break
    return tally


def play_all(
    seeds: range, setting: Setting, jobs: int, seconds: float, told: Callable[[Tally], None]
) -> Tally:
    """Play these in order, until one breaks or the time is over.

    Args:
        jobs: how many processes play. One is this one.
        seconds: none is begun later; those that are under way are waited for.
        told: called with what came of all so far, now and then.

    Returns:
        What came of the first `schedules` of `seeds`.
    """
    tally, end = Tally(), time.monotonic() + seconds
    parts = _until(end, (seeds[at : at + PART] for at in range(0, len(seeds), PART)))
    for part in _played(parts, setting, jobs):
        tally.add(part)
        told(tally)
        if tally.broken is not None:
            break
    return tally


def _until(end: float, parts: Iterator[range]) -> Iterator[range]:
    for part in parts:
        if time.monotonic() >= end:
            return
        yield part


def _played(parts: Iterator[range], setting: Setting, jobs: int) -> Iterator[Tally]:
    """What came of each part, in their order."""
    if jobs == 1:
        for part in parts:
            yield play(part, setting)
        return
    # Not forked: a process that plays shall hold nothing that this one happens to hold.
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        begun = deque(pool.submit(play, part, setting) for part in islice(parts, 2 * jobs))
        try:
            while begun:
                yield begun.popleft().result()
                begun.extend(pool.submit(play, part, setting) for part in islice(parts, 1))
        finally:
            pool.shutdown(cancel_futures=True)
