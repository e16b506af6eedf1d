"""Tasks on a Dask cluster, by `Client.get_executor()`: its threads, and its processes.

The cluster is this machine's own, on loopback, without its dashboard.
"""
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Iterator
from concurrent.futures import Executor
from typing import Any

import pytest

from perdure import Perdure
from perdure.errors import ExecutorUnavailable, TaskError
from tests.executors.tasks import LONG, OutOfStock, Receipt

pytestmark = [
    pytest.mark.xdist_group("dask"),  # one cluster of each kind, and not one in each process
    pytest.mark.filterwarnings("ignore::DeprecationWarning:distributed"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:tornado"),
]


@pytest.fixture(scope="module", params=["threads", "processes"])
def client(request: pytest.FixtureRequest) -> Iterator[Any]:
    import distributed

    processes = request.param == "processes"
    with (
        distributed.LocalCluster(
            n_workers=1,
            threads_per_worker=2,
            processes=processes,
            host="127.0.0.1" if processes else None,  # threads need no network at all
            dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": False},
            worker_dashboard_address=None,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        client.is_threads = not processes
        yield client


def run(app: Perdure, body: Any) -> Any:
    main = app.workflow(name="main")(body)
    return main.options(id="m").start().result(LONG)


def test_bodies_run_on_the_cluster(made, client):
    app, task = made(client.get_executor())

    async def main() -> list[Any]:
        called = await asyncio.gather(*(task["where"].acall(n) for n in range(8)))
        started = await task["where"].start(1)
        return [pid for pid, _ in [*called, started]]

    pids = set(run(app, main))
    assert (pids == {os.getpid()}) == client.is_threads
    assert app.verify("m").finished


def test_draws_values_and_errors_are_those_of_a_thread(made, client):
    seen = []
    for executor in ("thread", client.get_executor()):
        app, task = made(executor)

        def main(task: Any) -> list[Any]:
            drawn = task["draws"]()
            receipt = task["receipt"](Receipt("1", [1]))
            with pytest.raises(OutOfStock):
                task["fail"]("registered")
            with pytest.raises(TaskError, match="Unregistered: secret"):
                task["fail"]("unregistered")
            return [[drawn[n] for n in (0, 1, 2, 5, 6)], receipt.number, receipt.cents[0]]

        seen.append(run(app, functools.partial(main, task)))
    assert seen[0] == seen[1]


def test_a_retried_body_is_sent_again(made, client, tmp_path):
    """Dask gives what the same call gave before; so no two attempts may be the same to it."""
    app, task = made(client.get_executor())
    assert run(app, lambda: task["flaky"](tmp_path)) == 2


def test_a_cluster_that_is_asked_for_when_it_is_needed(made, client):
    asked = []

    def cluster() -> Executor:
        asked.append(1)
        executor: Executor = client.get_executor()
        return executor

    app, task = made(cluster)
    assert len(run(app, lambda: [task["where"](n) for n in range(3)])) == 3
    assert asked == [1]


def test_an_executor_that_was_shut_down(made, client):
    executor = client.get_executor()
    executor.shutdown()
    app, task = made(executor)
    with pytest.raises(ExecutorUnavailable, match="after shutdown"):
        run(app, lambda: task["where"]())
