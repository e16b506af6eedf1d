"""A process with an open app and a busy worker that forks; its children go on with the app.

    python -m tests.chaos.forker URL LOG GATE COUNT SEED

What each child started is in the log ("forked start"), and how it ended ("fork ended"): it leaves,
with or without closing the app, or works on as a worker of its own, or is killed while it does.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

from perdure import Perdure
from perdure.errors import BackendUnavailable
from tests.chaos.child import make_app, make_worker
from tests.chaos.program import Log

SECONDS = 60
"""After which a child that hangs is ended, and a failure."""
HOW = ("leaves", "closes", "works", "killed")


def main(url: str, log_path: str, gate: str, count: str, seed: str) -> None:
    log, chance = Log(Path(log_path)), random.Random(seed)
    app = make_app(url, log, Path(gate), lease=30.0, concurrency=4, crash_limit=1_000)
    worker = make_worker(app, 4)
    for number in range(int(count)):
        how = HOW[number % len(HOW)]
        for _ in range(3):
            log.write("forked start", app.start("job", number).key.invocation_id)
        time.sleep(chance.uniform(0, 0.05))  # the moment is the trouble: the worker is at its work
        pid = os.fork()
        if pid == 0:
            in_child(app, log, how)
        _, status = os.waitpid(pid, 0)
        log.write("fork ended", how, os.waitstatus_to_exitcode(status))
    sys.stdin.read()
    app.runtime.stopping.set()
    worker.stop(20)
    app.close()


def in_child(app: Perdure, log: Log, how: str) -> NoReturn:
    """Start something, and see it again; then end as told. Never comes back."""
    code = 1
    try:
        signal.alarm(SECONDS)
        handle = app.start("job", 7)
        log.write("forked start", handle.key.invocation_id)
        if how in ("works", "killed"):
            worker = make_worker(app, 2)
            if how == "killed":
                work(app, log)
                os.kill(os.getpid(), signal.SIGKILL)
            handle.result(SECONDS)
            app.runtime.stopping.set()
            worker.stop(20)
        if how != "leaves":
            app.close()
        code = 0
    except BackendUnavailable as error:
        # It was forked in the middle of a write that took too long: it is told so, and may spawn.
        log.write("fork refused", str(error))
        code = 0 if "forked while" in str(error) else 2
    finally:
        os._exit(code)


def work(app: Perdure, log: Log) -> None:
    """Start something until a body has begun in this process: its parent takes most of it."""
    while not any(line[:2] == ["body", os.getpid()] for line in log.lines()):
        log.write("forked start", app.start("job", 8).key.invocation_id)
        time.sleep(0.02)


if __name__ == "__main__":
    main(*sys.argv[1:])
