"""Where programs and bodies run: what they are told to do, and where what they see is noted."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import NoReturn

from perdure.core.entries import COMMANDS
from perdure.core.identity import InvocationKey
from perdure.engine.attempt import Attempt
from perdure.engine.context import TaskContext, WorkflowContext, current
from perdure.testing.simulation.checks.bodies import Lease
from perdure.testing.simulation.checks.broken import Broken
from perdure.testing.simulation.oracle import Oracle
from perdure.testing.simulation.plan import SECOND, Plan
from perdure.testing.simulation.programs import Block, Op, changed
from perdure.testing.simulation.store import Store
from perdure.testing.simulation.threads import Crashed, Owner, Scheduler
from perdure.testing.simulation.trouble import Trouble

BODY_MICROSECONDS = (0, 1_000, 50_000, 300_000)
"""How long bodies take."""
KILLS = 4
"""How often a poisonous body kills its process before it does well."""


class Stage:
    """A `Watcher` of all programs of a schedule.

    Args:
        fail: told of what breaks.
        trouble: where the clock of the store jumps, leases may be over that nobody could know of.
    """

    def __init__(
        self,
        plan: Plan,
        scheduler: Scheduler,
        store: Store,
        oracle: Oracle,
        chance: random.Random,
        fail: Callable[[BaseException], None],
        trouble: Trouble,
    ) -> None:
        """Nothing runs yet."""
        self._plan = plan
        self._scheduler = scheduler
        self._store = store
        self._oracle = oracle
        self._chance = chance
        self._fail = fail
        self._trouble = trouble
        self._values = 0
        self._sights: dict[object, int] = {}
        self._kills: Counter[object] = Counter()
        self._blocks = {op.number: op.blocks[0] for op in plan.operations() if op.blocks}
        if plan.timetable is not None:
            self._blocks[0] = plan.timetable.block
        self._blocks |= {-at: each.block for at, each in enumerate(plan.workflows, 1)}

    def block(self, number: int) -> Block:
        """See `Watcher.block`."""
        context = current()
        block = self._blocks[number]
        if number < 0 and isinstance(context, WorkflowContext):
            return changed(block) if self._is_changed(-number, context.key) else block
        return block

    def _is_changed(self, number: int, key: InvocationKey) -> bool:
        """Whether the code of a workflow is another one now, than that which it began with."""
        at = self._plan.workflows[number - 1].changed_at
        seconds = (self._scheduler.now - self._scheduler.started_at) / SECOND
        if at is None or not at <= seconds < at + self._plan.change_seconds:
            return False
        entries = self._store.journal(key)
        return any(entry.kind in COMMANDS and not entry.scope for entry in entries)

    def _was_changed(self, key: InvocationKey) -> bool:
        """Whether the code of this workflow changes at any time."""
        planned = enumerate(self._plan.workflows, 1)
        changing = {f"main{at}" for at, each in planned if each.changed_at is not None}
        return key.invocation_id in changing

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
        durable = not attempt.ledger.dirty
        row = self._store.rows().get(context.key)
        if not durable and row is not None and row.epoch != attempt.record.epoch:
            return  # its lease is over, and what it goes on with will never be recorded
        where = context.scope.path
        self._checked(
            lambda: self._oracle.sights.saw(context.key, number, where, value, durable=durable)
        )

    def in_time(self, op: Op) -> None:
        """See `Watcher.in_time`."""
        slept = sum(each.amount for each in op.blocks[0] if each.kind == "sleep")
        if slept > op.amount and not self._trouble.clock_has_jumped:
            text = f"a block of {op.amount} s slept for {slept} s, and no deadline ended it: {op}"
            self._broke(Broken("H2", text))

    def _checked(self, check: Callable[[], None]) -> None:
        try:
            check()
        except Broken as broken:
            self._broke(broken)

    def _broke(self, broken: Broken) -> NoReturn:
        self._fail(broken)
        raise Crashed from None

    def body(self, *seen: object) -> str:
        """See `Watcher.body`."""
        thread, context = self._scheduler.current, current()
        if thread is None or thread.owner.dead:
            raise Crashed
        self._values += 1
        value = f"v{self._values}"
        if isinstance(context, TaskContext):
            self._run_body(context, thread.owner, value, seen)
        return value

    def _run_body(
        self, context: TaskContext, process: Owner, value: str, seen: tuple[object, ...]
    ) -> None:
        body, name = context.invocation.invocation_id, context.template.name
        owner = InvocationKey(body, 1)
        if owner not in self._store.rows() and context.workflow is not None:
            owner = context.workflow
        text = f"{seen} {context.idempotency_key()}"
        self._checked(lambda: self._begins(body, name, text, self._lease(body, owner, process)))
        self._scheduler.note(f"body {name} {body[:8]} {value}")
        self._scheduler.sleep(self._chance.choice(BODY_MICROSECONDS))
        self._oracle.bodies.ends(body, value)
        if "flaky" in seen and self._chance.random() < 0.5:
            raise ConnectionError(value)
        if "poison" in seen:
            self._poison(seen)

    def _lease(self, body: str, owner: InvocationKey, process: Owner) -> Lease:
        """Under what this process believes that the body may run."""
        oracle, row = self._oracle, self._store.rows().get(owner)
        failed = oracle.journals.outcomes.get(body, 0)
        if owner.invocation_id == body and row is not None:
            failed = row.attempts
        return Lease(owner, process.name, oracle.rows.grants[owner, process.name], failed)

    def _begins(self, body: str, name: str, seen: str, lease: Lease) -> None:
        row = self._store.rows().get(lease.owner)
        # Whose lease was cut short by a jump of the store's clock cannot know it before it renews
        # or commits: it may run code meanwhile, and record nothing.
        unaware = row is not None and row.epoch > 1 and self._trouble.clock_jumped_lately()
        ended = self._oracle.body_ended(body)
        if ended and unaware:
            lease = lease._replace(over=self._was_changed(lease.owner))
        self._oracle.bodies.begins(body, name, seen, lease, ended=ended and not unaware)
        again_at = self._oracle.journals.again_at.get(body, 0)
        if again_at > self._store.now() and not self._trouble.clock_jumped_lately():
            early = again_at - self._store.now()
            raise Broken("I13", f"the body of {name} ({body}) is tried again {early} us too early")
        if row is not None and row.crashes >= self._plan.crash_limit:
            raise Broken(
                "E1", f"the body of {name} ran in {lease.owner} after {row.crashes} crashes"
            )

    def _poison(self, seen: tuple[object, ...]) -> None:
        """Take the whole process down, some times."""
        self._kills[seen[0]] += 1
        thread = self._scheduler.current
        if thread is not None and self._kills[seen[0]] <= KILLS:
            thread.owner.kill()
            raise Crashed
