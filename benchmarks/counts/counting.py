"""Counts of every work on one backend, for one operation each."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass

from benchmarks.counts.calls import calls_of
from benchmarks.counts.traces import SQLiteTrace, Trace
from benchmarks.counts.works import BATCH, COUNTED, Counted
from benchmarks.places import MemoryPlace, Place
from benchmarks.program import Program
from benchmarks.sqlite_place import SQLitePlace

BACKENDS = ("memory", "sqlite", "postgres")
_DRAWS = "draws."
"""Works whose names begin so touch no database but at their end."""
LENGTHS: Mapping[str, int] = {"memory": 1_000, "sqlite": 1_000, "postgres": 100}
"""The shorter length of those that are compared; the longer one has twice as many."""
_WARM_UP = 4
"""Runs, of so many each, after which statements are prepared and caches are filled."""


@dataclass(frozen=True)
class Cost:
    """What one operation costs.

    Attributes:
        each: calls, c_calls, statements, commits, trips and calls by file, for one.
        growth: for lengths, the calls of twice as many as a multiple; 2 is linear.
    """

    each: Mapping[str, float]
    growth: float | None = None


@contextlib.contextmanager
def _opened(backend: str) -> Generator[tuple[Place, Trace | None]]:
    with contextlib.ExitStack() as stack:
        if backend == "postgres":
            from benchmarks.counts.postgres_trace import PostgresTrace  # its driver is an extra
            from benchmarks.postgres_place import PostgresPlace, server

            place: Place = PostgresPlace(stack.enter_context(server()))
            trace: Trace | None = PostgresTrace()
        elif backend == "sqlite":
            place, trace = SQLitePlace("full"), SQLiteTrace()
        else:
            place, trace = MemoryPlace(), None
        stack.callback(place.close)
        place.hurry()  # syncs take time and are no statements
        if trace is not None:
            stack.enter_context(trace.listening())
        yield place, trace


def counts(
    backend: str, *, length: int | None = None, works: Iterable[Counted] = COUNTED
) -> dict[str, Cost]:
    """The cost of each work.

    Args:
        length: the shorter one; the cost of one operation does not depend on it.
    """
    found = {}
    with _opened(backend) as (place, trace):
        program = place.program(local_worker=False)
        for work in works:
            if backend == "postgres" and work.name.startswith(_DRAWS):
                continue
            if work.kind == "length":
                found[work.name] = _lengths(program, work, trace, length or LENGTHS[backend])
            else:
                parts = BATCH if work.kind == "times" else 1
                found[work.name] = _batch(program, work, trace, parts)
    return found


def _count(program: Program, work: Counted, trace: Trace | None, count: int) -> Counter[str]:
    """Twice, for a trace calls functions too."""
    ready = work.ready(program, count)
    found = calls_of(ready.step)
    ready.after()
    if trace is not None:
        ready = work.ready(program, count)
        found += trace.of(ready.step)
        ready.after()
    return found


def _warm_up(program: Program, work: Counted) -> None:
    for _ in range(_WARM_UP):
        ready = work.ready(program, _WARM_UP)
        ready.step()
        ready.after()


def _batch(program: Program, work: Counted, trace: Trace | None, parts: int) -> Cost:
    _warm_up(program, work)
    found = _count(program, work, trace, BATCH)
    return Cost({name: count / parts for name, count in sorted(found.items())})


def _lengths(program: Program, work: Counted, trace: Trace | None, length: int) -> Cost:
    """The difference of two lengths, so that what happens once is in neither."""
    _warm_up(program, work)
    short = _count(program, work, trace, length)
    long = _count(program, work, trace, 2 * length)
    names = sorted(short | long)
    each = {name: (long[name] - short[name]) / length for name in names}
    both = ("calls", "c_calls")
    growth = sum(long[name] for name in both) / sum(short[name] for name in both)
    return Cost(each, growth)
