"""Temporal's development server with its SQLite store in a file; worker and client in one process.

Tasks are local activities, the cheapest that it has: several are recorded at once, at the end of a
workflow task, so less is durable before the next task starts than with all others. Resume is its
Replayer on the fetched history. The sandbox is on, as it is shipped.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import Replayer, Worker

with workflow.unsafe.imports_passed_through():
    from benchmarks.peers import common

QUEUE = "bench"
LIMIT = timedelta(seconds=60)
SECONDS_UP = 60


@activity.defn
async def noop(number: int) -> dict:
    return common.PAYLOAD


@workflow.defn(sandboxed=True)
class Sequential:
    @workflow.run
    async def run(self, count: int) -> int:
        for number in range(count):
            await workflow.execute_local_activity(noop, number, start_to_close_timeout=LIMIT)
        return count


class Side:
    """The client, and the work."""

    def __init__(self, options, client: Client) -> None:
        self.options, self.count = options, options.count
        self._client = client

    async def start(self, count: int):
        name = f"w-{time.time_ns()}"
        return await self._client.start_workflow(Sequential.run, count, id=name, task_queue=QUEUE)

    async def timed(self, count: int) -> float:
        start = time.perf_counter()
        await (await self.start(count)).result()
        return time.perf_counter() - start

    async def tasks(self) -> common.Figures:
        return common.sequence(self.count, await self.timed(self.count))

    async def clients(self) -> common.Figures:
        gate = asyncio.Semaphore(self.options.concurrency)

        async def one() -> None:
            async with gate:
                await self.timed(common.TASKS_EACH)

        start = time.perf_counter()
        await asyncio.gather(*(one() for _ in range(self.count)))
        return common.many(self.count, time.perf_counter() - start)

    async def latency(self) -> common.Figures:
        return common.latencies([await self.timed(1) for _ in range(self.count)])

    async def resume(self) -> common.Figures:
        handle = await self.start(self.count)
        await handle.result()
        history = await handle.fetch_history()
        start = time.perf_counter()
        await Replayer(workflows=[Sequential]).replay_workflow(history)
        return common.replayed(self.count, time.perf_counter() - start)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def connected(port: int) -> Client:
    deadline = time.monotonic() + SECONDS_UP
    while True:
        try:
            return await Client.connect(f"127.0.0.1:{port}")
        except RuntimeError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.2)


async def first_result(side: Side) -> None:
    """Its namespace may come a little later than its port."""
    deadline = time.monotonic() + SECONDS_UP
    while True:
        try:
            await side.timed(1)
        except Exception:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.2)
        else:
            return


async def measured(options, port: int) -> common.Figures:
    client = await connected(port)
    async with Worker(client, task_queue=QUEUE, workflows=[Sequential], activities=[noop]):
        side = Side(options, client)
        await first_result(side)
        return await getattr(side, options.work)()


def main() -> None:
    options = common.arguments()
    port = free_port()
    server = Path(sys.executable).parent / "temporal"
    command = [
        server, "server", "start-dev", "--headless", "--ip", "127.0.0.1", "--port", str(port),
        "--log-level", "error", "--db-filename", str(options.folder / "temporal.db"),
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=sys.stderr)
    try:
        figures = asyncio.run(measured(options, port))
    finally:
        process.terminate()
        process.wait(20)
    common.report(figures)


if __name__ == "__main__":
    main()
