"""Absurd on PostgreSQL: its synchronous API, one worker process, one autocommitted call a step.

The worker polls every 20 ms (0.25 s as shipped, which would be all of its latency). Resume: the
handler fails after its last step; the second attempt passes the steps on their checkpoints.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from absurd_sdk import Absurd

from benchmarks.peers import common

MODULE = "benchmarks.peers.run_absurd"
POLL_SECONDS = 0.02
PATIENCE_SECONDS = 300
QUEUE = "bench"
options = common.arguments()
app = Absurd(options.url, queue_name=QUEUE, default_max_attempts=3)
attempted: set[str] = set()


def steps(ctx: Any, count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        ctx.step("noop", lambda: common.PAYLOAD)
    return time.perf_counter() - start


@app.register_task(name="sequential")
def sequential(params: Any, ctx: Any) -> float:
    return steps(ctx, params["count"])


@app.register_task(name="twice")
def twice(params: Any, ctx: Any) -> float:
    seconds = steps(ctx, params["count"])
    if ctx.task_id not in attempted:
        attempted.add(ctx.task_id)
        raise RuntimeError("the first attempt ends here")
    return seconds


def result_of(task: Any) -> float:
    found = app.await_task_result(task["task_id"], timeout=PATIENCE_SECONDS)
    if found.state != "completed":
        raise RuntimeError(f"A task should have been completed, and is {found}")
    return found.result


def run(name: str, count: int) -> float:
    return result_of(app.spawn(name, {"count": count}))


def tasks() -> common.Figures:
    return common.sequence(options.count, run("sequential", options.count))


def clients() -> common.Figures:
    # One connection, which its client cannot share among threads: all starts, then all results.
    def all_of_them() -> None:
        count = {"count": common.TASKS_EACH}
        for task in [app.spawn("sequential", count) for _ in range(options.count)]:
            result_of(task)

    return common.many(options.count, common.timed(all_of_them))


def latency() -> common.Figures:
    def one() -> None:
        run("sequential", 1)

    return common.latencies([common.timed(one) for _ in range(options.count)])


def resume() -> common.Figures:
    return common.replayed(options.count, run("twice", options.count))


def main() -> None:
    if options.role == "worker":
        app.start_worker(concurrency=options.concurrency, poll_interval=POLL_SECONDS)
        return
    control = Path(sys.executable).parent / "absurdctl"
    for words in (["init"], ["create-queue", QUEUE]):
        environment = os.environ | {"PGDATABASE": options.url}
        subprocess.run([control, *words], env=environment, check=True, stdout=sys.stderr)
    subprocess.Popen(common.call_of(MODULE, options, "worker"), stdout=sys.stderr)
    run("sequential", 1)  # the worker is up
    works = {"tasks": tasks, "clients": clients, "latency": latency, "resume": resume}
    common.report(works[options.work]())


if __name__ == "__main__":
    main()
