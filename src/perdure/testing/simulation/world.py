"""One simulated world: a store, the processes that come and go on it, and what happens to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TypeVar

from perdure.backends.base import ClaimBatch, Committed, Started
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import TERMINAL
from perdure.engine.attempt import Attempt
from perdure.engine.context import TaskContext, WorkflowContext, current
from perdure.errors import PerdureError
from perdure.testing.simulation.actors import SECOND, Client, Worker
from perdure.testing.simulation.apps import Apps, SimulatedApp
from perdure.testing.simulation.backend import Call, SimulatedBackend
from perdure.testing.simulation.checks.broken import Broken, Moment
from perdure.testing.simulation.luck import Fault, Luck
from perdure.testing.simulation.oracle import Oracle
from perdure.testing.simulation.plan import Plan, chance_of
from perdure.testing.simulation.process import Process, SimulatedEnv
from perdure.testing.simulation.programs import Block
from perdure.testing.simulation.store import Store
from perdure.testing.simulation.threads import Crashed, Scheduler

T = TypeVar("T")

BEGINNING = 1_700_000_000_000_000
"""When every schedule begins."""
FAULTS_SECONDS = 8
"""After so long no fault happens any more, and all must come to its end."""
END_SECONDS = 600
"""So long after that at the latest."""
EVENTS_MAX = 100_000
"""A schedule of more events does not come to its end."""


class World:
    """Everything of one schedule. It is a `Line` to its backends and a `Watcher` to its programs.

    Attributes:
        failure: what broke, or None.
        kinds: how often what happened.
    """

    def __init__(self, plan: Plan, apps: Apps, story: Callable[[str], None] | None = None) -> None:
        """Nothing happens yet."""
        self.plan = plan
        self.failure: BaseException | None = None
        self.scheduler = Scheduler(chance_of(plan.seed, "turns"), BEGINNING, story)
        self.scheduler.ended_by = self.fail
        self.luck = Luck(chance_of(plan.seed, "faults"), plan.spared)
        self.store = Store(self._clock, plan.seed.to_bytes(16, "big"))
        self.oracle = Oracle(self.store)
        self._apps = apps
        self._chance = chance_of(plan.seed, "delays")
        self._entropy = chance_of(plan.seed, "entropy")
        self._jumped = 0
        self._values = 0
        self._blocks = {op.number: op.blocks[0] for op in plan.children() if op.blocks}
        self._blocks |= {-at: each.block for at, each in enumerate(plan.workflows, 1)}
        self._workers: list[Worker] = []
        self._processes: list[Process] = []
        self._late: list[tuple[Call, Callable[[], object]]] = []
        self._dead: frozenset[str] = frozenset()
        self._clients = 0
        self._sights: dict[object, int] = {}
        self.kinds: Counter[str] = Counter()
        self.ground = Process(self.scheduler, "world")

    def run(self) -> None:
        """Play the schedule to its end; what is wrong is in `failure`.

        Raises:
            Hung: it does not come to an end for a reason of its own.
        """
        self.ground.spawn("director", self._direct)
        self.scheduler.run()
        self._apps.all_back()

    # --- the course of events -------------------------------------------------------------------

    def _direct(self) -> None:
        try:
            for number in range(self.plan.workers):
                worker = Worker(self, f"w{number}")
                self._workers.append(worker)
                self.ground.spawn(f"init {worker.name}", worker.keep_alive)
            for number, workflow in enumerate(self.plan.workflows, 1):
                for copy in range(workflow.starts):
                    self._clients += 1
                    name = f"c{number}{'abcdef'[copy]}"
                    self.ground.spawn(name, Client(self, name, -number, workflow).run)
            self._have_bad_luck()
            self.luck.over = True
            self._until_all_is_over()
            if self.failure is None:
                self.oracle.complete()
                self._replay_all()
        except Broken as broken:
            self.fail(broken)
        except Crashed:
            pass
        finally:
            self._end()

    def _have_bad_luck(self) -> None:
        """Let things happen by themselves for a while."""
        until = BEGINNING + FAULTS_SECONDS * SECOND
        while self.failure is None and not self._is_over():
            pause = self.luck.next_moment()
            left = until - self.scheduler.now
            if left <= 0:
                return
            self.scheduler.sleep(min(left, SECOND // 4 if pause is None else pause))
            if pause is not None and pause < left:
                self._strike(self.luck.at_moment())

    def _strike(self, fault: Fault | None) -> None:
        worker = self._chance.choice(self._workers)
        if fault is not None:
            self.scheduler.note(f"{fault} {worker.name}")
        match fault:
            case Fault.DIES:
                worker.process.kill()
            case Fault.RESTS:
                self.stop(worker.process)
            case Fault.CLOCK_JUMPS:
                most = int(self.plan.lease * 2 * SECOND)
                self._jumped += self._chance.randint(-most, most)
            case Fault.SHUTS_DOWN:
                worker.shut_down()
            case _:
                pass

    def _is_over(self) -> bool:
        if self._clients:
            return False
        return all(row.state in TERMINAL for row in self.store.rows().values())

    def _until_all_is_over(self) -> None:
        until = self.scheduler.now + END_SECONDS * SECOND
        while self.failure is None and not self._is_over():
            if self.scheduler.now > until or self.scheduler.events > EVENTS_MAX:
                rows = self.store.rows().values()
                live = [row for row in rows if row.state not in TERMINAL]
                text = f"{self._clients} clients wait, and these do not end: {live}"
                raise Broken("I16", text)
            self.scheduler.sleep(SECOND)

    def _replay_all(self) -> None:
        """Run every workflow on its journal once more: it must see the same and do nothing."""
        process = self.process("verifier")
        app = self.app(process, local_worker=False)
        events = self.oracle.bodies.runs.total()
        for key, row in self.store.rows().items():
            if row.kind == "workflow" and row.head:
                try:
                    app.verify(key.invocation_id)
                except PerdureError as error:
                    raise Broken("I8", f"{key} does not replay: {error}") from error
        if self.oracle.bodies.runs.total() != events:
            raise Broken("I8", "a replay ran bodies")

    def fail(self, failure: BaseException) -> None:
        """Something is wrong: that is the end."""
        if self.failure is None:
            self.failure = failure
            self.scheduler.note(f"FAILED {failure}")

    def _loops(self) -> None:
        thread = self.scheduler.current
        name = "a thread" if thread is None else thread.name
        self.fail(Broken("G1", f"{name} looks at its clock again and again and never waits"))

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

    def app(self, process: Process, *, local_worker: bool) -> SimulatedApp:
        """An app in this process, which is opened."""
        env = SimulatedEnv(process, self._entropy)
        backend = SimulatedBackend(self, process)
        plan = self.plan
        numbers = {"lease": plan.lease, "grace": plan.grace, "concurrency": plan.concurrency}
        numbers["crash_limit"] = 1_000
        app = self._apps.take(backend, env, self, numbers, local_worker=local_worker)
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

    def sleep(self, microseconds: int) -> None:
        """See `Ground.sleep`."""
        self.scheduler.sleep(microseconds)

    def client_ended(self) -> None:
        """One client has all it wanted."""
        self._clients -= 1

    # --- the line to the store (perdure.testing.simulation.backend) ------------------------------

    def _clock(self) -> int:
        return self.scheduler.now + self._jumped

    def delay(self, *, slow: bool = False) -> None:
        """See `Line.delay`."""
        most = 5 * SECOND if slow else 2_000
        self.scheduler.sleep(self._chance.randrange(100, most))

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
        moment = Moment(self._clock(), call.process.name, self._dead)
        try:
            result = self.oracle.watch(call, run, moment)
        except Broken as broken:
            self.fail(broken)
            raise Crashed from None
        self.scheduler.note(f"{call.name} {' '.join(call.keys)} {told(result)}")
        self.kinds[call.name] += 1
        if isinstance(result, list):
            self.kinds.update(f"refused: {each}" for each in result if isinstance(each, str))
        return result

    def apply_later(self, call: Call, run: Callable[[], object]) -> None:
        """See `Line.apply_later`."""
        pending = (call, run)
        self._late.append(pending)

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
        lease = int(self.plan.lease * SECOND)
        process.stopped_until = self.scheduler.now + self._chance.randint(lease // 2, 3 * lease)

    @property
    def gone(self) -> frozenset[str]:
        """See `Line.gone`."""
        return self._dead

    # --- what programs tell (perdure.testing.simulation.interpreter) -----------------------------

    def saw(self, value: str) -> None:
        """See `Watcher.saw`."""
        context = current()
        if not isinstance(context, WorkflowContext):
            return
        attempt = context.attempt
        if not isinstance(attempt, Attempt) or attempt.halted:
            return
        number = self._sights.get(attempt, 0)
        self._sights[attempt] = number + 1
        where = context.scope.path
        durable = not attempt.ledger.dirty
        try:
            self.oracle.sights.saw(context.key, number, where, value, durable=durable)
        except Broken as broken:
            self.fail(broken)
            raise Crashed from None

    def body(self, *seen: object) -> str:
        """See `Watcher.body`."""
        thread = self.scheduler.current
        context = current()
        if thread is None or thread.owner.dead or self.failure is not None:
            raise Crashed
        self._values += 1
        value = f"v{self._values}"
        if isinstance(context, TaskContext):
            return self._task_body(context, value, seen)
        return value

    def _task_body(self, context: TaskContext, value: str, seen: tuple[object, ...]) -> str:
        body, name = context.invocation.invocation_id, context.template.name
        owner = InvocationKey(body, 1)
        if owner not in self.store.rows() and context.workflow is not None:
            owner = context.workflow
        text = f"{seen} {context.idempotency_key()}"
        ended = self.oracle.body_ended(body)
        try:
            self.oracle.bodies.begins(body, name, text, owner, ended=ended)
        except Broken as broken:
            self.fail(broken)
            raise Crashed from None
        self.scheduler.note(f"body {name} {body[:8]} {value}")
        self.scheduler.sleep(self._chance.choice((0, 1_000, 50_000, 300_000)))
        self.oracle.bodies.ends(body, value)
        if "flaky" in seen and self._chance.random() < 0.5:
            raise ConnectionError(value)
        return value

    def block(self, number: int) -> Block:
        """See `Watcher.block`."""
        return self._blocks[number]


def told(result: object) -> str:
    """What a call gave, as short text that is the same in every Python process."""
    if isinstance(result, ClaimBatch):
        return " ".join(f"{each.key.invocation_id}@{each.epoch}" for each in result.records)
    if isinstance(result, list):
        states = (each.state if isinstance(each, Committed) else each for each in result)
        return " ".join(f"{state}" for state in states)
    if isinstance(result, frozenset):
        return f"{len(result)} kept"
    if isinstance(result, Started):
        return f"created={result.created}"
    return str(result) if isinstance(result, (str, bool)) else ""
