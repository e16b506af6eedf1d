"""The small programs whose cost is counted. Each makes something ready, and gives what is counted.

Everything runs on the calling thread, without a worker, so that the counts are the same each time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

from benchmarks.driving import claim, run, run_ready
from benchmarks.program import Program
from perdure.backends.base import Finish, InvocationRecord, Transition
from perdure.core.lifecycle import InvocationState

BATCH = 16
"""How many are started, claimed, run or committed where no length is counted."""

Step = Callable[[], object]
Kind = Literal["length", "times", "batch"]


class Ready(NamedTuple):
    """What is counted, and what ends the rest of it afterwards, uncounted."""

    step: Step
    after: Step = lambda: None


@dataclass(frozen=True, kw_only=True)
class Counted:
    """Something whose cost is counted.

    Attributes:
        unit: what the cost is told for.
        ready: prepares so many of them.
        kind: "length": the cost of one more in a workflow of thousands; "times": of one of `BATCH`;
            "batch": of all `BATCH` together.
    """

    name: str
    unit: str
    ready: Callable[[Program, int], Ready]
    kind: Kind


def _claimed(program: Program, count: int) -> tuple[InvocationRecord, ...]:
    records = claim(program, count).records
    assert len(records) == count
    return records


def _draws(kind: str) -> Callable[[Program, int], Ready]:
    def ready(program: Program, count: int) -> Ready:
        program.draws.start(kind, count)
        return Ready(partial(run, program, _claimed(program, 1)))

    return ready


def _draws_replayed(kind: str) -> Callable[[Program, int], Ready]:
    def ready(program: Program, count: int) -> Ready:
        started = program.draws.start(kind, count)
        run_ready(program)
        return Ready(partial(program.app.verify, started.invocation_id))

    return ready


def _tasks(program: Program, count: int) -> Ready:
    program.tasks.start(count)
    return Ready(partial(run, program, _claimed(program, 1)))


def _pure_tasks(program: Program, count: int) -> Ready:
    program.pure_tasks.start(count)
    return Ready(partial(run, program, _claimed(program, 1)))


def _tasks_replayed(program: Program, count: int) -> Ready:
    started = program.tasks.start(count)
    run_ready(program)
    return Ready(partial(program.app.verify, started.invocation_id))


def _start_all(program: Program, count: int) -> None:
    for _ in range(count):
        program.five.start()


def _start(program: Program, count: int) -> Ready:
    return Ready(partial(_start_all, program, count), after=partial(run_ready, program))


def _claims(program: Program, times: int, each: int) -> Ready:
    for _ in range(times * each):
        program.one.start()
    claimed: list[InvocationRecord] = []

    def step() -> None:
        for _ in range(times):
            claimed.extend(claim(program, each).records)

    return Ready(step, after=partial(run, program, claimed))


def _claim_together(program: Program, count: int) -> Ready:
    return _claims(program, 1, count)


def _claim_one(program: Program, count: int) -> Ready:
    return _claims(program, count, 1)


def _claim_none(program: Program, count: int) -> Ready:
    def looks() -> None:
        for _ in range(count):
            claim(program, BATCH)

    return Ready(looks)


def _run(program: Program, count: int) -> Ready:
    _start_all(program, count)
    return Ready(partial(run, program, _claimed(program, count)))


def _run_pure(program: Program, count: int) -> Ready:
    for _ in range(count):
        program.pure_five.start()
    return Ready(partial(run, program, _claimed(program, count)))


def _result(program: Program, count: int) -> Ready:
    started = [program.five.start() for _ in range(count)]
    run_ready(program)

    def results() -> None:
        for each in started:
            each.result()

    return Ready(results)


def _commit(program: Program, count: int) -> Ready:
    """The ends of a batch in one commit, as the committer makes it of many threads."""
    _start_all(program, count)
    end = Finish(state=InvocationState.COMPLETED, outcome=b"null")
    ends = [
        Transition(
            key=record.key,
            epoch=record.epoch,
            head=record.head,
            token=bytes(16),
            head_hash=record.head_hash,
            disposition=end,
        )
        for record in _claimed(program, count)
    ]
    return Ready(partial(program.app.runtime.backend.commit, ends))


COUNTED = (
    *(
        Counted(name=f"draws.{kind}.{when}", unit="a draw", ready=ready(kind), kind="length")
        for kind in ("random", "uuid", "utc_now")
        for when, ready in (("first", _draws), ("replayed", _draws_replayed))
    ),
    Counted(name="tasks.first", unit="a task", ready=_tasks, kind="length"),
    Counted(name="tasks.pure", unit="a task", ready=_pure_tasks, kind="length"),
    Counted(name="tasks.replayed", unit="a task", ready=_tasks_replayed, kind="length"),
    Counted(name="five.start", unit="a workflow", ready=_start, kind="times"),
    Counted(name="five.run", unit="a workflow", ready=_run, kind="times"),
    Counted(name="five.pure", unit="a workflow", ready=_run_pure, kind="times"),
    Counted(name="five.result", unit="a workflow", ready=_result, kind="times"),
    Counted(name="claim.of_one", unit="a claim", ready=_claim_one, kind="times"),
    Counted(name="claim.of_none", unit="a claim", ready=_claim_none, kind="times"),
    Counted(name="claim.of_16", unit="a claim", ready=_claim_together, kind="batch"),
    Counted(name="commit.of_16_ends", unit="a commit", ready=_commit, kind="batch"),
)
