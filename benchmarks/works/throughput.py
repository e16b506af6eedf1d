"""Many small workflows in one process: started, run, and their results read."""

from __future__ import annotations

import time
from collections.abc import Callable

from benchmarks.bench import Bench, Figures, Work
from benchmarks.places import Place
from benchmarks.processes import cpu_of_this_process, until
from benchmarks.program import TASKS_EACH, Program
from perdure.api.functions import SyncWorkflow
from perdure.backends.base import InvocationQuery

Choose = Callable[[Program], SyncWorkflow[[], None]]

LOOK_SECONDS = 0.1
PAGE = 10_000


def idle(program: Program) -> bool:
    """Whether nothing is ready or running."""
    return not any(queue.ready or queue.running for queue in program.app.queues())


def wait_for_all(program: Program) -> None:
    """Wait until nothing is ready or running. It looks seldom, for a look costs the same store."""
    until(lambda: idle(program), "all workflows are done", pause=LOOK_SECONDS)


def seconds_until_last(program: Program, began: int) -> float:
    """From a moment of the store's clock until the newest end of a workflow."""
    query = InvocationQuery(app=program.app.settings.name, limit=PAGE)
    ends = [record.finished_at or 0 for record in program.app.runtime.backend.query(query)]
    return (max(ends) - began) / 1e6


def _measure(bench: Bench, choose: Choose) -> Figures:
    count = bench.sizes.workflows
    with bench.place() as place:
        program = place.program(local_worker=False)
        five = choose(program)
        five.start()  # opens the store
        size = _sizes(place)
        start = time.perf_counter()
        started = [five.start() for _ in range(count)]
        starting = time.perf_counter() - start
        cpu, server = cpu_of_this_process(), place.server_cpu_seconds()
        began = program.app.runtime.backend.now()
        program.app.start_worker()
        wait_for_all(program)
        used = cpu_of_this_process() - cpu
        server_used = (place.server_cpu_seconds() or 0.0) - (server or 0.0)
        working = seconds_until_last(program, began)
        start = time.perf_counter()
        for each in started:
            each.result()
        reading = time.perf_counter() - start
        results = count * TASKS_EACH
        figures = {
            "results_per_s": results / working,
            "results_per_s_with_start_and_read": results / (starting + working + reading),
            "starts_per_s": count / starting,
            "reads_per_s": count / reading,
            "cpu_us_per_result": used / results * 1e6,
        }
        if server is not None:
            figures["server_cpu_us_per_result"] = server_used / results * 1e6
        for name, before, after in zip(("disk", "log"), size, _sizes(place), strict=True):
            if before is not None and after is not None:
                figures[f"{name}_bytes_per_workflow"] = (after - before) / count
    return figures


def _sizes(place: Place) -> tuple[int | None, int | None]:
    log = place.log_bytes()  # before the other one, which tidies up
    return place.stored_bytes(), log


def run(bench: Bench) -> Figures:
    """Three parts, one after the other: starts by one thread, the work, results by one thread."""
    return _measure(bench, lambda program: program.five)


def run_pure(bench: Bench) -> Figures:
    """The same with tasks whose results ride with the commit of each workflow's end."""
    return _measure(bench, lambda program: program.pure_five)


PURE = Work(
    name="pure_throughput",
    title=f"Workflows of {TASKS_EACH} pure tasks in one process",
    run=run_pure,
    against={"results_per_s": "rows"},
)
WORK = Work(
    name="throughput",
    title=f"Workflows of {TASKS_EACH} tasks in one process",
    run=run,
    against={"results_per_s": "rows"},
)
