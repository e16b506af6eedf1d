"""Tasks one after the other in one workflow: each result is durable before the next one starts."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.bench import Bench, Figures, Work
from benchmarks.processes import cpu_of_this_process
from benchmarks.program import Program
from perdure.api.functions import SyncWorkflow

Choose = Callable[[Program], SyncWorkflow[[int], None]]


def _measure(bench: Bench, choose: Choose) -> Figures:
    count = bench.sizes.tasks
    with bench.place() as place:
        program = place.program()
        tasks = choose(program)
        tasks.start(1).result()  # opens the store and starts the threads
        before = cpu_of_this_process()
        tasks.start(count).result()
        return {
            "tasks_per_s": count / program.marks.elapsed,
            "cpu_us_per_task": (cpu_of_this_process() - before) / count * 1e6,
        }


def run(bench: Bench) -> Figures:
    """The rate between the first task and the last, and what one costs this process."""
    return _measure(bench, lambda program: program.tasks)


def run_pure(bench: Bench) -> Figures:
    """The same with tasks whose results ride with the commit of the workflow's end."""
    return _measure(bench, lambda program: program.pure_tasks)


PURE = Work(
    name="pure_tasks",
    title="Pure tasks in sequence in one workflow",
    run=run_pure,
    against={"tasks_per_s": "commits"},
)
WORK = Work(
    name="tasks",
    title="Tasks in sequence in one workflow",
    run=run,
    against={"tasks_per_s": "commits"},
)
