"""A recorded workflow, run on its journal: load, check and replay every operation."""

from __future__ import annotations

import time

from benchmarks.bench import Bench, Figures, Work
from benchmarks.places import Place
from benchmarks.program import Program


def run(bench: Bench) -> Figures:
    """Each length once. The journals are recorded at the first run and stay."""
    lengths = bench.sizes.journals

    def record(place: Place) -> Program:
        place.hurry()
        program = place.program()
        for length in lengths:
            program.tasks.options(id=f"journal-{length}").start(length).result()
        return program

    app = bench.kept("journals", record).app
    figures: Figures = {}
    for length in lengths:
        start = time.perf_counter()
        app.verify(f"journal-{length}")
        elapsed = time.perf_counter() - start
        figures[f"seconds_{length}"] = elapsed
        figures[f"tasks_per_s_{length}"] = length / elapsed
    return figures


WORK = Work(name="resume", title="Resume of recorded tasks, every operation verified", run=run)
