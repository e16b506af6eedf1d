"""One simulated world: a store, the processes that come and go on it, and what happens to them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar, cast

from perdure.api.moments import from_datetime
from perdure.api.schedules import ScheduleInfo
from perdure.backends.base import (
    ClaimBatch,
    CommitResult,
    Committed,
    Holding,
    InvocationRecord,
    Started,
)
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import RESUMABLE, TERMINAL, InvocationState
from perdure.errors import PerdureError
from perdure.testing.simulation.actors import APP, Operator, Worker
from perdure.testing.simulation.apps import Apps, SimulatedApp
from perdure.testing.simulation.backend import Call, SimulatedBackend
from perdure.testing.simulation.checks.broken import Broken, Moment
from perdure.testing.simulation.checks.outside import Outside
from perdure.testing.simulation.clients import Asker, Client, Errand, Reader, Timekeeper, run
from perdure.testing.simulation.luck import Fault, Luck
from perdure.testing.simulation.oracle import Oracle
from perdure.testing.simulation.plan import SECOND, Plan, chance_of
from perdure.testing.simulation.process import Process, SimulatedEnv
from perdure.testing.simulation.stage import Stage
from perdure.testing.simulation.store import MemoryStore, SQLiteStore, Store
from perdure.testing.simulation.threads import Carriers, Course, Crashed, Scheduler
from perdure.testing.simulation.trouble import Trouble

T = TypeVar("T")

BEGINNING = 1_700_000_000_000_000
"""When every schedule begins."""
FAULTS_SECONDS = 8
"""After so long no fault happens any more, and all must come to its end."""
TICK_SECONDS = 20
"""So long after the faults a tick is decided at the latest: what failed is tried again by then."""
END_SECONDS = 600
"""So long after that at the latest."""
EVENTS_MAX = 100_000
"""A schedule of more events does not come to its end."""
CLAIMS_MAX = 12
"""So many claims of one process may be refused within a second."""
SOON = SECOND // 5
"""So long it takes at most until somebody sees that a process has ended."""


class World:
    """Everything of one schedule: the `Line` to its backends and the `Ground` of those who act.

    Attributes:
        failure: what broke, or None.
    """

    def __init__(
        self,
        plan: Plan,
        apps: Apps,
        carriers: Callable[[Course], Carriers],
        story: Callable[[str], None] | None = None,
    ) -> None:
        """Nothing happens yet."""
        self.plan = plan
        self.failure: BaseException | None = None
        self.scheduler = Scheduler(chance_of(plan.seed, "turns"), BEGINNING, carriers, story)
        self.scheduler.ended_by = self.fail
        self.scheduler.stuck = self._stuck
        self.luck = Luck(chance_of(plan.seed, "faults"), plan.spared)
        self._folder = TemporaryDirectory() if plan.store == "sqlite" else None
        self.store = self._make_store()
        self.oracle = Oracle(self.store, self._may_stop, plan.timetable)
        self.outside = Outside(self.store, self.fail, self.oracle.accepted)
        self._apps = apps
        self._chance = chance_of(plan.seed, "delays")
        self._entropy = chance_of(plan.seed, "entropy")
        self._workers: list[Worker] = []
        self._processes: list[Process] = []
        self._late: list[tuple[Call, Callable[[], object]]] = []
        self._dead: frozenset[str] = frozenset()
        self._errands = 0
        self._failed: dict[Process, deque[int]] = {}
        self._calls: Counter[str] = Counter()
        self.ground = Process(self.scheduler, "world")
        spawn = self.ground.spawn
        self.trouble = Trouble(
            self.luck, self.scheduler, self.store, self._chance, plan.lease, spawn
        )
        bodies = chance_of(plan.seed, "bodies")
        self.stage = Stage(
            plan,
            self.scheduler,
            self.store,
            self.oracle,
            bodies,
            self.fail,
            self.trouble,
        )

    def _make_store(self) -> Store:
        store_id = self.plan.seed.to_bytes(16, "big")
        if self._folder is None:
            return MemoryStore(self._clock, store_id)
        return SQLiteStore(Path(self._folder.name) / "perdure.db", self._clock, store_id)

    def run(self) -> None:
        """Play the schedule to its end; what is wrong is in `failure`.

        Raises:
            Hung: it does not come to an end for a reason of its own.
        """
        self.ground.spawn("director", self._direct)
        self.scheduler.run()
        self._apps.all_back()
        self.store.close()
        if self._folder is not None:
            self._folder.cleanup()

    # --- the course of events -------------------------------------------------------------------

    def _direct(self) -> None:
        try:
            served = [APP] * self.plan.workers
            served += [each.app for each in self.plan.workflows if each.app != APP]
            for number, app in enumerate(served):
                worker = Worker(self, f"w{number}", app)
                self._workers.append(worker)
                self.ground.spawn(f"init {worker.name}", worker.keep_alive)
            for number, workflow in enumerate(self.plan.workflows, 1):
                for copy in range(workflow.starts):
                    name = f"c{number}{'abcdef'[copy]}"
                    self._send_off(name, Client(self, name, -number, workflow), workflow.at)
                if workflow.asks:
                    asker = Asker(self, f"main{number}", workflow)
                    self._send_off(f"asker{number}", asker, workflow.at)
                if workflow.is_read:
                    reader = Reader(self, f"main{number}", workflow.app)
                    self._send_off(f"reader{number}", reader, workflow.at)
            self.ground.spawn("operator", Operator(self).run)
            until = BEGINNING + FAULTS_SECONDS * SECOND
            if self.plan.timetable is not None:
                self._send_off("timekeeper", Timekeeper(self, self.plan.timetable, until))
            self.trouble.make(self._workers, until, self._is_over)
            self._until_all_is_over()
            if self.failure is None:
                self.oracle.complete()
                self.outside.complete()
                self._replay_all()
        except Broken as broken:
            self.fail(broken)
        except Crashed:
            pass
        finally:
            self._end()

    def _send_off(self, name: str, errand: Errand, at: float = 0.0) -> None:
        self._errands += 1
        self.ground.spawn(name, partial(run, self, name, errand, at))

    def _is_over(self) -> bool:
        if self.failure is not None:
            return True
        if self._errands or self.store.damaged or self._is_changed():
            return False
        return all(row.state in TERMINAL for row in self.store.rows().values())

    def _until_all_is_over(self) -> None:
        until = self.scheduler.now + END_SECONDS * SECOND
        while not self._is_over():
            if self.scheduler.now > until or self.scheduler.events > EVENTS_MAX:
                rows = self.store.rows().values()
                live = [row for row in rows if row.state not in TERMINAL]
                text = f"{self._errands} clients wait, and these do not end: {live}"
                raise Broken("I16", text)
            self.scheduler.sleep(SECOND)

    def _replay_all(self) -> None:
        """Run every workflow on its journal once more: it must see the same and do nothing."""
        process = self.process("verifier")
        apps = {
            each.app: self.app(process, each.app, local_worker=False)
            for each in self.plan.workflows
        }
        events = self.oracle.bodies.runs.total()
        for key, row in self.store.rows().items():
            if row.kind == "workflow" and row.head:
                try:
                    apps[row.app].verify(key.invocation_id)
                except PerdureError as error:
                    raise Broken("I8", f"{key} does not replay: {error}") from error
        if self.oracle.bodies.runs.total() != events:
            raise Broken("I8", "a replay ran bodies")

    def happened(self) -> Counter[str]:
        """How often what happened: calls, refusals, faults, changes of state."""
        struck = Counter(str(kind) for _, kind in self.luck.struck)
        damaged = Counter({"damaged": len(self.store.ever_damaged)})
        return self._calls + struck + damaged + self.oracle.rows.happened

    def fail(self, failure: BaseException) -> None:
        """Something is wrong: that is the end."""
        if self.failure is None:
            self.failure = failure
            self.scheduler.note(f"FAILED {failure}")

    def _loops(self) -> None:
        thread = self.scheduler.current
        name = "a thread" if thread is None else thread.name
        self.fail(Broken("G1", f"{name} looks at its clock again and again and never waits"))

    def _stuck(self) -> None:
        self.fail(Broken("G1", "threads wake each other again and again, and no time passes"))

    def _end(self) -> None:
        for process in self._processes:
            process.kill()
        self.ground.kill()

    # --- processes ------------------------------------------------------------------------------

    def process(self, name: str) -> Process:
        """A new one, with clocks of its own."""
        hour = 3_600 * SECOND
        process = Process(
            self.scheduler,
            name,
            skew=self._chance.randint(-hour, hour),
            pace=self._chance.choice((1.0, 0.98, 1.02)),
            late=self.luck.wakes_late,
            loops=self._loops,
        )
        self._processes.append(process)
        return process

    def app(self, process: Process, name: str = APP, *, local_worker: bool) -> SimulatedApp:
        """An app in this process, which is opened."""
        env = SimulatedEnv(process, self._entropy)
        backend = SimulatedBackend(self, process)
        plan = self.plan
        settings = {
            "name": name,
            "lease": plan.lease,
            "grace": plan.grace,
            "concurrency": plan.concurrency,
            "crash_limit": plan.crash_limit,
            "local_worker": local_worker,
        }
        app = self._apps.take(backend, env, self.stage, settings)
        app.follow(plan.timetable if name == APP else None)
        hub = app.runtime.hub
        touched = hub.touched

        def lossy(keys: tuple[InvocationKey, ...]) -> None:
            if not self.luck.hint_is_lost():
                touched(keys)

        hub.touched = lossy  # type: ignore[method-assign, assignment] # a hint may be lost
        return app

    def bury(self, owner: str) -> None:
        """A process that claimed under this name is dead, and others can see that."""
        if self._chance.random() < 0.5:
            self._dead |= {owner}

    def stopped(self) -> list[InvocationRecord]:
        """See `Ground.stopped`."""
        rows = self.store.rows()
        return [row for row in rows.values() if row.state in RESUMABLE and self._may_go_on(row)]

    def _may_go_on(self, row: InvocationRecord) -> bool:
        if row.key in self.store.damaged:
            return False
        at = self._changed_at(row)
        passed = (self.scheduler.now - BEGINNING) / SECOND
        return at is None or not at <= passed < at + self.plan.change_seconds

    def _is_changed(self) -> bool:
        """Whether the code of any workflow is another one now, or will be."""
        ends = [each.changed_at for each in self.plan.workflows if each.changed_at is not None]
        passed = (self.scheduler.now - BEGINNING) / SECOND
        return bool(ends) and passed < max(ends) + self.plan.change_seconds

    def _changed_at(self, row: InvocationRecord) -> float | None:
        """When the code of a workflow changes, in seconds after the beginning."""
        for number, workflow in enumerate(self.plan.workflows, 1):
            if row.key.invocation_id == f"main{number}":
                return workflow.changed_at
        return None

    def _may_stop(self, row: InvocationRecord) -> bool:
        """Whether a row has a reason to be parked or dead."""
        if row.state is InvocationState.DEAD:
            return row.crashes >= self.plan.crash_limit
        if row.key in self.store.ever_damaged and row.reason.startswith("JournalCorrupted:"):
            return True
        at, passed = self._changed_at(row), (self.scheduler.now - BEGINNING) / SECOND
        return at is not None and passed >= at and row.reason.startswith("Divergence:")

    def sleep(self, microseconds: int) -> None:
        """See `Ground.sleep`."""
        self.scheduler.sleep(microseconds)

    def outlive(self, process: Process) -> None:
        """See `Ground.outlive`."""
        process.outlive()
        self.scheduler.sleep(self._chance.randrange(1, SOON))

    def linger(self, process: Process) -> None:
        """See `Ground.linger`."""
        self.scheduler.sleep(self._chance.randrange(1, SOON))
        process.kill()

    def errand_ended(self) -> None:
        """See `Ground.errand_ended`."""
        self._errands -= 1

    def ticks_on(self, look: Callable[[], ScheduleInfo]) -> None:
        """See `Ground.ticks_on`."""
        since, until = self._clock(), self.scheduler.now + TICK_SECONDS * SECOND
        while (tick := look().last_tick) is None or from_datetime(tick) <= since:
            if self.scheduler.now > until:
                self.fail(Broken("I14", f"after {TICK_SECONDS} s no tick is decided: {tick}"))
                raise Crashed
            self.scheduler.sleep(SECOND // 2)

    # --- the line to the store (perdure.testing.simulation.backend) ------------------------------

    def _clock(self) -> int:
        return self.scheduler.now + self.trouble.jumped

    def delay(self, *, slow: bool = False) -> None:
        """See `Line.delay`."""
        most = 5 * SECOND if slow else 2_000
        self.scheduler.sleep(100 + int(self._chance.random() * most))

    def fate(self, call: Call) -> Fault | None:
        """See `Line.fate`."""
        fault = self.luck.at_call()
        if fault is not None:
            self.scheduler.note(f"{fault} at {call.name}")
        return fault

    def apply(self, call: Call, run: Callable[[], T]) -> T:
        """See `Line.apply`."""
        if self.failure is not None:
            raise Crashed
        self.oracle.jumped(self.trouble.before_jump)
        moment = Moment(self._clock(), call.process.name, self._dead)
        try:
            result = self.oracle.watch(call, run, moment)
        except Broken as broken:
            self.fail(broken)
            raise Crashed from None
        self.scheduler.note(f"{call.name} {' '.join(call.keys)} {told(result)}")
        self._calls[call.name] += 1
        if call.name == "commit":
            answers = cast("list[CommitResult]", result)
            self._calls.update(f"refused: {each}" for each in answers if isinstance(each, str))
        return result

    def apply_later(self, call: Call, run: Callable[[], object]) -> None:
        """See `Line.apply_later`."""
        pending = (call, run)
        self._late.append(pending)
        self._calls[f"late {call.name}"] += 1

        def arrive() -> None:
            self.scheduler.sleep(self._chance.randrange(1, 2 * SECOND))
            if pending in self._late:
                self._late.remove(pending)
                self.apply(call, run)

        self.ground.spawn(f"late {call.name}", arrive)

    def settle(self, invocation_id: str) -> None:
        """See `Line.settle`."""
        for pending in [each for each in self._late if invocation_id in each[0].keys]:
            self._late.remove(pending)
            self.apply(*pending)

    def stop(self, process: Process) -> None:
        """See `Line.stop`."""
        self.trouble.stop(process)

    @property
    def away(self) -> bool:
        """See `Line.away`."""
        return self.scheduler.now < self.trouble.away_until

    def failed(self, call: Call) -> None:
        """See `Line.failed`. Nobody asks again and again without a pause."""
        if call.name != "claim":
            return
        times = self._failed.setdefault(call.process, deque(maxlen=CLAIMS_MAX))
        times.append(self.scheduler.now)
        if len(times) == CLAIMS_MAX and times[-1] - times[0] < SECOND:
            text = f"{call.process.name} claimed {CLAIMS_MAX} times in a second, all in vain"
            self.fail(Broken("E3", text))

    @property
    def gone(self) -> frozenset[str]:
        """See `Line.gone`."""
        return self._dead


def told(result: object) -> str:
    """What a call gave, as short text that is the same in every Python process."""
    if isinstance(result, ClaimBatch):
        return " ".join(f"{each.key.invocation_id}@{each.epoch}" for each in result.records)
    if isinstance(result, list):
        answers = cast("list[CommitResult]", result)
        return " ".join(
            str(each.state if isinstance(each, Committed) else each) for each in answers
        )
    if isinstance(result, frozenset):
        return f"{len(cast('frozenset[Holding]', result))} kept"
    if isinstance(result, Started):
        return f"created={result.created}"
    return str(result) if isinstance(result, (str, bool)) else ""
