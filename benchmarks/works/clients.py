"""Small workflows that threads beside the worker start and wait for: what peers do here too."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from benchmarks.bench import Bench, Figures, Work
from benchmarks.processes import cpu_of_this_process
from benchmarks.program import TASKS_EACH

CLIENTS = 20


def run(bench: Bench) -> Figures:
    """From the first start to the last result."""
    count = bench.sizes.workflows
    with bench.place() as place:
        program = place.program(local_worker=False)
        program.app.start_worker()

        def one(_: int) -> None:
            program.five.start().result()

        one(0)  # opens the store and starts the threads
        cpu, start = cpu_of_this_process(), time.perf_counter()
        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(one, range(count)))
        elapsed, used = time.perf_counter() - start, cpu_of_this_process() - cpu
        results = count * TASKS_EACH
        return {
            "count": count,
            "results_per_s": results / elapsed,
            "cpu_us_per_result": used / results * 1e6,
        }


WORK = Work(
    name="clients",
    title=f"Workflows of {TASKS_EACH} tasks, by {CLIENTS} client threads beside the worker",
    run=run,
)
