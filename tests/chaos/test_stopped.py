"""SIGSTOP: a worker that sleeps through its lease wakes up as a zombie, and may record nothing."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from perdure import Perdure
from perdure.backends.base import NewInvocation
from perdure.backends.sqlite import SQLiteBackend
from perdure.errors import BackendUnavailable
from tests.chaos.conftest import MakeFleet
from tests.chaos.fleet import until
from tests.chaos.zombies import LEASE, await_stop, raise_zombies, stop_outside_a_write
from tests.support.processes import SOURCES, put_away, start_python

pytestmark = pytest.mark.xdist_group("chaos")

ROUNDS = 3
ZOMBIES = 2


def test_stopped_past_its_lease(make_fleet: MakeFleet) -> None:
    """Twice at once: in a task that a workflow calls, and in one that was started by itself."""
    fleet = make_fleet(lease=1.5)
    fleet.workers(2)
    for number in range(1, ROUNDS + 1):
        fleet.start("starts_held" if number % 2 else "holds")
        _, pid, *_ = fleet.body_of("held", 2 * number - 1)
        before = len(fleet.events())
        stop_outside_a_write(fleet, pid)
        fleet.start_jobs(3)
        fleet.body_of("held", 2 * number)  # another worker took the lease and ran it again
        until(lambda: not fleet.unended(), "what a zombie held")
        fleet.audit()
        os.kill(pid, signal.SIGCONT)
        fleet.await_event("renewal lost", pid, before)
        fleet.gate.touch()
        if number % 2:
            fleet.await_event("stale", pid, before)  # a task sends its outcome; a workflow does not
        fleet.gate.unlink()
        fleet.audit()
    fleet.check("stolen", "stale", "renewal lost")


@pytest.mark.timeout(240)
def test_zombies_with_the_same_name(make_fleet: MakeFleet) -> None:
    """Who takes the lease claims under the very name of the zombie: the epoch alone refuses it."""
    fleet = make_fleet(lease=LEASE, name="chaos")
    raise_zombies(fleet, ZOMBIES)
    fleet.check("zombies", "stolen", "stale", "renewal lost")


WRITER = """
import os, signal, sys, time
from perdure.backends.base import NewInvocation
from perdure.backends.sqlite import SQLiteBackend

def now():
    if sys.argv[2] in sys.argv[3:]:
        sys.argv.pop()
        print("inside", flush=True)
        os.kill(os.getpid(), signal.SIGSTOP)
    return time.time_ns() // 1000

backend = SQLiteBackend(sys.argv[1], now=now)
backend.store_id()
backend.start(NewInvocation(invocation_id="theirs", app="chaos", kind="workflow", name="w",
    arguments=b"{}", fingerprint=bytes(16), call_id="w"), "raise")
print("done", flush=True)
"""


def new(id_: str) -> NewInvocation:
    return NewInvocation(
        invocation_id=id_,
        app="chaos",
        kind="workflow",
        name="w",
        arguments=b"{}",
        fingerprint=bytes(16),
        call_id="w",
    )


@pytest.mark.parametrize("end", [signal.SIGCONT, signal.SIGKILL])
def test_stopped_inside_a_write(tmp_path: Path, end: signal.Signals) -> None:
    """It holds up every writer, which is said with its pid, until it goes on or is killed.

    Readers go on. Its write happens if it goes on, and never did if it is killed.
    """
    path = tmp_path / "perdure.db"
    backend = SQLiteBackend(path, lock_timeout=0.5)
    backend.start(new("before"), "raise")
    child = start_python(*("-c", WRITER, path, "stop", "stop"), folder=tmp_path, PYTHONPATH=SOURCES)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "inside\n"
        await_stop(child.pid)
        with pytest.raises(BackendUnavailable, match=f"{child.pid} holds it.*stopped.*kill it"):
            backend.start(new("ours"), "raise")
        assert backend.read("before") is not None
        assert backend.read("ours") is None
        child.send_signal(end)
        if end is signal.SIGCONT:
            assert child.stdout.readline() == "done\n"
        child.wait(30)
        assert backend.start(new("ours"), "raise").created
        assert (backend.read("theirs") is not None) == (end is signal.SIGCONT)
    finally:
        put_away(child)
        backend.close()
    with Perdure(f"sqlite:///{path}") as app:
        assert app.health().problems == ()
