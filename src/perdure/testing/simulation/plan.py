"""What one schedule is about: its programs, processes, clients and faults, all from the seed."""

from __future__ import annotations

import random
from collections.abc import Iterator

import msgspec

from perdure.testing.simulation.programs import Block, Maker, Op


class Workflow(msgspec.Struct, frozen=True):
    """One workflow that a client starts.

    Attributes:
        block: its program.
        at: seconds after the beginning at which it is started.
        letters: when messages are sent to it, in seconds after its start.
        cancel_at: when it is cancelled, likewise; None for never.
        starts: how many clients start it, at the same time.
        by_script: the client runs it in its own process.
        awaits: it is an async workflow.
    """

    block: Block
    at: float
    letters: tuple[float, ...] = ()
    cancel_at: float | None = None
    starts: int = 1
    by_script: bool = False
    awaits: bool = False


class Plan(msgspec.Struct, frozen=True):
    """All that is chosen before a schedule begins; the faults are chosen as it goes.

    Attributes:
        seed: of everything that is chosen on the way.
        spared: faults, by number, that do not happen.
        workers: how many processes run workflows.
        lease, grace: seconds; concurrency: attempts at a time in each worker.
    """

    seed: int
    workflows: tuple[Workflow, ...]
    workers: int = 1
    lease: float = 2.0
    grace: float = 0.1
    concurrency: int = 2
    spared: tuple[int, ...] = ()

    def children(self) -> Iterator[Op]:
        """Every operation that starts a child."""
        for workflow in self.workflows:
            yield from _nested(workflow.block)


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
    maker = Maker(chance, size=chance.choice((4, 8, 16)))
    count = chance.choice((1, 1, 2, 3))
    return Plan(
        seed=seed,
        workflows=tuple(_workflow(chance, maker) for _ in range(count)),
        workers=chance.choice((1, 2, 2, 3)),
        lease=chance.choice((0.5, 1.0, 3.0)),
        grace=chance.choice((0.0, 0.1)),
        concurrency=chance.choice((1, 2, 4)),
    )


def _workflow(chance: random.Random, maker: Maker) -> Workflow:
    letters = sorted(chance.random() * 4 for _ in range(chance.choice((0, 0, 1, 4))))
    return Workflow(
        block=maker.program(),
        at=chance.choice((0.0, 0.0, chance.random() * 2)),
        letters=tuple(letters),
        cancel_at=chance.random() * 3 if chance.random() < 0.2 else None,
        starts=chance.choice((1, 1, 1, 2)),
        by_script=chance.random() < 0.25,
        awaits=chance.random() < 0.4,
    )
