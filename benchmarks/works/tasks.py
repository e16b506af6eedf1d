"""Tasks one after the other in one workflow: each result is durable before the next one starts."""

from __future__ import annotations

from benchmarks.bench import Bench, Figures, Work
from benchmarks.processes import cpu_of_this_process


def run(bench: Bench) -> Figures:
    """The rate between the first task and the last, and what one costs this process."""
    count = bench.sizes.tasks
    with bench.place() as place:
        program = place.program()
        program.tasks.start(1).result()  # opens the store and starts the threads
        before = cpu_of_this_process()
        program.tasks.start(count).result()
        return {
            "tasks_per_s": count / program.marks.elapsed,
            "cpu_us_per_task": (cpu_of_this_process() - before) / count * 1e6,
        }


WORK = Work(
    name="tasks",
    title="Tasks in sequence in one workflow",
    run=run,
    against={"tasks_per_s": "commits"},
)
