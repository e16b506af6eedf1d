"""A child that a user's function forks, and that comes back from it, ends; it records nothing."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

import pytest

from perdure import wf
from tests.support.stores import LONG


def exit_code_of(child: int) -> int:
    """How it ended; one that goes on as if it were its parent is killed."""
    deadline = time.monotonic() + 10
    while (found := os.waitpid(child, os.WNOHANG)) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.005)
    return os.waitstatus_to_exitcode(found[1])


def forks(how: str) -> tuple[str, int]:
    """Fork; the child comes back from here, the parent with the exit code of the child."""
    child = os.fork()
    if child:
        return "parent", exit_code_of(child)
    if how == "raises":
        raise ValueError("in the child")
    if how == "exits":
        sys.exit(7)
    return "child", 0


CODES = {"returns": 1, "raises": 1, "exits": 7}


def flow_of(app: Any, where: str) -> Any:
    """A workflow that gives what `forks(how)` gave, which is called in this place."""

    @app.task(name="task")
    def task(how: str) -> tuple[str, int]:
        return forks(how)

    @app.task(name="async_task")
    async def async_task(how: str) -> tuple[str, int]:
        return forks(how)

    def record(how: str) -> tuple[str, int]:
        return wf.record("seen", lambda: forks(how))

    if where == "an async workflow":

        @app.workflow(name="flow")
        async def async_flow(how: str) -> tuple[str, int]:
            return forks(how)

        return async_flow

    def started(how: str) -> tuple[str, int]:
        found: tuple[str, int] = task.start(how).result()
        return found

    body = {
        "a task": task,
        "a started task": started,
        "an async task": async_task.call,
        "a recorded function": record,
        "a workflow": forks,
    }[where]

    @app.workflow(name="flow")
    def flow(how: str) -> tuple[str, int]:
        found: tuple[str, int] = body(how)
        return found

    return flow


@pytest.mark.parametrize("how", CODES)
@pytest.mark.parametrize(
    "where",
    [
        "a task",
        "a started task",
        "an async task",
        "a recorded function",
        "a workflow",
        "an async workflow",
    ],
)
def test_only_the_parent_gives_an_outcome(store, capfd, where, how):
    flow = flow_of(store.app(), where)
    assert flow.options(id="f").start(how).result(LONG) == ("parent", CODES[how])
    said = capfd.readouterr().err
    if how == "exits":
        assert "forked" not in said
    else:
        assert "os._exit()" in said
        assert f"the child (pid {os.getpid()})" not in said
