"""Crash everywhere: one workflow, killed at every durable boundary, and what must hold after it.

`crash_everywhere` runs a workflow once undisturbed and counts the calls that change something in
the state backend. Then, for each of these calls, it starts over on an empty store, lets the process
die just before the call, or just after it, or leaves the outcome of the call open, or lets another
process take over while the first still believes that it is the owner; lets a fresh process go on
with what survived, and looks:

* the workflow ends, and its result is what its journal says;
* no task whose outcome was recorded runs again, and no failed attempt that was recorded does;
* no body of an at-most-once task runs again unless its failure was recorded;
* a body that does run again gets the arguments and the idempotency key of its first run, unless
  its task is pure, and none that is not pure ran for nothing but what the journal has forgotten;
* whatever was recorded when the process died is there afterwards, byte by byte;
* every start that is recorded exists, and nothing else does;
* the journals replay, at the moment of the crash and at the end, without calling anything;
* the finished workflow, asked for once more, calls nothing and gives the same.

Tasks should differ on every call, like the world does: a test whose tasks always give the same
cannot see that one of them ran twice.
"""

from __future__ import annotations

import contextlib
import functools
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from perdure.api.settings import Settings
from perdure.app import Perdure
from perdure.backends.base import Backend
from perdure.backends.server import Spread
from perdure.core.lifecycle import InvocationState
from perdure.drivers import make_backend
from perdure.engine.env import Env, SystemEnv
from perdure.errors import PerdureError
from perdure.testing.executions import Executions, misrun
from perdure.testing.faults import (
    Call,
    Fault,
    FaultyBackend,
    FaultySpread,
    Mode,
    MortalEnv,
    SimulatedCrash,
)
from perdure.testing.survivors import NOTHING, Survivors

MakeApp = Callable[[Backend, Env], Perdure]
"""Makes the app of one process: `Perdure(backend=backend, env=env, ...)` with its functions."""

WORKFLOW_ID = "crash-everywhere"
RESULT_SECONDS = 30.0
"""A workflow under test that has not ended by then hangs."""
LOOK_SECONDS = 0.001
LOOKS_MAX = 1_000
"""How often it is looked whether a standing worker has made its first claim."""
PROBLEMS_MAX = 5
"""One mistake shows at many boundaries; after so many it has been seen."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the workflow ended: what it returned, or what it raised, as text."""

    value: object = None
    error: str = ""


@dataclass(slots=True)
class Report:
    """What `crash_everywhere` did and found.

    Attributes:
        boundaries: calls of an undisturbed run that change something.
        failed: whether the undisturbed workflow ended by raising; every other run must too.
        runs: scenarios, each of one crash or more (or open outcomes) and a resumption.
        struck: how often each kind of call was struck in each way.
        problems: what was wrong, as sentences; each begins with the faults that led to it.
    """

    workflow: str
    boundaries: int = 0
    failed: bool = False
    runs: int = 0
    struck: Counter[tuple[Call, Mode]] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def raise_problems(self) -> None:
        """Fail a test if anything was wrong.

        Raises:
            AssertionError: with every problem found.
        """
        if self.problems:
            raise AssertionError(f"{self.workflow}:\n" + "\n".join(self.problems))


class _Process:
    """One app on what survives, from its start to its death or its good end."""

    def __init__(self, scenario: _Scenario, number: int, fault: Fault | None) -> None:
        self.env = MortalEnv()
        faulty = FaultySpread if isinstance(scenario.store, Spread) else FaultyBackend
        self.backend = faulty(scenario.store, self.env, fault, scenario.gone)
        self.app = scenario.make_app(self.backend, self.env)
        scenario.executions.watch(self.app, self.env, number)

    def run(self, workflow: str, args: tuple[Any, ...]) -> Outcome | None:
        """Start the workflow, or find it, and wait for its end; None if the process died."""
        try:
            if not self.app.settings.local_worker:
                self._start_worker()
            named = self.app.named(workflow).options(id=WORKFLOW_ID)
            handle = named.start(*args)
            try:
                return Outcome(value=handle.result(RESULT_SECONDS))
            except Exception as error:
                if handle.status is not InvocationState.FAILED:
                    raise
                return Outcome(error=f"{type(error).__name__}: {error}")
        except SimulatedCrash:
            return None

    def _start_worker(self) -> None:
        """Have a standing worker that knows what there is, so that it may claim what is started."""
        self.app.start_worker()
        for _ in range(LOOKS_MAX):
            if all(starter.is_ready for starter in self.app.runtime.starters):
                return
            self.env.signal().wait(LOOK_SECONDS)

    def end(self) -> None:
        """Let go of everything, the way a process does."""
        with contextlib.suppress(SimulatedCrash):
            runtime = self.app.runtime
            try:
                self.app.close()
            finally:
                self.env.kill()
                runtime.bodies.close()
        self.env.kill()


class _Scenario:
    """One store, the processes that come and go on it, and what they leave."""

    def __init__(self, harness: _Harness) -> None:
        self.make_app = harness.make_app
        self.store = harness.make_store()
        self.executions = Executions()
        self.gone: frozenset[str] = frozenset()
        self.moments = [NOTHING]
        self.struck: list[tuple[Call, Mode]] = []
        self.boundaries = 0
        self.failed: bool | None = None
        self._workflow = harness.workflow
        self._args = harness.args
        self._app_name = ""

    def _process(self, fault: Fault | None = None) -> _Process:
        process = _Process(self, len(self.moments) - 1, fault)
        self._app_name = process.app.settings.name
        return process

    def play(self, faults: Iterable[Fault]) -> Iterator[str]:
        """Let one process after the other meet its fault, then one go on undisturbed; check."""
        for fault in [*faults, None]:
            process = self._process(fault)
            process.backend.meanwhile = functools.partial(self._take_over, process)
            try:
                outcome = process.run(self._workflow, self._args)
            except PerdureError as error:
                yield f"the workflow did not end: {type(error).__name__}: {error}; {self._live()}"
                return
            finally:
                process.end()
            self._note(process, fault)
            if outcome is not None:
                break
            self.moments.append(Survivors.of(self.store, self._app_name))
            yield from self._check_replay(None)
        else:
            yield "the process died without a fault"
            return
        self.boundaries = len(process.backend.calls)
        self.failed = bool(outcome.error)
        yield from self._check(outcome)

    def _take_over(self, zombie: _Process) -> None:
        """Run all to the end in another process, while the first one is taken for dead."""
        self.gone |= zombie.backend.claimed_as
        self.moments.append(Survivors.of(self.store, self._app_name))
        process, ended = self._process(), threading.Event()

        def run() -> None:
            try:
                with contextlib.suppress(PerdureError):
                    process.run(self._workflow, self._args)
            finally:
                process.end()
                ended.set()

        # Not on this thread, which may be in the middle of a workflow of the zombie.
        SystemEnv().spawn("take-over", run)
        ended.wait()

    def _note(self, process: _Process, fault: Fault | None) -> None:
        self.gone |= process.backend.claimed_as
        if fault is not None and process.backend.struck is not None:
            self.struck.append((process.backend.struck, fault.mode))

    def shape(self) -> Counter[tuple[str, str]]:
        """How many invocations there are of each kind and name."""
        return Survivors.of(self.store, self._app_name).shape()

    def _live(self) -> str:
        rows = Survivors.of(self.store, self._app_name).rows.values()
        return ", ".join(f"{row.name} {row.key} is {row.state}" for row in rows)

    # --- checks ---------------------------------------------------------------------------------

    def _check(self, outcome: Outcome) -> Iterator[str]:
        final = Survivors.of(self.store, self._app_name)
        yield from final.unsound()
        for moment in self.moments:
            yield from moment.changed_in(final)
        yield from misrun(self.moments, final, self.executions.all, self.executions.once)
        yield from self._check_replay(outcome)
        yield from self._check_once_more(outcome)

    def _check_replay(self, outcome: Outcome | None) -> Iterator[str]:
        """Every journal replays without calling or recording anything."""
        before = len(self.executions.all)
        process = self._process()
        survivors = Survivors.of(self.store, self._app_name)
        try:
            for key, row in survivors.rows.items():
                if row.kind == "workflow":
                    found = process.app.verify(key.invocation_id)
                    mine = outcome is not None and key.invocation_id == WORKFLOW_ID
                    if mine and outcome is not None and found.value != outcome.value:
                        yield f"the journal says {found.value!r}, the result was {outcome.value!r}"
        except PerdureError as error:
            yield f"the journal does not replay: {type(error).__name__}: {error}"
        finally:
            process.end()
        # A thread of the dead process may be on its way into a body still, past its last check.
        number = len(self.moments) - 1
        ran = [run for run in self.executions.all[before:] if run.process == number]
        if process.backend.calls or ran:
            yield f"verify called something: {process.backend.calls}, {ran}"

    def _check_once_more(self, outcome: Outcome) -> Iterator[str]:
        """A finished workflow that is run again calls nothing."""
        before = len(self.executions.all)
        process = self._process()
        try:
            again = process.run(self._workflow, self._args)
            calls = list(process.backend.calls)
        finally:
            process.end()
        if again != outcome:
            yield f"asked again it gives {again}, before it was {outcome}"
        if calls != ["start"] or len(self.executions.all) > before:
            yield f"asked again it did {calls} and ran {self.executions.all[before:]}"


class _Harness:
    """What all scenarios of one workflow have in common."""

    def __init__(
        self,
        make_app: MakeApp,
        workflow: str,
        args: tuple[Any, ...],
        make_store: Callable[[], Backend],
    ) -> None:
        self.make_app = make_app
        self.workflow = workflow
        self.args = args
        self.make_store = make_store
        self.report = Report(workflow)
        self._shape: Counter[tuple[str, str]] | None = None

    @property
    def is_full(self) -> bool:
        """Whether enough problems were found."""
        return len(self.report.problems) >= PROBLEMS_MAX

    def play(self, *faults: Fault) -> _Scenario:
        """Play one scenario; its problems go to the report."""
        scenario = _Scenario(self)
        try:
            problems = list(scenario.play(faults))
            problems += self._check_shape(scenario)
        finally:
            scenario.store.close()
        told = " then ".join(f"{mode} call {number}" for number, mode in faults) or "undisturbed"
        self.report.problems += [f"[{told}] {problem}" for problem in problems]
        self.report.runs += 1
        self.report.struck.update(scenario.struck)
        return scenario

    def _check_shape(self, scenario: _Scenario) -> Iterator[str]:
        shape = scenario.shape()
        if self._shape is None:
            self._shape = shape
            self.report.failed = bool(scenario.failed)
        elif shape != self._shape:
            yield f"invocations {shape}, undisturbed there are {self._shape}"
        if scenario.failed is not None and scenario.failed != self.report.failed:
            yield f"it failed: {scenario.failed}, undisturbed it did: {self.report.failed}"

    def singles(self, modes: Iterable[Mode]) -> None:
        """Every boundary in every way. A disturbed run may have more boundaries than a calm one."""
        for mode in modes:
            number = 0
            while not self.is_full:
                number += 1
                scenario = self.play(Fault(number, mode))
                if not scenario.struck and number > self.report.boundaries:
                    break

    def pairs(self, count: int, seed: int, modes: tuple[Mode, ...]) -> None:
        """A sample of two faults in a row: the process that resumes is struck too."""
        chance = random.Random(seed)  # noqa: S311 - a sample, reproducible by its seed
        for _ in range(count):
            if self.is_full:
                return
            faults = (
                Fault(chance.randint(1, self.report.boundaries), chance.choice(_DEADLY)),
                Fault(chance.randint(1, self.report.boundaries), chance.choice(modes)),
            )
            self.play(*faults)


_DEADLY = (Mode.BEFORE, Mode.AFTER)


def crash_everywhere(
    make_app: MakeApp,
    workflow: str,
    args: tuple[Any, ...] = (),
    *,
    make_store: Callable[[], Backend] | None = None,
    modes: Iterable[Mode] = tuple(Mode),
    pairs: int = 0,
    seed: int = 0,
) -> Report:
    """Kill a workflow at every durable boundary, in every way, and check what comes of it.

    Everything happens in this process; nothing sleeps and nothing is left to chance, but threads
    may order concurrent calls differently, so that call number 7 need not be the same one twice.

    Args:
        make_app: makes the app of one "process" on the backend and env that it is given. With
            `local_worker=False` each process starts a standing worker first, which may claim what
            is started beside it in the same transaction.
        workflow: registered name.
        args: its arguments.
        make_store: an empty state backend for each scenario; default: in memory.
        modes: what happens at each boundary.
        pairs: how many scenarios of two faults to try on top, chosen by `seed`.

    Returns:
        Counts, and what was wrong; `report.raise_problems()` turns that into a failed test.
    """
    harness = _Harness(make_app, workflow, args, make_store or _in_memory)
    harness.report.boundaries = harness.play().boundaries
    if not harness.report.problems:
        harness.singles(modes)
        harness.pairs(pairs, seed, tuple(modes))
    return harness.report


def _in_memory() -> Backend:
    return make_backend(Settings(database_url="memory://"), SystemEnv())
