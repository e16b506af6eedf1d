"""SIGKILL: whoever began a body last dies in it."""

from __future__ import annotations

from tests.chaos.fleet import Fleet, until

WORKERS = 3


def kill(fleet: Fleet, count: int) -> None:
    """So many kills under load; then everything that was started comes to its end."""
    kill_a_holder(fleet)
    for _ in range(count - 1):
        kill_the_busiest(fleet)
    until(lambda: not fleet.unended(), "everything that was started")


def kill_a_holder(fleet: Fleet) -> None:
    """Start the workers, and kill one that certainly holds a lease."""
    fleet.workers(WORKERS)
    fleet.start("holds")
    fleet.kill(fleet.child_of(fleet.body_of("held")[1]))
    fleet.workers(1)


def kill_the_busiest(fleet: Fleet) -> None:
    """Start something, and kill whoever was the last to begin a body. Another takes its place."""
    began = len(fleet.events("body"))
    fleet.start_jobs(10)
    fleet.await_bodies(began + fleet.chance.randint(3, 15))
    pids = {child.pid for child in fleet.living()}
    victim = next(line[1] for line in reversed(fleet.events("body")) if line[1] in pids)
    fleet.kill(fleet.child_of(victim))
    fleet.workers(1)
    fleet.audit()
