"""The same many small workflows in one and in two `perdure worker` processes."""

from __future__ import annotations

from benchmarks.bench import Bench, Figures, Work
from benchmarks.processes import Workers, cpu_seconds
from benchmarks.program import TASKS_EACH
from benchmarks.works.throughput import seconds_until_last, wait_for_all

EACH = 16
"""Workflows that each process has at a time: so few that one cannot have all that wait."""


def fleet(bench: Bench, processes: int, *, pauses: bool) -> tuple[float, float]:
    """Results per second, and CPU seconds of workers and server per result."""
    sizes = bench.sizes
    count = sizes.waiting_workflows if pauses else sizes.workflows
    with bench.place() as place:
        program = place.program(local_worker=False)
        program.app.queues()  # makes the schema
        with Workers(processes, place.environment(concurrency=EACH), place.folder) as workers:
            workers.hold(place.is_held)
            for _ in range(count):
                if pauses:
                    program.patient_five.start(sizes.pause_seconds)
                else:
                    program.five.start()
            server, cpu = place.server_cpu_seconds() or 0.0, cpu_seconds(workers.pids)
            began = program.app.runtime.backend.now()
            workers.go()
            wait_for_all(program)
            used = cpu_seconds(workers.pids) - cpu
            used += (place.server_cpu_seconds() or 0.0) - server
            elapsed = seconds_until_last(program, began)
        results = count * TASKS_EACH
        return results / elapsed, used / results


def run(bench: Bench) -> Figures:
    """One process and two, with tasks that do nothing and with tasks that wait."""
    figures: Figures = {}
    for name, pauses in (("", False), ("waiting_", True)):
        one, one_cpu = fleet(bench, 1, pauses=pauses)
        two, two_cpu = fleet(bench, 2, pauses=pauses)
        figures |= {
            f"{name}results_per_s_one": one,
            f"{name}results_per_s_two": two,
            f"{name}cpu_us_per_result_one": one_cpu * 1e6,
            f"{name}cpu_us_per_result_two": two_cpu * 1e6,
            f"{name}speed_up": two / one,
            f"{name}cpu_ratio": two_cpu / one_cpu if one_cpu else 0.0,
        }
    return figures


WORK = Work(
    name="fleet",
    title=f"Workflows of {TASKS_EACH} tasks in one and two worker processes",
    run=run,
    against={"results_per_s_one": "rows", "results_per_s_two": "rows"},
    needs_processes=True,
)
