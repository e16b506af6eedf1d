"""How things are run: crashes, storms, slots, damage, apps (classes B6, E, G, I19, I20)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from perdure.api.definition import Definition
from perdure.backends.admission import Admission
from perdure.backends.base import (
    ClaimRequest,
    Disposition,
    Holding,
    InvocationRecord,
    NewInvocation,
    Suspend,
    Transition,
)
from perdure.backends.memory import MemoryBackend
from perdure.core.entries import genesis
from perdure.core.lifecycle import InvocationState
from perdure.engine.arrivals import Arrivals
from perdure.engine.attempt import Attempt
from perdure.engine.body import run_body
from perdure.engine.effects import Wait
from perdure.engine.mailbox import Mailbox
from perdure.engine.outcome import Raised, Returned
from perdure.engine.runtime import EngineSettings
from perdure.engine.sync_attempt import SyncAttempt
from perdure.errors import JournalCorrupted
from perdure.testing.simulation.plan import Plan, Workflow
from perdure.testing.simulation.programs import Op
from perdure.worker.worker import Worker
from tests.zoo import bug

Patch = pytest.MonkeyPatch
_S = InvocationState
_replace = msgspec.structs.replace
_PAIR = (Op("pure", 0.0, (), 1), Op("task", 0.0, (), 2))
_PURE = Plan(seed=0, workflows=(Workflow((Op("loop", 6, (_PAIR,), 3),), 0.0),))
_RACE = Op("select", 0.0, ((Op("task", 0.0, (), 1),), (Op("task", 0.0, (), 2),)), 3)


@bug("B6", "What crashed keeps its place in the queue")
def the_dead_keep_their_slots(patch: Patch) -> None:
    admission = MemoryBackend._admission

    def counted(self: MemoryBackend, request: ClaimRequest, now: int) -> Admission:
        return admission(self, request, -(10**18) if now else now)

    patch.setattr(MemoryBackend, "_admission", counted)


@bug("B6", "Limits of queues are not kept")
def no_limits(patch: Patch) -> None:
    patch.setattr(Admission, "slots", lambda self, queue: 100)


@bug("E1", "A claim of what crashed does not count the crash")
def crashes_are_not_counted(patch: Patch) -> None:
    grant = MemoryBackend._grant

    def grants(self: MemoryBackend, row: InvocationRecord, *rest: Any) -> InvocationRecord:
        granted = _replace(grant(self, row, *rest), crashes=row.crashes)
        self._rows[row.key] = granted
        return granted

    patch.setattr(MemoryBackend, "_grant", grants)


@bug("E1", "What crashes again and again is run again and again")
def no_crash_limit(patch: Patch) -> None:
    limit = property(lambda self: 10**9, lambda self, value: None)
    patch.setattr(EngineSettings, "crash_limit", limit)


@bug("E3", "A worker whose claims fail tries again at once")
def no_backoff(patch: Patch) -> None:
    patch.setattr(Worker, "_backoff", lambda self: 0.0)


@bug("E4", "A damaged journal stops the whole worker")
def one_stops_all(patch: Patch) -> None:
    load = Attempt.load

    def stop(self: Attempt, entries: Any) -> None:
        try:
            load(self, entries)
        except JournalCorrupted:
            self.runtime.stopping.set()
            raise

    patch.setattr(Attempt, "load", stop)


@bug("F8", "The seals of a journal are not looked at")
def seals_are_not_checked(patch: Patch) -> None:
    def believe(key: Any, seed: bytes, entries: Any, head: int) -> bytes:
        del head
        return entries[-1].checksum if entries else genesis(key, seed)

    patch.setattr("perdure.core.journal.verify_chain", believe)


@bug(
    "G1",
    "What is left of a cancelled branch is looked for again and again",
    plan=Plan(seed=0, workflows=(Workflow((_RACE, Op("sleep", 1.0, (), 4)), 0.0),)),
)
def leftovers_keep_it_busy(patch: Patch) -> None:
    def collect(self: SyncAttempt) -> bool:
        return Attempt._collect(self) or bool(self._branches and self._branches.finished)

    patch.setattr(SyncAttempt, "_collect", collect)


@bug("G2", "A workflow that waits keeps its thread and its lease")
def waiting_keeps_the_thread(patch: Patch) -> None:
    grace = property(lambda self: 1e9, lambda self, value: None)
    patch.setattr(EngineSettings, "grace", grace)


@bug("C1", "A claim takes what belongs to another app")
def apps_are_mixed(patch: Patch) -> None:
    matching = MemoryBackend._matching

    def any_app(self: MemoryBackend, request: ClaimRequest) -> Any:
        for app in ("simulated", "other"):
            yield from matching(self, _replace(request, app=app))

    patch.setattr(MemoryBackend, "_matching", any_app)


@bug("D2", "On the first run a workflow gets what the body gave, not what was recorded")
def first_runs_see_the_original(patch: Patch) -> None:
    encode = Definition.encode_result

    def raw(self: Definition, value: object) -> tuple[bytes, object]:
        return encode(self, value)[0], value

    patch.setattr(Definition, "encode_result", raw)


@bug("D3", "The text of an exception is taken without care")
def texts_are_taken_as_they_come(patch: Patch) -> None:
    patch.setattr("perdure.values.exceptions._clean", lambda make, length_max: make())


@bug("D6", "Two equal calls are one")
def equal_calls_are_one(patch: Patch) -> None:
    known: dict[tuple[Any, ...], Any] = {}

    def run(function: Any, arguments: bytes, context: Any, types: Any) -> Any:
        place = (id(types), context.workflow, function.name, arguments)
        if place not in known:
            known[place] = run_body(function, arguments, context, types)
        return known[place]

    patch.setattr("perdure.engine.bodies.run_body", run)


@bug("C2", "An at-most-once body runs again when nobody knows what came of it")
def once_is_a_hint(patch: Patch) -> None:
    never = property(lambda self: False, lambda self, value: None)
    patch.setattr(Definition, "once", never, raising=False)


@bug("D7", "What a pure task gave is used by others before it is durable", plan=_PURE)
def pure_results_are_used_early(patch: Patch) -> None:
    from perdure.core.journal import Journal

    dull = property(lambda self: False, lambda self, value: None)
    patch.setattr(Journal, "deferred", dull, raising=False)


@bug("D4", "The newest message is delivered first")
def newest_first(patch: Patch) -> None:
    read_inbox = MemoryBackend.read_inbox
    patch.setattr(MemoryBackend, "read_inbox", lambda self, key: read_inbox(self, key)[::-1])


@bug("D3", "A failure comes back as a result")
def failures_are_results(patch: Patch) -> None:
    def well(*args: Any) -> Any:
        outcome = run_body(*args)
        return Returned(b'"v0"', "v0") if isinstance(outcome, Raised) else outcome

    patch.setattr("perdure.engine.bodies.run_body", well)


@bug("H2", "A suspension waits as long as its timer takes, from now on")
def timers_begin_anew(patch: Patch) -> None:
    dispose = MemoryBackend._dispose

    def anew(self: MemoryBackend, row: InvocationRecord, disposition: Disposition | None) -> Any:
        if isinstance(disposition, Suspend) and disposition.wake_at is not None:
            disposition = Suspend(disposition.wake_at + 300_000)
        return dispose(self, row, disposition)

    patch.setattr(MemoryBackend, "_dispose", anew)


@bug("E1", "A renewal of a lease forgets the crashes")
def renewals_forget_crashes(patch: Patch) -> None:
    renew = MemoryBackend.renew

    def forgets(
        self: MemoryBackend, owner: str, holdings: Sequence[Holding], lease: int
    ) -> frozenset[Holding]:
        kept = renew(self, owner, holdings, lease)
        for holding in sorted(kept):
            self._put(_replace(self._rows[holding.key], crashes=0))
        return kept

    patch.setattr(MemoryBackend, "renew", forgets)


@bug("E1", "Every commit counts as progress, also one that only says that a body begins")
def every_commit_is_progress(patch: Patch) -> None:
    append = MemoryBackend._append

    def forgets(self: MemoryBackend, asked: Transition) -> None:
        append(self, _replace(asked, reset_crashes=True))

    patch.setattr(MemoryBackend, "_append", forgets)


@bug("H2", "A suspension ends with the last of its timers, not with the first")
def the_last_timer_counts(patch: Patch) -> None:
    def latest(self: Mailbox) -> int | None:
        return max((wait.due for wait in self._timers() if wait.due is not None), default=None)

    patch.setattr(Mailbox, "next_due", latest)


@bug("H2", "What has crashed waits for longer than it asks for")
def crashed_ones_wait_longer(patch: Patch) -> None:
    dispose = MemoryBackend._dispose

    def longer(self: MemoryBackend, row: InvocationRecord, disposition: Disposition | None) -> Any:
        if row.crashes and isinstance(disposition, Suspend) and disposition.wake_at is not None:
            disposition = Suspend(disposition.wake_at + 30_000_000)
        return dispose(self, row, disposition)

    patch.setattr(MemoryBackend, "_dispose", longer)


@bug("H2", "A block goes on when its deadline is over")
def deadlines_of_blocks_do_nothing(patch: Patch) -> None:
    begin = SyncAttempt.begin_deadline

    def begins(self: SyncAttempt, wait: Wait, reason: str) -> None:
        begin(self, wait, reason)
        wait.wake = lambda: None

    patch.setattr(SyncAttempt, "begin_deadline", begins)


@bug("H2", "A workflow goes on as if it had no deadline")
def deadlines_are_forgotten(patch: Patch) -> None:
    go_by = Arrivals.go_by
    patch.setattr(Arrivals, "go_by", lambda self, deadline: go_by(self, None))
    patch.setattr(MemoryBackend, "past_deadline", lambda self, app, limit: [])


@bug("H2", "What is to begin later begins at once")
def delays_are_forgotten(patch: Patch) -> None:
    insert = MemoryBackend._insert

    def at_once(self: MemoryBackend, new: NewInvocation, *rest: Any) -> InvocationRecord:
        return insert(self, _replace(new, delay=0), *rest)

    patch.setattr(MemoryBackend, "_insert", at_once)
