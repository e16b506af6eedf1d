"""pynenc on its SQLite, with a runner of four processes; its polls are set from 0.1 s to 5 ms.

SQLite settings are its own: WAL, synchronous=NORMAL, a new connection for every operation. Resume
is a new executor with the identity of a workflow that is done.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

if __name__ == "__main__":  # it refuses tasks that live in __main__
    from benchmarks.peers import run_pynenc

    raise SystemExit(run_pynenc.main())

from pynenc.builder import PynencBuilder
from pynenc.workflow.workflow_deterministic import DeterministicExecutor

from benchmarks.peers import common

MODULE = "benchmarks.peers.run_pynenc"
PROCESSES = 4
POLL_SECONDS = 0.005
FOLDER = "BENCH_PYNENC_FOLDER"  # its processes import this module, without our arguments

app = (
    PynencBuilder()
    .app_id("bench")
    .logging_level("error")
    .persistent_process_runner(PROCESSES)
    .sqlite(f"{os.environ.get(FOLDER) or common.arguments().folder}/pynenc.db")
    .runner_tuning(
        runner_loop_sleep_time_sec=POLL_SECONDS,
        invocation_wait_results_sleep_time_sec=POLL_SECONDS,
    )
    .custom_config(cached_status_time=POLL_SECONDS)
    .build()
)


@app.task
def noop(number: int) -> dict:
    return common.PAYLOAD


@app.workflow
def sequential(count: int, first: int) -> float:
    start = time.perf_counter()
    for number in range(count):
        sequential.wf.root.execute_task(noop, first + number).result  # noqa: B018 - it waits
    return time.perf_counter() - start


def run(count: int) -> float:
    # Two calls of the same arguments are one to it.
    return sequential(count, time.time_ns()).result


def tasks(options) -> common.Figures:
    return common.sequence(options.count, run(options.count))


def clients(options) -> common.Figures:
    # A workflow keeps its process while it waits for its tasks: one must stay free for these.
    def all_of_them() -> None:
        with ThreadPoolExecutor(PROCESSES - 1) as pool:
            list(pool.map(lambda _: run(common.TASKS_EACH), range(options.count)))

    return common.many(options.count, common.timed(all_of_them))


def latency(options) -> common.Figures:
    return common.latencies([common.timed(lambda: run(1)) for _ in range(options.count)])


def resume(options) -> common.Figures:
    first = time.time_ns()
    call = sequential(options.count, first)
    call.result  # noqa: B018 - it waits
    executor = DeterministicExecutor(call.workflow, app)

    def again() -> None:
        for number in range(options.count):
            executor.execute_task(noop, first + number).result  # noqa: B018 - it reads

    return common.replayed(options.count, common.timed(again))


def main() -> None:
    options = common.arguments()
    if options.role == "runner":
        app.runner.run()
        return
    runner = subprocess.Popen(
        common.call_of(MODULE, options, "runner"),
        env=os.environ | {FOLDER: str(options.folder)},
        stdout=sys.stderr,
    )
    works = {"tasks": tasks, "clients": clients, "latency": latency, "resume": resume}
    try:
        run(1)  # its processes are up
        figures = works[options.work](options)
    finally:
        runner.terminate()
        runner.wait(20)
    common.report(figures)
