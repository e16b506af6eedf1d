"""Workflows that wait for a long time: memory of the worker that ran them, and bytes on disk."""

from __future__ import annotations

from benchmarks.bench import Bench, Figures, Work
from benchmarks.processes import Workers, resident_bytes, until
from benchmarks.program import Program

DAY_SECONDS = 86_400.0
WARM_UP = 200
"""Workflows after which a worker has all its threads, statements and caches."""


def run(bench: Bench) -> Figures:
    """Start the sleepers, let one worker take each to its sleep, and look what that left."""
    figures: Figures = {}
    for count in bench.sizes.sleepers:
        with bench.place() as place:
            place.hurry()
            program = place.program(local_worker=False)
            program.app.queues()  # makes the schema
            with Workers(1, place.environment(grace=0.0), place.folder) as workers:
                asleep = min(WARM_UP, count)
                _put_to_sleep(program, asleep, asleep)
                memory, disk = resident_bytes(workers.pids[0]), place.stored_bytes()
                _put_to_sleep(program, count, asleep + count)
                grown = resident_bytes(workers.pids[0]) - memory
                figures[f"worker_bytes_each_{count}"] = grown / count
                after = place.stored_bytes()
                if disk is not None and after is not None:
                    figures[f"disk_bytes_each_{count}"] = (after - disk) / count
    return figures


def _put_to_sleep(program: Program, count: int, together: int) -> None:
    for _ in range(count):
        program.sleeper.start(DAY_SECONDS)

    def asleep() -> bool:
        return sum(queue.scheduled for queue in program.app.queues()) == together

    until(asleep, f"{together} workflows wait", pause=0.1)


WORK = Work(
    name="waiting",
    title="Memory and disk of a waiting workflow",
    run=run,
    once=True,
    needs_processes=True,
)
