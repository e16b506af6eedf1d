"""Random numbers, ids and clock readings in one workflow: drawn and recorded, then replayed."""

from __future__ import annotations

from benchmarks.bench import Bench, Figures, Work

KINDS = ("random", "uuid", "utc_now")


def run(bench: Bench) -> Figures:
    """Each kind in a workflow of its own; the first rate includes making all of them durable."""
    count = bench.sizes.draws
    figures: Figures = {}
    with bench.place() as place:
        program = place.program()
        for kind in KINDS:
            program.draws.options(id=kind).start(kind, count).result()
            figures[f"{kind}_recorded_per_s"] = count / program.marks.elapsed
            program.app.verify(kind)
            figures[f"{kind}_replayed_per_s"] = count / program.marks.elapsed
    return figures


WORK = Work(name="draws", title="Draws in one workflow, recorded durably and replayed", run=run)
