"""A worker process for everything in one store: says "ready", works until its input ends.

With `standby` it waits for a line on its input before it works.

    python -m tests.chaos.child URL LOG GATE LEASE CONCURRENCY CRASH_LIMIT BEAT NAME GO

BEAT: seconds between additional renewals of everything it holds, whose waits go to the log; 0 for
none. NAME: under which it claims, the same in several processes if need be; empty for its own.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from perdure import Perdure
from perdure.api.settings import load_settings
from perdure.drivers import make_backend
from perdure.engine.env import SystemEnv
from perdure.worker.standing import StandingWorker
from perdure.worker.worker import Serving
from tests.chaos.program import Log, build
from tests.chaos.watched import Watched
from tests.support import evict


def make_app(
    url: str, log: Log, gate: Path, wrap: Callable[[Any], Any] = lambda it: it, **settings: Any
) -> Perdure:
    """The app of this program on a watched backend, in what `wrap` makes of that."""
    inner = make_backend(load_settings({"database_url": url}), SystemEnv())
    backend: Any = wrap(Watched(inner, log))
    app = Perdure(backend=backend, name="chaos", grace=0.05, **settings)
    build(app, log, gate)
    return app


def make_worker(app: Perdure, concurrency: int) -> StandingWorker:
    """A worker of everything."""
    serves = Serving(app.declared_queues.limits)
    worker = StandingWorker(app.runtime, app.registry, serves=serves, concurrency=concurrency)
    worker.start()
    return worker


def beat(app: Perdure, seconds: float) -> None:
    """Renew what is held, again and again."""
    runtime = app.runtime
    while not runtime.stopping.wait(seconds):
        held = runtime.leases.held()
        runtime.backend.renew(runtime.claimer, held, int(runtime.settings.lease * 1e6))


def main(*arguments: str) -> None:
    url, log, gate, lease, concurrency, limit, seconds, name, go = arguments
    evict.install_if_asked()
    if name:
        mock.patch("perdure.app.owner_name", return_value=name).start()
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
    if float(seconds):
        threading.Thread(target=beat, args=(app, float(seconds)), daemon=True).start()
    sys.stdin.read()
    app.runtime.stopping.set()
    worker.stop(20)
    app.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
