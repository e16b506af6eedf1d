"""Claims beside a million other invocations: finished ones, and ones that wait for later."""

from __future__ import annotations

import time

from benchmarks.bench import Bench, Figures, Work
from benchmarks.places import Place, Rows
from benchmarks.program import Program
from benchmarks.rates import percentile
from perdure.backends.base import ClaimRequest
from perdure.worker.worker import make_attempt

LEASE_SECONDS = 60.0


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
    app = program.app
    runtime = app.runtime
    request = ClaimRequest(
        app=runtime.app_name,
        owner=runtime.claimer,
        names=frozenset(app.registry),
        limit=1,
        lease=int(LEASE_SECONDS * 1e6),
    )
    start, asked_at = time.perf_counter(), runtime.env.monotonic()
    batch = runtime.backend.claim(request)
    elapsed = time.perf_counter() - start
    for record in batch.records:
        runtime.leases.add(record.key, record.epoch, asked_at, LEASE_SECONDS)
        make_attempt(runtime, record, app.registry[record.name]).run()
        runtime.leases.remove(record.key, record.epoch)
    return elapsed


def _times(program: Program, count: int) -> tuple[float, float]:
    """Medians of claims that find something and of looks that find nothing, in microseconds."""
    claims, looks = [], []
    for _ in range(count):
        program.one.start()
        claims.append(_claim(program))
        looks.append(_claim(program))
    return percentile(claims, 0.5) * 1e6, percentile(looks, 0.5) * 1e6


def run(bench: Bench) -> Figures:
    """The same claims in an empty store and in crowds, and how they compare."""
    sizes = bench.sizes
    alone, look_alone = _times(crowded(bench, None, 0), sizes.claims)
    figures = {"claim_us_alone": alone, "look_us_alone": look_alone}
    crowds: tuple[tuple[Rows, int], ...] = (
        ("finished", sizes.finished),
        ("waiting", sizes.waiting),
    )
    for kind, count in crowds:
        claim, look = _times(crowded(bench, kind, count), sizes.claims)
        figures |= {
            f"claim_us_beside_{kind}": claim,
            f"look_us_beside_{kind}": look,
            f"claim_ratio_{kind}": claim / alone,
            f"look_ratio_{kind}": look / look_alone,
        }
    return figures


WORK = Work(
    name="crowd",
    title="Claims beside a million finished or waiting invocations",
    run=run,
    needs_processes=True,
)
