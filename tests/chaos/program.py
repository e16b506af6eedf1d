"""The functions that the fleet runs. Each result is random, so a second run of a body shows.

What happens goes to one log that all processes append to, one line of JSON per write, so its order
is the order of events. A body writes its line before it does anything.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import time
from pathlib import Path
from typing import Any

from perdure import Perdure, wf
from perdure.engine.context import TaskContext, current
from perdure.testing.linearizability import receive_words

PATIENCE = 90.0
"""Seconds after which a body that should have been let go is a failure."""


class Log:
    """Lines that outlive any process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, event: str, *words: object) -> None:
        os.write(self._file, (json.dumps([event, os.getpid(), *words]) + "\n").encode())

    def lines(self) -> list[Any]:
        """All whole lines: a reader may come in the middle of a write."""
        whole, _, _ = self.path.read_bytes().rpartition(b"\n")
        return [json.loads(line) for line in whole.splitlines()]


class Bodies:
    """What bodies do: tell that they began, and wait."""

    def __init__(self, log: Log, gate: Path) -> None:
        self._log = log
        self._gate = gate

    def begin(self, name: str) -> str:
        """Tell of it; gives a number that no other run of any body has."""
        nonce = secrets.token_hex(8)
        self._log.write("body", _my_id(), name, nonce)
        return nonce

    def hold(self) -> None:
        """Wait for the gate, if this body began for the first time in any process."""
        try:
            (self._gate.parent / f"began-{_my_id()}").touch(exist_ok=False)
        except FileExistsError:
            return
        self.wait()

    def wait(self) -> None:
        """Wait for the gate."""
        deadline = time.monotonic() + PATIENCE
        while not self._gate.exists() and time.monotonic() < deadline:
            time.sleep(0.2)


def _my_id() -> str:
    context = current()
    assert isinstance(context, TaskContext)
    return context.invocation.invocation_id


def build(app: Perdure, log: Log, gate: Path) -> None:
    """Register the program; `gate` is the file that lets held bodies go on."""
    bodies = Bodies(log, gate)
    _build_waiting(app, bodies)
    app.workflow(name="words")(receive_words)

    @app.task(name="roll")
    def roll(number: int) -> str:
        return f"{number} {bodies.begin('roll')}"

    @app.task(name="poison")
    def poison() -> None:
        bodies.begin("poison")
        os.kill(os.getpid(), signal.SIGKILL)

    @app.workflow(name="child")
    def child(number: int) -> str:
        return roll(number)

    @app.workflow(name="job")
    def job(number: int) -> list[str]:
        first = roll(1)
        handle = roll.start(2)
        below = child.start(3)
        return [first, handle.result(), below.result(), str(wf.uuid()), roll(4)]

    @app.workflow(name="poisoned")
    def poisoned() -> None:
        poison()

    @app.workflow(name="starts_poison")
    def starts_poison() -> None:
        poison.start().result()


def _build_waiting(app: Perdure, bodies: Bodies) -> None:
    """What waits for the gate."""

    @app.task(name="held")
    def held() -> str:
        """Waits for the gate when it runs for the first time."""
        nonce = bodies.begin("held")
        bodies.hold()
        return nonce

    @app.task(name="kept")
    def kept() -> str:
        """Waits for the gate whenever it runs."""
        nonce = bodies.begin("kept")
        bodies.wait()
        return nonce

    @app.workflow(name="holds")
    def holds() -> str:
        return held()

    @app.workflow(name="starts_held")
    def starts_held() -> str:
        return held.start().result()

    @app.workflow(name="starts_kept")
    def starts_kept() -> str:
        return kept.start().result()
