"""A process that starts workflows and runs them, and goes on through errors of its disk.

    python -m tests.chaos.diskful STORE LOG COUNT BYTES [BALLAST]

It writes to its log what was acknowledged ("ack"), what a user was told ("told", a class, and
whether it is one of ours), and "done" at the end, when there must be space again. BYTES, if not 0:
no file may be larger until half of it is done. BALLAST: a file that is removed then.
"""

from __future__ import annotations

import logging
import resource
import sys
from pathlib import Path

from perdure import InvocationState, Perdure
from perdure.backends.base import InvocationQuery
from perdure.errors import PerdureError
from tests.chaos.damage import app_on
from tests.chaos.fleet import until
from tests.chaos.program import Log
from tests.support import stores
from tests.support.stores import run_until_idle, step

LEASE = 2.0
"""Seconds: short, as what cannot even be given back is claimed again only after its lease."""


def main(store: str, log_path: str, count: str, size: str, ballast: str = "") -> None:
    logging.disable(logging.CRITICAL)
    stores.LEASE = LEASE
    log = Log(Path(log_path))
    app = app_on(Path(store), lease=LEASE)
    if int(size):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(size), resource.RLIM_INFINITY))
    for number in range(int(count)):
        if number == int(count) // 2:
            make_room(ballast)
        try:
            app.named("sums").options(id=f"s{number}").start(number, "x" * 2_000)
            log.write("ack", f"s{number}")
            for attempt in step(app):
                if attempt.error is not None:
                    raise attempt.error
        except Exception as error:
            log.write("told", type(error).__name__, isinstance(error, PerdureError))
    until(lambda: run_until_idle(app) == 0 and not _live(app), "the end of all")
    app.close()
    log.write("done")


def make_room(ballast: str) -> None:
    """There is space from now on."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    if ballast:
        Path(ballast).unlink()


def _live(app: Perdure) -> bool:
    states = (InvocationState.READY, InvocationState.RUNNING, InvocationState.WAITING)
    query = InvocationQuery(app="damage", states=states)
    return bool(app.runtime.backend.query(query))


if __name__ == "__main__":
    main(*sys.argv[1:])
