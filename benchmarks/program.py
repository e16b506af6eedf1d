"""The workflows that are measured, and the app that `perdure worker` loads.

Their tasks do nothing and give about 100 bytes, so what is measured is perdure.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from perdure import Perdure, wf
from perdure.api.functions import SyncTask, SyncWorkflow

TASKS_EACH = 5
"""Tasks in one workflow of the throughput works."""
NAME = "benchmarks"
APP = "benchmarks.program:app"

Payload = dict[str, object]


@dataclass
class Marks:
    """Moments (seconds of `perf_counter`) that workflow code of this process noted.

    Attributes:
        began: before the first operation of the newest life.
        passed: when the operations before the first nap were done, in the first life.
        ended: after the last operation.
    """

    began: float = 0.0
    passed: float | None = None
    ended: float = 0.0
    at_tenth: float = 0.0
    at_nine_tenths: float = 0.0

    @property
    def elapsed(self) -> float:
        """Seconds between the first operation and the last."""
        return self.ended - self.began


class Program:
    """An app with the workflows of the benchmarks registered on it."""

    def __init__(self, app: Perdure) -> None:
        self.app = app
        self.marks = Marks()
        noop = _noop(app)
        self.pure_tasks, self.pure_five = _pure(app, self.marks)
        self.one, self.five, self.patient_five, self.sleeper = _small(app, noop)
        self.tasks, self.naps = _long(app, noop, self.marks)
        self.draws = _draws(app, noop, self.marks)


Noop = SyncTask[[int], Payload]


def _payload(number: int) -> Payload:
    tags = ["alpha", "beta", "gamma"]
    return {"id": number, "name": "step result", "ok": True, "score": 0.8125, "tags": tags}


def _noop(app: Perdure) -> Noop:
    return app.task(name="noop")(_payload)


class _Pure(NamedTuple):
    tasks: SyncWorkflow[[int], None]
    five: SyncWorkflow[[], None]


def _pure(app: Perdure, marks: Marks) -> _Pure:
    """The same workflows of tasks that may run again without harm."""
    look = app.task(name="look", pure=True)(_payload)

    @app.workflow(name="pure_tasks")
    def tasks(count: int) -> None:
        marks.began = time.perf_counter()
        for number in range(count):
            look(number)
        marks.ended = time.perf_counter()

    @app.workflow(name="pure_five")
    def five() -> None:
        for number in range(TASKS_EACH):
            look(number)

    return _Pure(tasks, five)


class _Small(NamedTuple):
    one: SyncWorkflow[[], Payload]
    five: SyncWorkflow[[], None]
    patient_five: SyncWorkflow[[float], None]
    sleeper: SyncWorkflow[[float], None]


def _small(app: Perdure, noop: Noop) -> _Small:
    @app.task(name="pause")
    def pause(seconds: float) -> bool:
        time.sleep(seconds)
        return True

    @app.workflow(name="one")
    def one() -> Payload:
        return noop(1)

    @app.workflow(name="five")
    def five() -> None:
        for number in range(TASKS_EACH):
            noop(number)

    @app.workflow(name="patient_five")
    def patient_five(seconds: float) -> None:
        for _ in range(TASKS_EACH):
            pause(seconds)

    @app.workflow(name="sleeper")
    def sleeper(seconds: float) -> None:
        wf.sleep(seconds)

    return _Small(one, five, patient_five, sleeper)


class _Long(NamedTuple):
    tasks: SyncWorkflow[[int], None]
    naps: SyncWorkflow[[int, float, int], None]


def _long(app: Perdure, noop: Noop, marks: Marks) -> _Long:
    @app.workflow(name="tasks")
    def tasks(count: int) -> None:
        marks.began = time.perf_counter()
        for number in range(count):
            if number == count // 10:
                marks.at_tenth = time.perf_counter()
            if number == count - count // 10:
                marks.at_nine_tenths = time.perf_counter()
            noop(number)
        marks.ended = time.perf_counter()

    @app.workflow(name="naps")
    def naps(count: int, each: float, times: int) -> None:
        for number in range(count):
            noop(number)
        if marks.passed is None:
            marks.passed = time.perf_counter()
        for _ in range(times):
            wf.sleep(each)
        marks.ended = time.perf_counter()

    return _Long(tasks, naps)


Draws = SyncWorkflow[[str, int], None]


def _draws(app: Perdure, noop: Noop, marks: Marks) -> Draws:
    @app.workflow(name="draws")
    def draws(kind: str, count: int) -> None:
        kinds: dict[str, Callable[[], object]]
        kinds = {"random": wf.random, "uuid": wf.uuid, "utc_now": wf.utc_now}
        draw = kinds[kind]
        marks.began = time.perf_counter()
        for _ in range(count):
            draw()
        noop(0)  # its commit takes the last draws along: all of them are durable here
        marks.ended = time.perf_counter()

    return draws


program = Program(Perdure(name=NAME))
app = program.app
