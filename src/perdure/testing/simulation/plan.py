"""What one schedule is about: its programs, processes, clients and faults, all from the seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Literal

import msgspec

from perdure.testing.simulation.programs import Block, Maker, Op

TIMETABLES = 0.15
"""In so many schedules there is one."""
SECOND = 1_000_000
"""In microseconds."""


class Workflow(msgspec.Struct, frozen=True):
    """One workflow that a client starts.

    Attributes:
        block: its program.
        at: seconds after the beginning at which it is started.
        letters: when messages are sent to it, in seconds after its start.
        asks: when updates are sent to it, in seconds after the one before was answered.
        is_read: somebody reads what it publishes.
        cancel_at: when it is cancelled, likewise; None for never.
        terminate_at, pause_at: when it is terminated, or paused, likewise.
        changed_at: when its code becomes another one, in seconds after the beginning.
        timeout, delay: as given to the start, in seconds; message: a message comes with it.
        app: name of the app that it belongs to.
        starts: how many clients start it, at the same time.
        by_script: the client runs it in its own process.
        awaits: it is an async workflow.
    """

    block: Block
    at: float
    letters: tuple[float, ...] = ()
    cancel_at: float | None = None
    starts: int = 1
    terminate_at: float | None = None
    pause_at: float | None = None
    changed_at: float | None = None
    timeout: float | None = None
    delay: float = 0.0
    message: bool = False
    app: str = "simulated"
    by_script: bool = False
    awaits: bool = False
    asks: tuple[float, ...] = ()
    is_read: bool = False


class Timetable(msgspec.Struct, frozen=True):
    """A schedule of the app, which starts a workflow again and again until the faults are over.

    Attributes:
        block: the program of each run.
        every: seconds between two ticks.
        overlap, jitter: as in `Perdure.schedule`.
        pause_at, resume_at: in seconds after the beginning; None for never.
        awaits: the workflow is an async one.
    """

    block: Block
    every: int = 1
    overlap: Literal["allow", "skip"] = "allow"
    jitter: float = 0.0
    pause_at: float | None = None
    resume_at: float = 0.0
    awaits: bool = False


class Plan(msgspec.Struct, frozen=True):
    """All that is chosen before a schedule begins; the faults are chosen as it goes.

    Attributes:
        seed: of everything that is chosen on the way.
        spared: faults, by number, that do not happen.
        workers: how many processes run workflows.
        crash_limit: as in the settings of an app.
        change_seconds: after so long what was changed is as it was before.
        timetable: the schedule, if there is one.
        lease, grace: seconds; concurrency: attempts at a time in each worker.
    """

    seed: int
    workflows: tuple[Workflow, ...]
    workers: int = 1
    lease: float = 2.0
    grace: float = 0.1
    concurrency: int = 2
    crash_limit: int = 1_000
    store: Literal["memory", "sqlite"] = "memory"
    change_seconds: float = 3.0
    spared: tuple[int, ...] = ()
    timetable: Timetable | None = None

    def operations(self) -> Iterator[Op]:
        """Every operation of every program."""
        for workflow in self.workflows:
            yield from _nested(workflow.block)
        if self.timetable is not None:
            yield from _nested(self.timetable.block)


def _nested(block: Block) -> Iterator[Op]:
    for op in block:
        yield op
        for inner in op.blocks:
            yield from _nested(inner)


def chance_of(seed: int, what: str) -> random.Random:
    """A source of chance of its own for each purpose, so that one does not disturb the others."""
    return random.Random(f"{seed}/{what}")  # noqa: S311 - to be repeated, not to be secret


def make_plan(seed: int) -> Plan:
    """The plan of this seed."""
    chance = chance_of(seed, "plan")
    crash_limit = chance.choice((1_000, 1_000, 1_000, 3))
    maker = Maker(chance, chance.choice((4, 8, 16)), poison=crash_limit < 1_000)
    count = chance.choice((1, 1, 2, 3))
    workflows = [_workflow(chance, maker) for _ in range(count)]
    if chance.random() < 0.15:
        workflows.append(Workflow(maker.program(), 0.0, app="other", by_script=True))
    plan = Plan(
        seed=seed,
        workflows=tuple(workflows),
        crash_limit=crash_limit,
        workers=chance.choice((1, 2, 2, 3)),
        lease=chance.choice((0.5, 1.0, 3.0)),
        grace=chance.choice((0.0, 0.1)),
        concurrency=chance.choice((1, 2, 4)),
    )
    return msgspec.structs.replace(plan, timetable=_timetable(seed, maker))


def _timetable(seed: int, maker: Maker) -> Timetable | None:
    """Has a source of chance of its own: the rest of a plan is the same with and without it."""
    chance = chance_of(seed, "timetable")
    if chance.random() >= TIMETABLES:
        return None
    pause_at = _seldom(chance, 0.4)
    return Timetable(
        block=maker.program(2),
        every=chance.choice((1, 2)),
        overlap=chance.choice(("allow", "skip")),
        jitter=chance.choice((0.0, 0.0, 1.5)),
        pause_at=pause_at,
        resume_at=(pause_at or 0.0) + chance.random() * 4,
        awaits=chance.random() < 0.4,
    )


def _workflow(chance: random.Random, maker: Maker) -> Workflow:
    letters = sorted(chance.random() * 4 for _ in range(chance.choice((0, 0, 1, 4))))
    timeout = _seldom(chance, 0.1)
    return Workflow(
        block=maker.program(),
        at=chance.choice((0.0, 0.0, chance.random() * 2)),
        letters=tuple(letters),
        cancel_at=_seldom(chance, 0.15),
        terminate_at=_seldom(chance, 0.05),
        pause_at=_seldom(chance, 0.1),
        changed_at=_seldom(chance, 0.1),
        timeout=timeout,
        delay=0.0 if timeout is not None else chance.choice((0.0, 0.0, 0.0, 0.7)),
        message=chance.random() < 0.1,
        starts=chance.choice((1, 1, 1, 2)),
        by_script=chance.random() < 0.25,
        awaits=chance.random() < 0.4,
        asks=tuple(chance.random() for _ in range(chance.choice((0, 0, 0, 1, 2)))),
        is_read=chance.random() < 0.15,
    )


def _seldom(chance: random.Random, rate: float) -> float | None:
    """A time within the first seconds, or mostly never."""
    at = chance.random() * 3
    return at if chance.random() < rate else None
