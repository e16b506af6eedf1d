"""Plays schedules and says what came of them; makes a failing one smaller."""

from __future__ import annotations

import contextlib
import gc
import logging
import traceback
from collections import Counter
from collections.abc import Callable, Generator, Iterator

import msgspec

from perdure.testing.simulation.apps import Apps
from perdure.testing.simulation.carriers import best_carriers
from perdure.testing.simulation.checks.broken import Broken
from perdure.testing.simulation.luck import Fault
from perdure.testing.simulation.plan import Plan, Workflow
from perdure.testing.simulation.programs import shown, smaller
from perdure.testing.simulation.threads import Carriers, Course
from perdure.testing.simulation.world import World

TRIES_MAX = 300
"""Schedules that are played to make one smaller."""


class Played(msgspec.Struct, frozen=True):
    """What came of one schedule.

    Attributes:
        broken: the invariant that did not hold; "" for none.
        trace: a hash over every event.
        faults: those that happened, by number.
        kinds: how often each kind of event happened: calls, faults, refusals, changes of state.
    """

    plan: Plan
    broken: str
    text: str
    events: int
    trace: str
    faults: tuple[tuple[int, Fault], ...]
    kinds: Counter[str]


@contextlib.contextmanager
def quiet() -> Generator[None]:
    """While a schedule is played nothing is logged, and tracebacks are one line.

    (Recorded failures hold the text of their traceback, which nobody reads here; to make it takes a
    third of the time.) Its garbage is collected once it is over: what is looked
    at while it is used would count as old.
    """
    collects = gc.isenabled()
    gc.disable()
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    format_exception = traceback.format_exception
    traceback.format_exception = _shortened  # type: ignore[assignment] # it takes what is given
    try:
        yield
    finally:
        traceback.format_exception = format_exception
        logging.disable(disabled)
        if collects:
            gc.enable()


def _shortened(error: BaseException, **limits: object) -> list[str]:
    """The class alone."""
    del limits
    return [type(error).__name__]


class Runner:
    """Plays schedules, one after the other. What costs time to make is kept between them."""

    def __init__(self, carriers: Callable[[Course], Carriers] | None = None) -> None:
        """Nothing is made yet.

        Args:
            carriers: what simulated threads run on; the fastest by default.
        """
        self._apps = Apps()
        self._carriers = carriers or best_carriers()

    def play(self, plan: Plan, story: Callable[[str], None] | None = None) -> Played:
        """Play one schedule.

        Args:
            story: told of each event.

        Raises:
            Hung: a bug of the simulation.
        """
        with quiet():
            return self._play(plan, story)

    def _play(self, plan: Plan, story: Callable[[str], None] | None) -> Played:
        world = World(plan, self._apps, self._carriers, story)
        world.run()
        failure = world.failure
        invariant = failure.invariant if isinstance(failure, Broken) else type(failure).__name__
        return Played(
            plan=plan,
            broken="" if failure is None else invariant,
            text="" if failure is None else str(failure),
            events=world.scheduler.events,
            trace=world.scheduler.trace.hexdigest(),
            faults=tuple(world.luck.struck),
            kinds=world.happened(),
        )

    def shrink(self, failed: Played, tries: int = TRIES_MAX) -> Played:
        """A schedule with fewer faults and operations in which the same invariant breaks."""
        best = failed
        progress = True
        while progress and tries > 0:
            progress = False
            for plan in _smaller(best):
                tries -= 1
                played = self.play(plan)
                if played.broken == failed.broken:
                    best, progress = played, True
                    break
                if tries <= 0:
                    break
        return best


def _smaller(played: Played) -> Iterator[Plan]:
    """Plans that ask for less; those that ask for much less come first."""
    plan, faults = played.plan, [number for number, _ in played.faults]
    replace = msgspec.structs.replace
    size = len(faults)
    while size:
        for start in range(0, len(faults), size):
            yield replace(plan, spared=(*plan.spared, *faults[start : start + size]))
        size //= 2
    workflows = plan.workflows
    for index, workflow in enumerate(workflows):
        if len(workflows) > 1:
            yield replace(plan, workflows=workflows[:index] + workflows[index + 1 :])
        for less in _simpler(workflow):
            yield replace(plan, workflows=(*workflows[:index], less, *workflows[index + 1 :]))
    if plan.timetable is not None:
        yield replace(plan, timetable=None)
        for block in smaller(plan.timetable.block):
            yield replace(plan, timetable=replace(plan.timetable, block=block))
    if plan.workers > 1:
        yield replace(plan, workers=plan.workers - 1)


def _simpler(workflow: Workflow) -> Iterator[Workflow]:
    replace = msgspec.structs.replace
    if workflow.starts > 1:
        yield replace(workflow, starts=1)
    if workflow.letters:
        yield replace(workflow, letters=workflow.letters[:-1])
    if workflow.asks:
        yield replace(workflow, asks=workflow.asks[:-1])
    if workflow.is_read:
        yield replace(workflow, is_read=False)
    for name in ("cancel_at", "terminate_at", "pause_at", "changed_at", "timeout"):
        if getattr(workflow, name) is not None:
            yield replace(workflow, **{name: None})
    if workflow.by_script and workflow.app == "simulated":
        yield replace(workflow, by_script=False)
    if workflow.awaits:
        yield replace(workflow, awaits=False)
    for block in smaller(workflow.block):
        yield replace(workflow, block=block)


def described(played: Played) -> str:
    """A failure as text: what broke, in which programs, and how to see it again."""
    plan = played.plan
    lines = [f"seed {plan.seed}: {played.text}"]
    for number, workflow in enumerate(plan.workflows, 1):
        block = shown(workflow.block)
        rest = msgspec.to_builtins(msgspec.structs.replace(workflow, block=()))
        about = ", ".join(f"{name} {value}" for name, value in rest.items() if value)
        lines.append(f"  main{number} ({about}): {block}")
    if (timetable := plan.timetable) is not None:
        often = f"every {timetable.every} s, overlap {timetable.overlap}"
        lines.append(f"  timetable ({often}): {shown(timetable.block)}")
    faults = ", ".join(f"{number} {fault}" for number, fault in played.faults)
    lines.append(f"  {plan.workers} workers, lease {plan.lease:g} s; faults: {faults or 'none'}")
    lines.append(f"  {played.events} events, trace {played.trace}")
    return "\n".join(lines)
