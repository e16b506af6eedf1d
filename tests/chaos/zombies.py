"""SIGSTOP: a worker that sleeps through its lease wakes up as a zombie, and may record nothing."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from pathlib import Path
from typing import Any

from tests.chaos.fleet import Fleet, until

LEASE = 1.5
HELD = 3
"""Tasks that are started for each zombie; some of them are in other hands."""


def await_stop(pid: int) -> None:
    """Wait until every thread of the process stands still."""
    status = Path(f"/proc/{pid}/stat")
    until(lambda: status.read_text().rpartition(")")[2].split()[0] == "T", f"{pid} stopped")


def stop_outside_a_write(fleet: Fleet, pid: int) -> None:
    """SIGSTOP at a moment when the process holds no writer's lock.

    Whoever else waits for the lock lets go of it soon; a stopped holder never does.
    """
    fleet.log.write("frozen", pid)
    while True:
        os.kill(pid, signal.SIGSTOP)
        await_stop(pid)
        if not fleet.url.startswith("sqlite") or _free(Path(f"{fleet.folder}/perdure.db-lock")):
            return
        os.kill(pid, signal.SIGCONT)


def _free(lock: Path) -> bool:
    with lock.open("rb") as file:
        for _ in range(50):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.01)
            else:
                return True
    return False


def raise_zombies(fleet: Fleet, count: int) -> None:
    """So many, one after the other, each with a few tasks in its hands."""
    fleet.workers(2)
    for _ in range(count):
        raise_one(fleet)
        fleet.counters["zombies"] += 1


def raise_one(fleet: Fleet) -> None:
    """Stop it, see others take what it held, let it go on beside them, and see it refused.

    They hold the same under the same name when it wakes up, so its epoch alone tells it apart.
    """
    seen = len(fleet.events())
    for _ in range(HELD):
        fleet.start("starts_kept")
    held = until(lambda: _held(fleet, seen), "the tasks that are held")
    pid = held[-1][1]
    mine = {line[2] for line in held if line[1] == pid}
    stop_outside_a_write(fleet, pid)
    fleet.start_jobs(2)
    until(lambda: len(_bodies(fleet, seen)) == HELD + len(mine), "others took over what it held")
    fleet.audit()
    os.kill(pid, signal.SIGCONT)
    fleet.await_event("renewal lost", pid, seen)
    fleet.gate.touch()
    until(lambda: mine <= _refused(fleet, pid, seen), "each of its outcomes is refused")
    until(lambda: not fleet.unended(), "what a zombie held")
    fleet.gate.unlink()
    fleet.audit()


def _bodies(fleet: Fleet, seen: int) -> list[list[Any]]:
    """The lines of those that began to hold since."""
    lines = fleet.events()[seen:]
    return [line for line in lines if line[0] == "body" and line[3] == "kept"]


def _held(fleet: Fleet, seen: int) -> list[list[Any]]:
    """They are complete, or not there."""
    found = _bodies(fleet, seen)
    return found if len(found) == HELD else []


def _refused(fleet: Fleet, pid: int, seen: int) -> set[str]:
    """Ids of invocations of which this process could not record something since."""
    return {line[2] for line in fleet.events()[seen:] if line[:2] == ["stale", pid]}
