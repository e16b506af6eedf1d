"""Restate: its server with its settings, data on disk, and the handlers under hypercorn.

The server is not on PyPI: RESTATE_SERVER names it, or it is on the PATH. Resume: the process of the
handlers is killed while a workflow with recorded tasks sleeps, and a new one passes them again.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from datetime import timedelta
from pathlib import Path

import restate

from benchmarks.peers import common

FOLDER = "BENCH_RESTATE_FOLDER"  # of the process with the handlers, which has none of our arguments
NAP = timedelta(seconds=20)
HYPERCORN = """bind = "127.0.0.1:{port}"
h2_max_concurrent_streams = 2147483647
keep_alive_max_requests = 2147483647
keep_alive_timeout = 2147483647
workers = 0
loglevel = "ERROR"
"""
bench = restate.Service("bench")


@bench.handler()
async def sequential(ctx: restate.Context, count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        await ctx.run_typed("noop", lambda: common.PAYLOAD)
    return time.perf_counter() - start


@bench.handler()
async def sequential_then_sleep(ctx: restate.Context, count: int) -> None:
    start = time.perf_counter()
    for _ in range(count):
        await ctx.run_typed("noop", lambda: common.PAYLOAD)
    note = Path(os.environ[FOLDER]) / f"note-{os.getpid()}"
    made = note.with_suffix(".new")
    made.write_text(str(time.perf_counter() - start))
    made.rename(note)
    await ctx.sleep(NAP)


app = restate.app([bench])


def free_ports(count: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


class Servers:
    """The server and the handlers' process."""

    def __init__(self, options) -> None:
        self.folder = options.folder
        self.ingress, self.admin, self.port, node = free_ports(4)
        program = os.environ.get("RESTATE_SERVER") or shutil.which("restate-server")
        if program is None:
            raise RuntimeError("There is no restate-server: set RESTATE_SERVER or the PATH.")
        settings = {
            "RESTATE_BASE_DIR": str(self.folder),
            "RESTATE_BIND_IP": "127.0.0.1",
            "RESTATE_BIND_PORT": str(node),
            "RESTATE_ADVERTISED_HOST": "127.0.0.1",
            "RESTATE_INGRESS__BIND_PORT": str(self.ingress),
            "RESTATE_ADMIN__BIND_PORT": str(self.admin),
            "RESTATE_LOG_FILTER": "error",
            "RESTATE_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "1",
        }
        self.server = subprocess.Popen(
            [program, "--no-logo"], env=os.environ | settings, stdout=sys.stderr
        )
        self.handlers = self.start_handlers()
        common.until(self.is_registered, "the handlers are registered")

    def start_handlers(self) -> subprocess.Popen[bytes]:
        config = self.folder / "hypercorn.toml"
        config.write_text(HYPERCORN.format(port=self.port))
        words = ["-m", "hypercorn", "--config", config, "benchmarks.peers.run_restate:app"]
        return subprocess.Popen(
            [sys.executable, *words],
            env=os.environ | {FOLDER: str(self.folder)},
            stdout=sys.stderr,
        )

    def is_registered(self) -> bool:
        body = {"uri": f"http://127.0.0.1:{self.port}", "force": True}
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.admin}/deployments",
            json.dumps(body).encode(),
            {"content-type": "application/json"},
        )
        try:
            urllib.request.urlopen(request, timeout=10).close()
        except OSError:
            return False
        return True

    def noted(self) -> float:
        note = self.folder / f"note-{self.handlers.pid}"
        return float(common.until(lambda: note.exists() and note.read_text(), "it is noted"))


class Side:
    """The client, and the work."""

    def __init__(self, options, servers: Servers, client) -> None:
        self.options, self.count = options, options.count
        self._servers, self._client = servers, client

    async def run(self, count: int) -> float:
        return await self._client.service_call(sequential, count)

    async def tasks(self) -> common.Figures:
        return common.sequence(self.count, await self.run(self.count))

    async def clients(self) -> common.Figures:
        gate = asyncio.Semaphore(self.options.concurrency)

        async def one() -> None:
            async with gate:
                await self.run(common.TASKS_EACH)

        start = time.perf_counter()
        await asyncio.gather(*(one() for _ in range(self.count)))
        return common.many(self.count, time.perf_counter() - start)

    async def latency(self) -> common.Figures:
        seconds = []
        for _ in range(self.count):
            start = time.perf_counter()
            await self.run(1)
            seconds.append(time.perf_counter() - start)
        return common.latencies(seconds)

    async def resume(self) -> common.Figures:
        await self._client.service_send(sequential_then_sleep, self.count)
        self._servers.noted()
        self._servers.handlers.send_signal(signal.SIGKILL)
        self._servers.handlers.wait()
        self._servers.handlers = self._servers.start_handlers()
        return common.replayed(self.count, self._servers.noted())


async def measured(options, servers: Servers) -> common.Figures:
    async with restate.create_client(f"http://127.0.0.1:{servers.ingress}") as client:
        side = Side(options, servers, client)
        await side.run(1)
        return await getattr(side, options.work)()


def main() -> None:
    options = common.arguments()
    servers = Servers(options)
    try:
        figures = asyncio.run(measured(options, servers))
    finally:
        for process in (servers.handlers, servers.server):
            process.kill()
            process.wait(20)
    common.report(figures)


if __name__ == "__main__":
    main()
