"""A process to be killed: runs one program on a SQLite file, in lockstep with its parent.

Before and after each call that changes something, and at the start of each task body, it writes a
line and waits for one. So the parent can kill it at exactly that point. What its bodies do goes to
a file of effects, one line each, before the body runs.

    python -m tests.crash.child DATABASE PROGRAM EFFECTS SECONDS LIFE
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

from perdure import Perdure
from perdure.backends.base import Committed
from perdure.backends.sqlite import SQLiteBackend
from perdure.core.lifecycle import InvocationState
from perdure.engine.env import SystemEnv
from perdure.testing.crash import WORKFLOW_ID
from perdure.testing.executions import Execution, Executions
from perdure.testing.faults import MortalEnv
from tests.programs import patient, programs
from tests.support import evict

_talking = threading.RLock()


def tell(*words: object) -> None:
    """Write a line and wait for the parent to answer; it may kill us instead."""
    with _talking:
        print(*words, flush=True)
        if not sys.stdin.readline():
            os._exit(3)


class Later(SystemEnv):
    """The real world, some seconds later."""

    def __init__(self, seconds: float) -> None:
        self._offset = int(seconds * 1_000_000)

    def now(self) -> int:
        return super().now() + self._offset


class Lockstep:
    """A backend that tells before and after each change."""

    def __init__(self, inner: SQLiteBackend) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)
        if name not in {"start", "commit", "claim"}:
            return method

        def call(*args: Any, **kwargs: Any) -> Any:
            with _talking:  # nobody else writes while this one may be killed
                if name != "claim":
                    tell("before", name)
                result = method(*args, **kwargs)
                if name != "claim" or result.records:
                    tell("after", name, *_states(result))
            return result

        return call


def _states(result: Any) -> list[InvocationState]:
    if not isinstance(result, list):
        return []
    return [each.state for each in result if isinstance(each, Committed)]


class Effects(Executions):
    """Executions in a file that outlives the process."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(self, run: Execution) -> None:
        os.write(self._file, (json.dumps([os.getpid(), *run[1:]]) + "\n").encode())
        tell("body", run.name)


def main(database: str, name: str, effects: str, seconds: str, life: str) -> None:
    evict.install_if_asked()
    patient.life = int(life)
    env = Later(float(seconds))
    backend: Any = Lockstep(SQLiteBackend(database, now=env.now))
    app = Perdure(backend=backend, env=env, name="killed", grace=0.0)
    program = programs("blocking", "awaiting", "patient")[name]
    program.build(app)
    Effects(Path(effects)).watch(app, MortalEnv(), 0)
    result = app.named("main").options(id=WORKFLOW_ID).start(*program.args).result(100)
    app.close()
    tell("result", repr(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
