"""Who may write: leases, epochs, owners, clocks (classes A and C5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from perdure.backends.base import (
    ClaimBatch,
    ClaimRequest,
    Holding,
    InvocationRecord,
    Refusal,
    Transition,
)
from perdure.backends.memory import MemoryBackend
from perdure.core.lifecycle import InvocationState
from perdure.engine.attempt import Attempt
from perdure.engine.ledger import Ledger
from perdure.engine.runtime import LeaseTable, Runtime
from perdure.testing.simulation.plan import Plan, Workflow
from perdure.testing.simulation.programs import Op
from tests.zoo import bug

Patch = pytest.MonkeyPatch
_replace = msgspec.structs.replace
_RUNNING = InvocationState.RUNNING
_BUSY = Op("loop", 6, ((Op("task", 0.0, (), 1), Op("task", 0.0, (), 2)),), 3)
_FLEET = Plan(
    seed=0, workflows=(Workflow((_BUSY,), 0.0), Workflow((_BUSY,), 0.0)), workers=3, lease=0.5
)
"""Bodies one after the other, and short leases."""


@bug("A1", "A commit is not refused when its epoch is over")
def no_epoch_check(patch: Patch) -> None:
    def refusal(self: MemoryBackend, asked: Transition) -> Refusal | None:
        row = self._rows.get(asked.key)
        if row is None or row.state is not _RUNNING:
            return Refusal.STALE
        return Refusal.WRONG_HEAD if row.head != asked.head else None

    patch.setattr(MemoryBackend, "_refusal", refusal)


@bug("A1", "A commit is not refused when its head is another", plan=_FLEET)
def no_head_check(patch: Patch) -> None:
    def refusal(self: MemoryBackend, asked: Transition) -> Refusal | None:
        row = self._rows.get(asked.key)
        stale = row is None or row.state is not _RUNNING or row.epoch != asked.epoch
        return Refusal.STALE if stale else None

    patch.setattr(MemoryBackend, "_refusal", refusal)


@bug("A1", "Whoever had the lease last may write although it gave it back")
def no_state_check(patch: Patch) -> None:
    def refusal(self: MemoryBackend, asked: Transition) -> Refusal | None:
        row = self._rows.get(asked.key)
        if row is None or row.epoch != asked.epoch:
            return Refusal.STALE
        return Refusal.WRONG_HEAD if row.head != asked.head else None

    patch.setattr(MemoryBackend, "_refusal", refusal)


@bug("A2", "Leases are renewed by the name of the owner alone")
def renewed_by_name(patch: Patch) -> None:
    def renew(
        self: MemoryBackend, owner: str, holdings: Sequence[Holding], lease: int
    ) -> frozenset[Holding]:
        until = self._clock() + lease
        kept = [h for h in holdings if (r := self._rows.get(h.key)) and r.owner == owner]
        for holding in kept:
            self._put(_replace(self._rows[holding.key], lease_until=until))
        return frozenset(kept)

    patch.setattr(MemoryBackend, "renew", renew)


@bug("A1", "A lease that is over is renewed if nobody took it yet")
def renewed_too_late(patch: Patch) -> None:
    patch.setattr("perdure.backends.memory.holds", lambda row, now: row.state is _RUNNING)


@bug("A3", "A claim takes what the one before it saw, without a second look")
def claims_what_it_saw(patch: Patch) -> None:
    claim = MemoryBackend.claim
    seen: dict[int, tuple[InvocationRecord, ...]] = {}

    def stale(self: MemoryBackend, request: ClaimRequest) -> ClaimBatch:
        before = seen.pop(id(self), ())
        batch = claim(self, request)
        seen[id(self)] = batch.records
        mine = tuple(each for each in before if each.owner != request.owner)
        return batch._replace(records=batch.records + mine[:1])

    patch.setattr(MemoryBackend, "claim", stale)


@bug("A4", "A lease that could not be renewed still counts", plan=_FLEET)
def leases_never_end(patch: Patch) -> None:
    patch.setattr(LeaseTable, "is_live", lambda self, holding: True)


@bug("A4", "A renewal that was refused counts as one that was granted", plan=_FLEET)
def refused_renewals_count(patch: Patch) -> None:
    renewed = LeaseTable.renewed

    def blind(self: LeaseTable, asked: list[Holding], kept: Any, until: float) -> None:
        del kept
        renewed(self, asked, frozenset(asked), until)

    patch.setattr(LeaseTable, "renewed", blind)


@bug("A4", "Leases count from when the answer came, not from when they were asked for", plan=_FLEET)
def leases_count_from_the_answer(patch: Patch) -> None:
    def add(self: LeaseTable, key: Any, epoch: int, asked_at: float, lease: float) -> None:
        del asked_at
        self._confirmed[Holding(key, epoch)] = self._monotonic() + 3 * lease
        self._expected.discard(Holding(key, epoch))

    patch.setattr(LeaseTable, "add", add)


@bug("A5", "Timers go by the clock of the worker")
def timers_by_the_worker(patch: Patch) -> None:
    patch.setattr(Runtime, "clock_of", lambda self, key: self.env.now)


@bug("A3", "A row is claimed while its lease is live")
def claims_what_is_held(patch: Patch) -> None:
    due_at = MemoryBackend._due_at

    def early(self: MemoryBackend, row: InvocationRecord) -> int | None:
        due = due_at(self, row)
        return due - 400_000 if due and row.state is _RUNNING else due

    patch.setattr(MemoryBackend, "_due_at", early)


@bug("A1", "A claim leaves the epoch as it is")
def epochs_stay(patch: Patch) -> None:
    grant = MemoryBackend._grant

    def same(self: MemoryBackend, row: InvocationRecord, *rest: Any) -> InvocationRecord:
        epoch = row.epoch or 1
        granted = _replace(grant(self, row, *rest), epoch=epoch)
        self._put(granted)
        return granted

    patch.setattr(MemoryBackend, "_grant", same)


@bug("A1", "An attempt goes on as if it had committed when its lease is lost")
def goes_on_without_a_lease(patch: Patch) -> None:
    commit = Ledger.commit

    def careless(self: Ledger, disposition: Any) -> bool:
        try:
            return commit(self, disposition)
        except BaseException as error:
            if type(error).__name__ != "LeaseLost" or disposition is not None:
                raise
            entries = self.journal.seal_pending(self._record.epoch, bytes(16), self._now)
            self.journal.acknowledge(entries)
            self._forget_pending()
            return True

    patch.setattr(Ledger, "commit", careless)
    patch.setattr(Attempt, "before_body", lambda self, announced=False: None)
