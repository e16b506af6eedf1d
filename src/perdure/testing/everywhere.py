"""Crash everywhere, for users: their own workflow with a crash at each durable boundary."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, ParamSpec, TypeVar, Unpack

from perdure.api.outside import refuse_running_loop
from perdure.core.entries import EntryKind
from perdure.errors import PerdureError
from perdure.testing.apps import IN_A_THREAD, app_of, line_of_workflow, workflow_of
from perdure.testing.comparing import keys_drawn, line_of, lines_of_bodies, unlike
from perdure.testing.endings import Ended, unmeant
from perdure.testing.executions import Execution, misrun
from perdure.testing.faults import Fault, Mode
from perdure.testing.lives import Begin, Drive, Life, Plan, Stopped, living, settled
from perdure.testing.options import CrashOptions, checked, refuse_unknown_tasks
from perdure.testing.reports import Finding, Kind, Repeated, Report, line_in
from perdure.testing.stores import Store, make_store
from perdure.testing.survivors import Survivors, body_id
from perdure.testing.watching import Watch

P = ParamSpec("P")
R = TypeVar("R")

_NO_PROCESS = -1
SHOWS_MAX = 60
"""So often findings may show before the search ends: more of the same says nothing new."""

SET_RUNS = 4
"""So often a set is tried by itself: one of two items comes in the same order every second time."""

_MODES = (Mode.BEFORE, Mode.AFTER, Mode.UNKNOWN, Mode.UNKNOWN_LOST)
_TOLD = {
    Mode.BEFORE: "crash before",
    Mode.AFTER: "crash after",
    Mode.UNKNOWN: "unknown outcome of",
    Mode.UNKNOWN_LOST: "unknown outcome of, and loss of,",
}
_MARKS = {
    "does not replay": Kind.DIVERGENCE,
    "after its frame was dropped": Kind.SWALLOWED,
    "is not deterministic": Kind.UNSTABLE,
}
"""How the engine's messages tell what they are about."""
_FOR_PRODUCTION = "\nThe workflow is parked"
"""Where a report of the engine begins to speak of a workflow that is under way."""
_BEYOND_BELIEF = frozenset(
    {Kind.DIVERGENCE, Kind.UNSTABLE, Kind.SWALLOWED, Kind.STOPPED, Kind.FOREIGN}
)
"""Mistakes of a workflow after which the promises of perdure do not speak of it any more."""


def _nobody(report: Report) -> None:
    del report


@dataclass(frozen=True)
class CrashEverywhere:
    """Runs a workflow of yours with a crash at each durable boundary, and tells what it finds.

        from perdure.testing import crash_everywhere

        def test_order():
            crash_everywhere(order, "order-1", cents=1999)

    First the workflow runs undisturbed, twice, with its frame dropped at each wait. Then, for each
    call that makes something durable, it starts over on an empty store, and the process dies just
    before the call, or just after it, or the outcome of the call is left unknown; a fresh process
    goes on. What is looked at is told by `Kind`.

    Tasks run for real, so often that you will want doubles for those with effects
    (`perdure.testing.replace`), and on threads, whatever executor they have. Sleeps, timeouts and
    retries take no time.

    Attributes:
        drive: called in each process with the handle of the workflow, on a thread of its own; it
            sends messages and the like. Time stands still while it works, and passes while it waits
            for a result. It comes again after a crash, as a client would: give its messages an id.
        begin: called before each run; it empties the databases that tasks write to, say. Ids and
            keys are the same in every run, so what is left of one is found by the next.
        store: "memory", "sqlite" (a temporary file), or a function that makes an empty store on a
            given clock.
        raises: what the workflow is meant to raise, as for `pytest.raises`; () if it is to return.
        idempotent: tasks (or their names) that may run twice although nothing in the code says so.
        allow: calls in workflow code that are known to be harmless, such as "time.time()".
        pairs: how many runs with two crashes to try on top, chosen by `seed`.
        told: gets each report.
    """

    drive: Drive | None = None
    begin: Begin | None = None
    store: Store = "memory"
    raises: tuple[type[BaseException], ...] = ()
    idempotent: frozenset[str] = frozenset()
    allow: frozenset[str] = frozenset()
    pairs: int = 0
    seed: int = 0
    told: Callable[[Report], None] = _nobody

    def options(self, **given: Unpack[CrashOptions]) -> CrashEverywhere:
        """The same with other options; see the class.

        Raises:
            ConfigurationError: one of them is of no use.
        """
        return CrashEverywhere(told=self.told, **checked(given, CrashOptions))

    def __call__(self, workflow: Callable[P, Any], *args: P.args, **kwargs: P.kwargs) -> Report:
        """Try it, and fail if it cannot bear it.

        Args:
            workflow: decorated with `@app.workflow`, sync or async; the others are its arguments.

        Returns:
            What was tried; `print` it.

        Raises:
            UnsafeWorkflow: something was found; its `report` is the same.
        """
        report = self.report(workflow, *args, **kwargs)
        report.raise_findings()
        return report

    def report(self, workflow: Callable[P, Any], *args: P.args, **kwargs: P.kwargs) -> Report:
        """The same without failing: what was tried, and what was found."""
        registered = workflow_of(workflow)
        refuse_running_loop("crash_everywhere", IN_A_THREAD)
        app = app_of(registered)
        refuse_unknown_tasks(self.idempotent, app)
        make = make_store(self.store)
        plan = Plan(app, registered, args, kwargs, self.drive, make, begin=self.begin)
        watch = Watch()
        with watch.over(app):
            report = _Search(self, settled(plan), watch).run()
        self.told(report)
        return report


class _Search:
    """All runs of one workflow."""

    def __init__(self, options: CrashEverywhere, plan: Plan, watch: Watch) -> None:
        self.options = options
        self.plan = plan
        self.watch = watch
        self.name = plan.workflow.name
        self.report = Report(self.name)
        self.calm: Survivors | None = None
        self.failed = False
        self.is_hopeless = False

    def run(self) -> Report:
        """Undisturbed runs, then single faults, then pairs of them."""
        report = self.report
        report.boundaries = self.play()
        if not self.is_hopeless:
            self.play()
        if self.calm is not None:
            self.singles()
            self.doubles()
        for called, line, instead in self.watch.impure:
            if called not in self.options.allow:
                message = (
                    f"{called} gives something else on a replay, so nothing that the workflow does "
                    f"may depend on it. Use {instead}."
                )
                report.add(Finding(Kind.IMPURE_CALL, message, line), "")
        if report.of(Kind.DIVERGENCE) or report.of(Kind.UNSTABLE):
            self.blame_sets()
        return report

    def blame_sets(self) -> None:
        """Whether sets in an order of their own are the cause: without that, all is well."""
        orders, told = self.watch.orders, self.report
        lines = list(orders.lines)
        if not lines or self.differs(frozenset()):
            self.report = told
            return
        guilty = [line for line in lines if self.differs(frozenset({line}))]
        self.report = told
        for line in guilty or lines:  # several together, if none does it alone
            message = (
                "a set is gone through here, and the workflow depends on its order, which is "
                "another one in each process. Use sorted(...)."
            )
            told.add(Finding(Kind.SET_ORDER, message, line), "")

    def differs(self, shuffled: frozenset[str]) -> bool:
        """Whether runs differ when only the sets at these lines come in any order."""
        self.watch.orders.only, self.calm = shuffled, None
        self.report = Report(self.name)
        for _ in range(SET_RUNS if shuffled else 2):
            self.play()
            if self.report.of(Kind.DIVERGENCE) or self.report.of(Kind.UNSTABLE):
                return True
        return False

    @property
    def is_full(self) -> bool:
        """Whether enough was seen."""
        return sum(each.count for each in self.report.findings) >= SHOWS_MAX

    def singles(self) -> None:
        """Every boundary in every way; a disturbed run may have more of them than a calm one."""
        for mode in _MODES:
            number = 0
            while not self.is_full:
                number += 1
                struck = self.report.crashes.total()
                self.play(Fault(number, mode))
                if self.report.crashes.total() == struck and number > self.report.boundaries:
                    break

    def doubles(self) -> None:
        """Two crashes in a row, a sample."""
        chance = random.Random(self.options.seed)  # noqa: S311 - a sample, reproducible by its seed
        for _ in range(self.options.pairs):
            if self.is_full:
                return
            first, second = (
                Fault(chance.randint(1, self.report.boundaries), mode)
                for mode in (chance.choice(_MODES[:2]), chance.choice(_MODES))
            )
            self.play(first, second)

    def play(self, *faults: Fault) -> int:
        """One run; gives the number of its durable calls."""
        report = self.report
        with living(self.plan, self.watch) as life:
            life.run(faults)
            calls = len(life.calls)
            told = (
                " then ".join(f"{_TOLD[mode]} call {number}" for number, mode in faults)
                or "undisturbed"
            )
            if life.struck:
                told += f" ({', '.join(call for call, _ in life.struck)})"
            report.runs += 1
            report.waits += life.drops
            report.crashes.update((call, mode.value) for call, mode in life.struck)
            for finding in self.findings(life):
                report.add(finding, told)
        return calls

    def findings(self, life: Life) -> Iterator[Finding]:
        """What is wrong with one run."""
        survivors = life.survivors()
        if isinstance(life.end, Stopped):
            self.is_hopeless = life.end.is_hopeless
            yield self.stopped(life.end.reason, survivors)
            return
        found = [*self.unmeant(life.end)] if self.calm is None else []
        found += [*self.foreign(survivors), *self.unstable(survivors, life.end)]
        found += [*self.replayed(life), *self.repeated(life)]
        yield from found
        if not _BEYOND_BELIEF & {each.kind for each in found}:
            yield from self.broken(life, survivors)

    def unmeant(self, end: Ended) -> Iterator[Finding]:
        """Whether the undisturbed run ended otherwise than it was meant to."""
        found = unmeant(end, self.options.raises, self.definition_line)
        if found is not None:
            yield found

    def foreign(self, survivors: Survivors) -> Iterator[Finding]:
        """Which tasks are called that are not the app's, so that nobody watches their bodies."""
        for journal in survivors.journals.values():
            for entry in journal:
                if entry.kind == EntryKind.TASK and entry.name not in self.plan.app.registry:
                    told = (
                        f"task {entry.name!r} belongs to another app, so how often its body runs "
                        "is not seen. Register it with the app of the workflow."
                    )
                    yield Finding(Kind.FOREIGN, told, line_of(entry))

    def stopped(self, reason: str, survivors: Survivors) -> Finding:
        """What a workflow that does not come to an end, or does not replay, says of itself."""
        kind = next((kind for mark, kind in _MARKS.items() if mark in reason), Kind.STOPPED)
        where = line_in(reason)
        if not where and kind is Kind.STOPPED:
            lines = [line_of(each) for journal in survivors.journals.values() for each in journal]
            where = next((line for line in reversed(lines) if line), "")
        told = reason.partition(_FOR_PRODUCTION)[0]
        return Finding(kind, told, where or self.definition_line)

    def unstable(self, survivors: Survivors, end: Ended) -> Iterator[Finding]:
        """Whether it asked for the same, and ended the same, as the undisturbed run."""
        if self.calm is None:
            self.calm, self.failed = survivors, bool(end.error)
            return
        found = list(unlike(self.calm, survivors))
        if not found and bool(end.error) != self.failed and self.is_alike(survivors):
            how = end.error or "it returned"
            found = [Finding(Kind.UNSTABLE, f"it ended otherwise: {how}", self.definition_line)]
        for each in found:
            yield replace(each, where=each.where or self.definition_line)

    def is_alike(self, survivors: Survivors) -> bool:
        """Whether the store draws as that of the calm run does."""
        return survivors.rows.keys() == (self.calm or survivors).rows.keys()

    @property
    def definition_line(self) -> str:
        """Where the workflow is defined."""
        return line_of_workflow(self.plan.workflow)

    def replayed(self, life: Life) -> Iterator[Finding]:
        """Whether the journals replay, to the same end."""
        ran = len(self.watch.runs.all)
        for found in life.verify():
            if isinstance(found, PerdureError):
                yield self.stopped(str(found), life.survivors())
        if len(self.watch.runs.all) > ran:
            yield Finding(Kind.BROKEN, "a replay ran task bodies")

    def repeated(self, life: Life) -> Iterator[Finding]:
        """Which bodies ran again for one call."""
        survivors = life.survivors()
        recorded, lines, keys = survivors.attempts(), lines_of_bodies(survivors), None
        runs: dict[str, list[Any]] = {}
        for run in self.watch.runs.all:
            runs.setdefault(run.body, []).append(run)
        for body, all_of_it in runs.items():
            run = all_of_it[-1]
            where = lines.get(body, "")
            seen = {each.seen for each in all_of_it}
            if len(seen) > 1 and not run.pure:
                yield Finding(
                    Kind.UNSTABLE,
                    f"task {run.name!r} was called with other arguments when it was run again "
                    f"after a crash: {' and '.join(sorted(s.rpartition(' ')[0] for s in seen))}",
                    where,
                )
            if len(all_of_it) <= recorded[body] or not life.struck or run.once or run.undoable:
                continue
            keys = keys_drawn(survivors) if keys is None else keys
            told = self.watch.arguments[body]
            protection = self.protection(run.name, body, told, keys, pure=run.pure)
            self.report.repeated[Repeated(run.name, told, protection, where)] += 1
            if not protection:
                yield Finding(
                    Kind.REPEATED,
                    f"task {run.name!r} ran again after a crash, with the same arguments {told}, "
                    "so its effect may happen twice. Give wf.idempotency_key() to what it calls; "
                    'or declare it pure=True or delivery="at_most_once"; or tell the test that it '
                    f"is harmless: .options(idempotent=[{run.name.rpartition('.')[2]}])",
                    where,
                )

    def protection(self, name: str, body: str, told: str, keys: set[str], *, pure: bool) -> str:
        """What makes it harmless that a body runs twice."""
        if pure:
            return "pure"
        if self.watch.is_keyed(body) or any(key in told for key in keys):
            return "keyed"
        return "idempotent" if name in self.options.idempotent else ""

    def in_transactions(self, survivors: Survivors) -> Iterator[Execution]:
        """Bodies of which the database may say that they have run, so that they need not."""
        found: list[tuple[str, str]] = []
        for key, row in survivors.rows.items():
            journal = survivors.journals[key]
            found += [(e.name, body_id(row, e)) for e in journal if e.kind == EntryKind.TASK]
            found.append((row.name, key.invocation_id))
        for name, body in found:
            task = self.plan.app.registry.get(name)
            if task is not None and task.around is not None:
                yield Execution(_NO_PROCESS, body, name, "", pure=True, undoable=True)

    def broken(self, life: Life, survivors: Survivors) -> Iterator[Finding]:
        """What perdure promises and did not keep."""
        problems = [*survivors.unsound()]
        for moment in life.moments:
            problems += moment.changed_in(survivors)
        runs = [*self.watch.runs.all, *self.in_transactions(survivors)]
        problems += misrun(life.moments, survivors, runs, self.watch.runs.once)
        ran = len(self.watch.runs.all)
        again = life.step()
        if not isinstance(again, Ended) or not isinstance(life.end, Ended):
            problems.append(f"asked again it does not end: {again}")
        elif again.error != life.end.error:
            problems.append(f"asked again it gives {again.error!r}, not {life.end.error!r}")
        problems += survivors.changed_in(life.survivors())
        # What it is asked for is a start, and what a driver sends.
        if set(life.calls) - {"start", "send"} or len(self.watch.runs.all) > ran:
            problems.append(f"asked again it did {life.calls}")
        for problem in problems:
            yield Finding(Kind.BROKEN, problem)


crash_everywhere = CrashEverywhere()
"""With the usual options: see `CrashEverywhere`, and its `options(...)` for others."""
