"""DBOS Transact, synchronous API, with its own settings on SQLite or on PostgreSQL.

On SQLite it sets no pragma: rollback journal and synchronous=FULL. Resume: one process records the
tasks and dies inside the workflow; another one recovers it and times the tasks up to that point.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from benchmarks.peers import common

if sqlite3.sqlite_version_info < (3, 42):
    # It uses unixepoch('subsec'), which SQLite has since 3.42; an older one fails at its launch.
    import pysqlite3
    import pysqlite3.dbapi2

    sys.modules["sqlite3"] = pysqlite3
    sys.modules["sqlite3.dbapi2"] = pysqlite3.dbapi2

from dbos import DBOS, SetWorkflowID

MODULE = "benchmarks.peers.run_dbos"
LOOK_SECONDS = 0.01
options = common.arguments()


@DBOS.step()
def noop(number: int) -> dict[str, object]:
    return common.PAYLOAD


@DBOS.workflow()
def sequential(count: int) -> float:
    start = time.perf_counter()
    for number in range(count):
        noop(number)
    elapsed = time.perf_counter() - start
    if options.role == "record":
        print(json.dumps(elapsed), flush=True)
        os._exit(0)
    return elapsed


def tasks() -> common.Figures:
    return common.sequence(options.count, sequential(options.count))


def clients() -> common.Figures:
    def one(_: int) -> None:
        DBOS.start_workflow(sequential, common.TASKS_EACH).get_result()

    def all_of_them() -> None:
        with ThreadPoolExecutor(options.concurrency) as pool:
            list(pool.map(one, range(options.count)))

    return common.many(options.count, common.timed(all_of_them))


def latency() -> common.Figures:
    def one() -> None:
        DBOS.start_workflow(sequential, 1).get_result()

    one()
    return common.latencies([common.timed(one) for _ in range(options.count)])


def resume() -> common.Figures:
    handle = DBOS.retrieve_workflow("recorded")
    return common.replayed(options.count, handle.get_result(polling_interval_sec=LOOK_SECONDS))


def main() -> None:
    if options.work == "resume" and not options.role:
        subprocess.run(common.call_of(MODULE, options, "record"), check=True, stdout=sys.stderr)
    url = options.url or f"sqlite:///{options.folder}/dbos.sqlite"
    DBOS(config={"name": "bench", "system_database_url": url, "log_level": "ERROR"})
    DBOS.launch()
    if options.role == "record":
        with SetWorkflowID("recorded"):
            sequential(options.count)
    works = {"tasks": tasks, "clients": clients, "latency": latency, "resume": resume}
    common.report(works[options.work]())


if __name__ == "__main__":
    main()
