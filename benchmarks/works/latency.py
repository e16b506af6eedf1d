"""From a start to its result: one task, idle, under half load, and in another process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from benchmarks.bench import Bench, Figures, Work
from benchmarks.processes import Workers, until
from benchmarks.program import Program
from benchmarks.rates import spread
from benchmarks.works.throughput import idle


def probe(program: Program, count: int) -> list[float]:
    """Seconds of each of `count` workflows, one after the other, each started and waited for."""
    return timed(lambda: program.one.start().result(), count)


def timed(run: Callable[[], object], count: int) -> list[float]:
    """Seconds of each of `count` runs; what happens once is not counted."""
    run()
    found = []
    for _ in range(count):
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return found


def capacity(program: Program, count: int) -> float:
    """Workflows per second when they are started as fast as one thread can."""
    start = time.perf_counter()
    for _ in range(count):
        program.one.start()
    until(lambda: idle(program), "the load is done")
    return count / (time.perf_counter() - start)


def loaded(program: Program, per_s: float) -> Callable[[], None]:
    """Start workflows at this rate from a thread; gives what ends it."""
    ended = threading.Event()

    def load() -> None:
        due = time.monotonic()
        while not ended.wait(max(0.0, due - time.monotonic())):
            program.one.start()
            due += 1 / per_s

    thread = threading.Thread(target=load, name="load")
    thread.start()

    def end() -> None:
        ended.set()
        thread.join()

    return end


def run(bench: Bench) -> Figures:
    """Idle as a script has it, by start and by call; half load beside a worker in the process."""
    count = bench.sizes.probes
    with bench.place() as place:
        program = place.program()
        figures = spread("idle", probe(program, count))
        figures |= spread("call", timed(program.one, count))
    with bench.place() as place:
        program = place.program(local_worker=False)
        program.app.start_worker()
        most = capacity(program, 2 * count)
        end = loaded(program, most / 2)
        try:
            figures |= spread("half_load", probe(program, count))
        finally:
            end()
        figures["load_per_s"] = most / 2
        if place.has_processes:
            figures |= _elsewhere(bench, max(2, count // 5))
    return figures


def _elsewhere(bench: Bench, count: int) -> Figures:
    with bench.place() as place:
        program = place.program(local_worker=False)
        program.app.queues()  # makes the schema
        with Workers(1, place.environment(), place.folder):
            return spread("other_process", probe(program, count))


WORK = Work(name="latency", title="Start to result of a workflow of one task", run=run)
