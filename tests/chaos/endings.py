"""SIGTERM to `perdure worker` at each phase: it ends in time, with its leases given back."""

from __future__ import annotations

import signal
import time

from perdure.core.lifecycle import InvocationState
from tests.chaos.fleet import Child, Fleet, until

BOUND = 20.0
"""Seconds: far less than the grace period, for nothing here takes long."""
LEASE = 9.0
"""Renewals come after a third of it."""
STARTING_SECONDS = 0.8
"""A worker that is asked to end so soon after its start may not have begun to listen."""
CALLS = tuple(
    f"{when} {call}" for call in ("claim", "commit", "renew") for when in ("before", "after")
)
PHASES = (*CALLS, "starting", "idle", "in a body", "twice")


def ended(fleet: Fleet, child: Child, *codes: int) -> None:
    """It ends by itself, in time; what it held is free if it ended in order."""
    before = time.monotonic()
    code = child.wait(BOUND)
    assert code in (codes or (0,)), child.stderr and child.stderr.read()
    took = time.monotonic() - before
    fleet.counters["slowest end ms"] = max(fleet.counters["slowest end ms"], int(took * 1_000))
    if code == 0:
        assert fleet.records(InvocationState.RUNNING) == []


def ask_to_end(fleet: Fleet, count: int) -> None:
    """So many workers, each at another phase; then one does what is left."""
    for number in range(count):
        phase = PHASES[number % len(PHASES)]
        fleet.start_jobs(3)
        _ask(fleet, phase)
        fleet.counters[phase] += 1
    fleet.workers(1)
    until(lambda: not fleet.unended(), "everything that was started")


def _ask(fleet: Fleet, phase: str) -> None:
    if phase in CALLS:
        _in_a_call(fleet, phase)
    elif phase == "starting":
        child = fleet.worker()
        time.sleep(fleet.chance.uniform(0, STARTING_SECONDS))  # the moment is the trouble
        child.terminate()
        ended(fleet, child, 0, -signal.SIGTERM)
        assert fleet.records(InvocationState.RUNNING) == []
    elif phase == "idle":
        (child,) = fleet.workers(1)
        until(lambda: not fleet.unended(), "all that there is to do")
        child.terminate()
        ended(fleet, child)
    else:
        _in_a_body(fleet, twice=phase == "twice")


def _in_a_call(fleet: Fleet, phase: str) -> None:
    """It asks itself, in this call of the state backend. To renew, it must hold something."""
    if phase.endswith("renew"):
        fleet.start("holds")
    child = fleet.worker(ends_at=phase)
    fleet.await_ready(child)
    if phase.endswith("renew"):
        until(lambda: "stopping" in _said(child), "it heard of its end")
        fleet.gate.touch()
    ended(fleet, child)
    fleet.gate.unlink(missing_ok=True)


def _in_a_body(fleet: Fleet, *, twice: bool) -> None:
    """It may end the body, and begins no other. Told twice, it leaves it to others at once."""
    count = sum(1 for line in fleet.events("body") if line[3] == "held")
    (child,) = fleet.workers(1)
    fleet.start("starts_held")
    fleet.body_of("held", count + 1)
    child.terminate()
    until(lambda: "stopping" in _said(child), "it heard the first")
    if twice:
        child.terminate()
        ended(fleet, child, 128 + signal.SIGTERM)
        (other,) = fleet.workers(1)
        fleet.body_of("held", count + 2)
        until(lambda: not fleet.unended(), "what was left behind")
        other.terminate()
        ended(fleet, other)
        return
    fleet.gate.touch()
    ended(fleet, child)
    fleet.gate.unlink()


def _said(child: Child) -> str:
    """The next line that it says; empty at the end."""
    assert child.stderr is not None
    return child.stderr.readline()
