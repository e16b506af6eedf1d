"""A worker process for everything in one store: says "ready", works until its input ends.

With `standby` it waits for a line on its input before it works.

    python -m tests.chaos.child URL LOG GATE LEASE CONCURRENCY CRASH_LIMIT GO
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

from perdure import Perdure
from perdure.api.settings import load_settings
from perdure.app import make_backend
from perdure.engine.env import SystemEnv
from perdure.worker.worker import Worker
from tests.chaos.program import Log, build
from tests.chaos.watched import Watched

LOOK_SECONDS = 0.1


def make_app(url: str, log: Log, gate: Path, **settings: Any) -> Perdure:
    """The app of this program on a watched backend."""
    inner = make_backend(load_settings({"database_url": url}), SystemEnv())
    backend: Any = Watched(inner, log)
    app = Perdure(backend=backend, name="chaos", grace=0.05, **settings)
    build(app, log, gate)
    return app


def make_worker(app: Perdure, concurrency: int) -> Worker:
    """A worker of everything."""
    worker = Worker(
        app.runtime,
        app.registry,
        roots=None,
        concurrency=concurrency,
        failed=lambda error, _: print("failed", error, file=sys.stderr, flush=True),
    )
    worker.start()
    return worker


def main(url: str, log: str, gate: str, lease: str, concurrency: str, limit: str, go: str) -> None:
    app = make_app(
        url,
        Log(Path(log)),
        Path(gate),
        lease=float(lease),
        concurrency=int(concurrency),
        crash_limit=int(limit),
    )
    threading.stack_size(256 * 1024)  # hundreds of bodies may wait at a time
    assert app.runtime.backend.now()
    print("ready", flush=True)
    if go == "standby":
        assert sys.stdin.readline()
    worker = make_worker(app, int(concurrency))
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    while not stop.wait(LOOK_SECONDS):
        if not worker.alive:  # its database was away for too long
            worker = make_worker(app, int(concurrency))
    app.runtime.stopping.set()
    worker.join(20)
    app.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
