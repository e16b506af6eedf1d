"""Timers that end, many each second, beside a million that do not: how late is the worker?"""

from __future__ import annotations

from benchmarks.bench import Bench, Figures, Work
from benchmarks.places import Delay
from benchmarks.processes import Workers, resident_bytes, until
from benchmarks.program import Program
from benchmarks.rates import percentile
from benchmarks.works.crowd import sample
from benchmarks.works.throughput import wait_for_all
from perdure.backends.base import InvocationQuery
from perdure.core.lifecycle import TERMINAL

PAGE = 10_000


def run(bench: Bench) -> Figures:
    """One worker process; lateness is from a workflow's due time to its claim."""
    sizes = bench.sizes
    with bench.place() as place:
        program = sample(place)
        place.copy_rows("waiting", sizes.waiting)
        with Workers(1, place.environment(), place.folder) as workers:
            delay = Delay(int(sizes.lead_seconds * 1e6), 1_000_000 // sizes.due_per_s)
            first = place.copy_rows("delayed", sizes.due, delay)
            memory = resident_bytes(workers.pids[0])
            last = first + delay.step * sizes.due
            until(lambda: program.app.runtime.backend.now() > last, "all are due", pause=0.1)
            # One row is looked at: to count all sleepers again and again keeps the store busy.
            until(lambda: _has_ended(program, sizes.due), "the last one has run", pause=0.1)
            wait_for_all(program)
            grown = resident_bytes(workers.pids[0]) - memory
        late = _lateness(program, first, delay.step)
    return {
        "late_p50_ms": percentile(late, 0.5),
        "late_p99_ms": percentile(late, 0.99),
        "late_max_ms": max(late),
        "worker_growth_bytes": grown,
        "sleepers": sizes.waiting,
        "due_per_s": sizes.due_per_s,
    }


def _has_ended(program: Program, number: int) -> bool:
    record = program.app.runtime.backend.read(f"delayed-{number}")
    return record is not None and record.state in TERMINAL


def _lateness(program: Program, first: int, step: int) -> list[float]:
    found: list[float] = []
    query = InvocationQuery(app=program.app.settings.name, id_prefix="delayed-", limit=PAGE)
    for record in program.app.runtime.backend.query(query):
        number = int(record.key.invocation_id.removeprefix("delayed-"))
        assert record.base_time is not None
        found.append((record.base_time - first - number * step) / 1_000)
    return found


WORK = Work(
    name="wakeups",
    title="Timers on time beside a million sleeping workflows",
    run=run,
    once=True,
    needs_processes=True,
)
