"""Scripts with tasks in processes: `__main__` is found again, and nothing outlives the script."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import finish, put_away, run_python, start_python

LONG = 60.0

SHOP = """
import json, os, sys, time
from dataclasses import dataclass
from pathlib import Path
from perdure import Perdure, wf

app = Perdure("sqlite:///shop.db", grace=0.05)


@dataclass
class Box:
    items: list[int]


class Broken(Exception):
    pass


app.register(Broken)


@app.task
def small(number: int) -> int:
    return number + 1


@app.workflow
def helper(number: int) -> list:
    return [small(number), wf.uuid()]


@app.task(executor="process")
def crunch(box: Box) -> dict:
    assert type(box) is Box
    return {
        "pid": os.getpid(),
        "started": small.start(box.items[0]).result(),
        "helper": helper.options(id="helper").start(1).result()[0],
        "now": wf.now() is not None,
        "data": wf.get_data("color"),
        "box": Box([3]),
    }


@app.task(executor="process")
def fail() -> None:
    raise Broken("box")


@app.task(executor="process")
def hang() -> None:
    Path("body.pid").write_text(str(os.getpid()))
    Path("body").write_text("runs")
    try:
        time.sleep(1000)
    finally:
        Path("disturbed").touch()


@app.workflow
def main() -> dict:
    wf.set_data("color", "red")
    try:
        fail()
    except Broken as error:
        seen = crunch(Box([7]))
        assert type(seen["box"]) is Box
        return {**seen, "box": seen["box"].items, "error": str(error)}


@app.workflow
def endless() -> None:
    hang()
"""

RUN = """
if __name__ == "__main__":
    handle = main.options(id="a").start()
    print(json.dumps([os.getpid(), handle.result(60), sorted(t.name for t in app.tasks())]))
"""
HANG = """
if __name__ == "__main__":
    endless.options(id="b").start().result(60)
"""
LEAVE = """
if __name__ == "__main__":
    import threading
    threading.Thread(target=endless.options(id="b").start().result, daemon=True).start()
    while not Path("body").exists():
        time.sleep(0.01)
"""


def until(what: Callable[[], Any]) -> None:
    deadline = time.monotonic() + LONG
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return False


def has_pending_signals(pid: int) -> bool:
    if not is_running(pid):
        return False
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    return int(status["ShdPnd"], 16) != 0


@pytest.mark.parametrize("how", ["file", "module"])
def test_what_a_script_defines_is_found_in_its_processes(how, tmp_path):
    package = tmp_path / "pack"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "shop.py").write_text(SHOP + RUN)
    arguments = ["-m", "pack.shop"] if how == "module" else ["pack/shop.py"]
    pid, seen, started = json.loads(run_python(*arguments, folder=tmp_path))
    assert seen.pop("pid") != pid
    assert seen == {
        "started": 8,
        "helper": 2,
        "now": True,
        "data": "red",
        "box": [3],
        "error": "box",
    }
    assert len(started) == 1
    assert started[0].endswith("shop.small")


def test_a_script_that_runs_at_import_is_told_what_to_do(tmp_path):
    (tmp_path / "shop.py").write_text(SHOP + RUN.replace('if __name__ == "__main__":', "if True:"))
    child = start_python("shop.py", folder=tmp_path)
    try:
        _, err = child.communicate(timeout=LONG)
    finally:
        put_away(child)
    assert child.returncode == 1
    assert "ExecutorUnavailable: A process for task bodies ended while it started" in err
    assert "OperationRefused: A process for task bodies imported this script" in err
    assert err.count('if __name__ == "__main__":') == 2


def test_code_without_a_module_is_told_what_to_do(tmp_path):
    child = start_python("-c", SHOP + RUN, folder=tmp_path)
    try:
        _, err = child.communicate(timeout=LONG)
    finally:
        put_away(child)
    assert child.returncode == 1
    assert "ExecutorUnavailable: Task 'notebook.fail' could not be run" in err


def test_processes_end_when_the_script_is_killed(tmp_path):
    (tmp_path / "shop.py").write_text(SHOP + HANG)
    child = start_python("shop.py", folder=tmp_path)
    try:
        until((tmp_path / "body").exists)
        body = int((tmp_path / "body.pid").read_text())
        assert is_running(body)
        child.send_signal(signal.SIGKILL)
        child.wait(LONG)
    finally:
        put_away(child)
    until(lambda: not is_running(body))


def test_a_signal_to_all_is_for_the_script_only(tmp_path):
    """As a service manager or a terminal sends it: the body goes on, its worker decides."""
    (tmp_path / "shop.py").write_text(SHOP + HANG)
    child = start_python("shop.py", folder=tmp_path)
    try:
        until((tmp_path / "body").exists)
        body = int((tmp_path / "body.pid").read_text())
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(body, number)
        until(lambda: not has_pending_signals(body))
        assert is_running(body)
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=LONG)
    finally:
        put_away(child)
    assert "KeyboardInterrupt" in err
    until(lambda: not is_running(body))
    assert not (tmp_path / "disturbed").exists()


def test_the_interpreter_does_not_wait_for_a_body_at_its_end(tmp_path):
    (tmp_path / "shop.py").write_text(SHOP + LEAVE)
    child = start_python("shop.py", folder=tmp_path)
    finish(child)
    body = int((tmp_path / "body.pid").read_text())
    until(lambda: not is_running(body))
