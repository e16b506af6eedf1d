"""Claims and runs on the calling thread, without a worker: what is counted or timed stays alone."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.program import Program
from perdure.backends.base import ClaimBatch, ClaimRequest, InvocationRecord
from perdure.worker.worker import make_attempt

LEASE_SECONDS = 60.0


def claim_request(program: Program, limit: int) -> ClaimRequest:
    """As a worker asks that serves every queue and knows every function."""
    runtime = program.app.runtime
    return ClaimRequest(
        app=runtime.app_name,
        owner=runtime.claimer,
        names=frozenset(program.app.registry),
        limit=limit,
        lease=int(LEASE_SECONDS * 1e6),
    )


def claim(program: Program, limit: int) -> ClaimBatch:
    """Claim at most so many."""
    return program.app.runtime.backend.claim(claim_request(program, limit))


def run(program: Program, records: Iterable[InvocationRecord]) -> None:
    """Run what was claimed just now, one after the other."""
    app = program.app
    runtime = app.runtime
    for record in records:
        runtime.leases.add(record.key, record.epoch, runtime.env.monotonic(), LEASE_SECONDS)
        make_attempt(runtime, record, app.registry[record.name]).run()
        runtime.leases.remove(record.key, record.epoch)


def run_ready(program: Program) -> None:
    """Run all that can be claimed now."""
    while records := claim(program, 100).records:
        run(program, records)
