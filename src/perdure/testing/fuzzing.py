"""Schedule fuzzing: a workflow under many orders in which its branches get their results."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, ParamSpec, Unpack

from perdure.api.outside import refuse_running_loop
from perdure.app import Perdure
from perdure.core.entries import COMMANDS, Entry, EntryKind
from perdure.core.identity import InvocationKey
from perdure.engine.bodies import BodyRunner, Deliver, MayStart, Result
from perdure.engine.context import TaskContext
from perdure.engine.effects import Call
from perdure.errors import ConfigurationError, PerdureError
from perdure.testing.apps import IN_A_THREAD, app_of, line_of_workflow, workflow_of
from perdure.testing.comparing import line_of
from perdure.testing.endings import unmeant
from perdure.testing.lives import Begin, Drive, Life, Plan, Stopped, World, living, settled
from perdure.testing.options import FuzzOptions, checked
from perdure.testing.reports import Finding, Kind, Report, line_in
from perdure.testing.stores import Store, make_store
from perdure.testing.survivors import Survivors
from perdure.testing.watching import Watch

P = ParamSpec("P")

RUNS = 200
PATIENCE_SECONDS = 10.0
"""How long bodies are waited for before those that have ended are put in order without them."""
_ORDERED = COMMANDS - {EntryKind.DROPPED, EntryKind.WATCH}
"""What has one value whatever comes first. A branch that loses may be dropped anywhere."""

Place = tuple[InvocationKey, str, int]


class _ShuffledBodies(BodyRunner):
    """Holds the results of bodies of branches back until all wait, and gives them by chance."""

    def __init__(self, kept: BodyRunner, app: Perdure, world: World, seed: int) -> None:
        settings, runtime = app.settings, app.runtime
        super().__init__(world, runtime.types, settings.concurrency, runtime.store_id)
        kept.close()
        self._chance = random.Random(seed)  # noqa: S311 - reproducible by its seed
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._running: set[int] = set()
        self._held: dict[int, tuple[Deliver, Result]] = {}
        self._alone = threading.local()

    def run(self, call: Call, context: TaskContext, may_start: MayStart) -> Result:
        """See `BodyRunner.run`: one alone is no choice."""
        self._alone.here = True
        try:
            return super().run(call, context, may_start)
        finally:
            self._alone.here = False

    def start(
        self, call: Call, context: TaskContext, deliver: Deliver, may_start: MayStart
    ) -> Callable[[], None]:
        """See `BodyRunner.start`."""
        if getattr(self._alone, "here", False):
            return super().start(call, context, deliver, may_start)
        number = next(self._numbers)
        with self._changed:
            self._running.add(number)

        def hold(result: Result) -> None:
            with self._changed:
                self._running.discard(number)
                self._held[number] = deliver, result
                self._changed.notify_all()

        abandon = super().start(call, context, hold, may_start)

        def give_up() -> None:
            with self._changed:
                self._running.discard(number)
                self._held.pop(number, None)
                self._changed.notify_all()
            abandon()

        return give_up

    def give_one(self) -> None:
        """The workflow waits, if this is its thread: one of the results, whichever."""
        if not threading.current_thread().name.startswith("perdure-run"):
            return
        with self._changed:
            self._changed.wait_for(lambda: not self._running, PATIENCE_SECONDS)
            if not self._held:
                return
            deliver, result = self._held.pop(self._chance.choice(sorted(self._held)))
        deliver(result)


@dataclass(frozen=True)
class FuzzSchedules:
    """Runs a workflow of yours with its branches ending in many orders, and compares.

        from perdure.testing import fuzz_schedules

        def test_the_order_of_parts_does_not_matter():
            fuzz_schedules(build, ["roof", "walls", "floor"])

    Each operation must be asked for with the same arguments, and the workflow must end the same,
    whichever branch (of `wf.gather`, `asyncio.gather` and the like) gets its result first. That
    is so as long as branches share nothing but what they return; a list that all of them append to
    breaks it. It is not so for a workflow that wants to know who was first.

    Tasks that give something else on each call need doubles, else nothing can be compared.

    Attributes:
        runs: how many orders are tried.
        seed: of the first; each run has the next one.
        drive, begin, store, raises: see `CrashEverywhere`.
    """

    runs: int = RUNS
    seed: int = 0
    drive: Drive | None = None
    begin: Begin | None = None
    store: Store = "memory"
    raises: tuple[type[BaseException], ...] = ()

    def options(self, **given: Unpack[FuzzOptions]) -> FuzzSchedules:
        """The same with other options; see the class.

        Raises:
            ConfigurationError: one of them is of no use, or there are no runs to compare.
        """
        made = FuzzSchedules(**checked(given, FuzzOptions))
        if made.runs < 2:
            raise ConfigurationError(f"runs={made.runs!r}: expected at least 2, to compare them.")
        return made

    def __call__(self, workflow: Callable[P, Any], *args: P.args, **kwargs: P.kwargs) -> Report:
        """Try it, and fail if an order shows.

        Raises:
            UnsafeWorkflow: something was found; its `report` is the same.
        """
        report = self.report(workflow, *args, **kwargs)
        report.raise_findings()
        return report

    def report(self, workflow: Callable[P, Any], *args: P.args, **kwargs: P.kwargs) -> Report:
        """The same without failing. `report.orders` counts the orders that were seen."""
        registered = workflow_of(workflow)
        refuse_running_loop("fuzz_schedules", IN_A_THREAD)
        app, report = app_of(registered), Report(registered.name)
        make = make_store(self.store)
        plan = settled(Plan(app, registered, args, kwargs, self.drive, make, begin=self.begin))
        orders: set[tuple[str, ...]] = set()
        first: dict[Place, Entry] | None = None
        line = line_of_workflow(registered)
        for seed in range(self.seed, self.seed + self.runs):
            with living(plan._replace(prepare=_prepare_with(seed)), Watch()) as life:
                life.run(())
                survivors = life.survivors()
                operations = dict(_operations(survivors))
                first = operations if first is None else first
                orders.add(_order(survivors))
                report.runs += 1
                report.boundaries = report.boundaries or len(life.calls)
                report.waits += life.drops
                for found in _findings(life, first, operations):
                    report.add(replace(found, where=found.where or line), f"seed {seed}")
                if isinstance(life.end, Stopped) and life.end.is_hopeless:
                    break
                if seed == self.seed and (failed := self._unmeant(life, line)) is not None:
                    report.add(failed, f"seed {seed}")
        report.orders = len(orders)
        return report

    def _unmeant(self, life: Life, line: str) -> Finding | None:
        end = life.end
        return None if isinstance(end, Stopped) else unmeant(end, self.raises, line)


def _prepare_with(seed: int) -> Callable[[Perdure, World], None]:
    def prepare(app: Perdure, world: World) -> None:
        runtime = app.runtime
        runtime.bodies = bodies = _ShuffledBodies(runtime.bodies, app, world, seed)
        world.before_timed_wait = bodies.give_one

    return prepare


def _operations(survivors: Survivors) -> Iterator[tuple[Place, Entry]]:
    """What each workflow asked for, by its place."""
    for key, journal in survivors.journals.items():
        for entry in journal:
            if entry.kind in _ORDERED:
                yield (key, entry.scope, entry.ordinal), entry
            elif entry.kind == EntryKind.END and not entry.scope:
                yield (key, "", 0), entry


def _order(survivors: Survivors) -> tuple[str, ...]:
    """In which order results came."""
    return tuple(
        f"{key.invocation_id}{entry.scope}:{entry.ordinal}"
        for key, journal in survivors.journals.items()
        for entry in journal
        if entry.kind == EntryKind.TASK
    )


def _findings(
    life: Life, first: dict[Place, Entry], operations: dict[Place, Entry]
) -> Iterator[Finding]:
    if isinstance(life.end, Stopped):
        yield Finding(Kind.STOPPED, life.end.reason, line_in(life.end.reason))
        return
    for found in life.verify():
        if isinstance(found, PerdureError):
            yield Finding(Kind.DIVERGENCE, str(found), line_in(str(found)))
            return
    for place in [*first, *operations]:
        then, now = first.get(place), operations.get(place)
        if then is None or now is None or _asked(then) != _asked(now):
            there = now or then
            yield Finding(
                Kind.UNSTABLE,
                f"what is asked for here depends on the order in which branches end: {_told(then)} "
                f"in one, {_told(now)} in another. Branches must share nothing but what they "
                "return.",
                "" if there is None else line_of(there),
            )
            return
        if then.body != now.body:
            yield Finding(Kind.UNSTABLE, _other_value(then), line_of(then))
            return


def _asked(entry: Entry) -> tuple[str, str, bytes]:
    return entry.kind, entry.name, entry.digest


def _told(entry: Entry | None) -> str:
    return "nothing" if entry is None else f"{entry.kind} {entry.name!r} {entry.body[:120]!r}"


def _other_value(entry: Entry) -> str:
    if entry.kind == EntryKind.END:
        return "how the workflow ends depends on the order in which its branches end"
    return (
        f"{entry.kind} {entry.name!r} gives something else in each run for the same arguments, so "
        "orders cannot be compared. Give the task a double that always gives the same."
    )


fuzz_schedules = FuzzSchedules()
"""With the usual options: see `FuzzSchedules`, and its `options(...)` for others."""
