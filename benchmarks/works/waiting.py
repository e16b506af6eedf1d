"""Workflows that wait for a long time: memory of the worker that ran them, and bytes on disk.

A worker remembers a bounded number of what it met last (leases, rows, slots of ids, pages of the
file), so it grows with the first ones, whatever they do. What one more takes shows behind them.
"""

from __future__ import annotations

from benchmarks.bench import Bench, Figures, Work
from benchmarks.processes import Workers, resident_bytes, until
from benchmarks.program import Program

DAY_SECONDS = 86_400.0


def run(bench: Bench) -> Figures:
    """One worker takes as many to their sleep, and then so many more: what did the latter leave?"""
    figures: Figures = {}
    for count in bench.sizes.sleepers:
        with bench.place() as place:
            place.hurry()
            program = place.program(local_worker=False)
            program.app.queues()  # makes the schema
            with Workers(1, place.environment(grace=0.0), place.folder) as workers:
                _put_to_sleep(program, count, count)
                memory, disk = resident_bytes(workers.pids[0]), place.stored_bytes()
                _put_to_sleep(program, count, 2 * count)
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
