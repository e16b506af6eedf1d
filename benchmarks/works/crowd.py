"""Claims beside a million other invocations: finished ones, and ones that wait for later."""

from __future__ import annotations

import time

from benchmarks.bench import Bench, Figures, Work
from benchmarks.driving import claim_request
from benchmarks.driving import run as run_claimed
from benchmarks.places import Place, Rows
from benchmarks.program import Program
from benchmarks.rates import percentile


def sample(place: Place) -> Program:
    """A program whose store holds the one invocation that is copied."""
    program = place.program(local_worker=False)
    program.one.options(id="sample").start()
    _claim(program)
    return program


def crowded(bench: Bench, kind: Rows | None, count: int) -> Program:
    """A program whose store holds a crowd of this kind; made at the first run."""

    def prepare(place: Place) -> Program:
        program = sample(place)
        if kind is not None:
            place.copy_rows(kind, count)
        return program

    return bench.kept(f"crowd of {kind}", prepare)


def _claim(program: Program) -> float:
    """Claim and run one invocation; seconds of the claim alone."""
    request = claim_request(program, 1)
    start = time.perf_counter()
    batch = program.app.runtime.backend.claim(request)
    elapsed = time.perf_counter() - start
    run_claimed(program, batch.records)
    return elapsed


def run(bench: Bench) -> Figures:
    """The same claims in an empty store and in crowds, taken in turns, and how they compare."""
    sizes = bench.sizes
    programs = {
        "alone": crowded(bench, None, 0),
        "beside_finished": crowded(bench, "finished", sizes.finished),
        "beside_waiting": crowded(bench, "waiting", sizes.waiting),
    }
    claims: dict[str, list[float]] = {name: [] for name in programs}
    looks: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(sizes.claims):
        for name, program in programs.items():
            program.one.start()
            claims[name].append(_claim(program))
            looks[name].append(_claim(program))
    figures: Figures = {"count_finished": sizes.finished, "count_waiting": sizes.waiting}
    for what, times in (("claim", claims), ("look", looks)):
        medians = {name: percentile(taken, 0.5) for name, taken in times.items()}
        for name, middle in medians.items():
            figures[f"{what}_us_{name}"] = middle * 1e6
            if name != "alone":
                figures[f"{what}_ratio_{name}"] = middle / medians["alone"]
    return figures


WORK = Work(
    name="crowd",
    title="Claims beside a million finished or waiting invocations",
    run=run,
    needs_processes=True,
)
