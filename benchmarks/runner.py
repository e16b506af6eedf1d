"""Rounds: in each, every work runs once on every backend, so that slow minutes hit all alike."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks import machine
from benchmarks.bench import Bench, Figures, Work
from benchmarks.peers.side import PeerSide


@dataclass
class Results:
    """Figures of all runs by backend and work, and the state of the machine at each round.

    Attributes:
        failures: what went wrong, as text; a work that failed has no figures of that run.
        finished: whether all rounds were made.
    """

    runs: dict[str, dict[str, list[Figures]]] = field(default_factory=dict)
    states: list[dict[str, float]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    finished: bool = False


Side = Bench | PeerSide
"""Perdure on a backend, or a peer."""


def measure(bench: Side, work: Work) -> Figures:
    """One run. A figure that is compared with a raw limit gets it from right before and after."""
    if isinstance(bench, PeerSide):
        return bench.measure(work.name)
    if not work.against:
        return work.run(bench)
    before = bench.limits()
    figures = work.run(bench)
    after = bench.limits()
    for figure, limit in work.against.items():
        if before and after:
            raw = (before[limit] + after[limit]) / 2
            figures[f"raw_{limit}_per_s"] = raw
            figures[f"{figure}/{limit}"] = figures[figure] / raw
    return figures


def run_all(
    benches: Sequence[Side],
    works: Sequence[Work],
    rounds: int,
    *,
    after_each: Callable[[Results], None],
    missing: Sequence[str] = (),
) -> Results:
    """Run all works on all benches and peers, round by round.

    Args:
        after_each: told after each work of each side, so that nothing is lost when it is stopped.
        missing: what could not even be started, told among the failures.
    """
    results = Results(failures=list(missing))
    for number in range(rounds):
        seconds = benches[0].sizes.limit_seconds
        results.states.append(machine.state(seconds))
        for work in works:
            for bench in benches:
                if not (work.once and number) and _does(bench, work):
                    _run_one(bench, work, number, results)
                    after_each(results)
    results.finished = True
    after_each(results)
    return results


def _does(bench: Side, work: Work) -> bool:
    if isinstance(bench, PeerSide):
        return bench.does(work.name)
    return work.fits(bench)


def _run_one(bench: Side, work: Work, number: int, results: Results) -> None:
    start = time.perf_counter()
    place = f"round {number + 1}, {work.name} on {bench.label}"
    try:
        figures = measure(bench, work)
    except Exception as error:  # one work that fails must not take hours of others with it
        results.failures.append(f"{place}: {type(error).__name__}: {error}")
        print(f"{place}: FAILED: {error}", file=sys.stderr, flush=True)
        return
    results.runs.setdefault(bench.label, {}).setdefault(work.name, []).append(figures)
    print(f"{place}: {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)
