"""What happens twice: starts, commits, messages, bodies, ends (classes C and E2)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from perdure.backends.base import (
    CommitResult,
    Committed,
    Disposition,
    InvocationRecord,
    NewInvocation,
    OnExisting,
    StartClaim,
    Started,
    Suspend,
    Transition,
)
from perdure.backends.letters import Letter, Sent
from perdure.backends.memory import MemoryBackend
from perdure.backends.memory_inbox import Inboxes
from perdure.core.identity import InvocationKey
from perdure.core.journal import Journal
from perdure.core.lifecycle import InvocationState
from perdure.engine import letters
from perdure.engine.body import run_body
from perdure.engine.committer import Committer
from perdure.engine.runtime import Runtime
from perdure.errors import CommitUnknown
from tests.zoo import bug

Patch = pytest.MonkeyPatch
_S = InvocationState
_replace = msgspec.structs.replace


@bug("C1", "A claimed row is still there for the next claim")
def claimed_twice(patch: Patch) -> None:
    grant = MemoryBackend._grant

    def forgotten(self: MemoryBackend, row: InvocationRecord, *rest: Any) -> InvocationRecord:
        granted = grant(self, row, *rest)
        self._rows[row.key] = row
        return granted

    patch.setattr(MemoryBackend, "_grant", forgotten)


@bug("C2", "A commit of which nobody knows counts as made")
def unknown_counts_as_made(patch: Patch) -> None:
    def settle(self: Committer, transition: Transition) -> CommitResult:
        del self
        return Committed(_S.RUNNING, (transition.key,))

    patch.setattr(Committer, "_settle", settle)


@bug("C2", "A commit is acknowledged before it is made")
def acknowledged_early(patch: Patch) -> None:
    def submit(self: Committer, transition: Transition) -> CommitResult:
        if transition.disposition is not None or transition.children or transition.watches:
            return honest(self, transition)
        held.setdefault(id(self), []).append(transition)
        return Committed(_S.RUNNING, ())

    honest_submit = Committer.submit
    held: dict[int, list[Transition]] = {}

    def honest(self: Committer, transition: Transition) -> CommitResult:
        for each in held.pop(id(self), []):
            honest_submit(self, each)
        return honest_submit(self, transition)

    patch.setattr(Committer, "submit", submit)


@bug("C3", "A start does not look whether its id is taken")
def starts_are_not_compared(patch: Patch) -> None:
    def start(
        self: MemoryBackend,
        new: NewInvocation,
        on_existing: OnExisting,
        claim: StartClaim | None = None,
    ) -> Started:
        del on_existing
        generation = self._latest.get(new.invocation_id, 0) + 1
        return Started(self._insert(new, generation, claim), created=True)

    patch.setattr(MemoryBackend, "start", start)


@bug("C3", "Whoever starts what exists already is told that it was made anew")
def finds_count_as_made(patch: Patch) -> None:
    start = MemoryBackend.start

    def made(self: MemoryBackend, *args: Any) -> Started:
        return start(self, *args)._replace(created=True)

    patch.setattr(MemoryBackend, "start", made)
    patch.setattr("perdure.worker.starting._is_of", lambda record, claim: True)


@bug("C5", "What waits keeps its lease")
def waiting_keeps_the_lease(patch: Patch) -> None:
    dispose = MemoryBackend._dispose

    def keep(
        self: MemoryBackend, row: InvocationRecord, disposition: Disposition | None
    ) -> list[InvocationKey]:
        told = dispose(self, row, disposition)
        now = self._rows[row.key]
        if isinstance(disposition, Suspend) and now.state is _S.WAITING:
            self._put(_replace(now, owner=row.owner, lease_until=row.lease_until))
        return told

    patch.setattr(MemoryBackend, "_dispose", keep)


@bug("C7", "A body that raises what looks like a network error is run again at once")
def bodies_are_retried(patch: Patch) -> None:
    def again(*args: Any) -> Any:
        outcome = run_body(*args)
        if isinstance(getattr(outcome, "error", None), ConnectionError):
            return run_body(*args)
        return outcome

    patch.setattr("perdure.engine.bodies.run_body", again)


@bug("C2", "A message that may have been sent is sent again under another id")
def resent_under_another_id(patch: Patch) -> None:
    def send(runtime: Runtime, key: InvocationKey, letter: Letter) -> Sent:
        for _ in range(5):
            try:
                return runtime.backend.send(key, letter)
            except CommitUnknown:
                letter = _replace(letter, letter_id=runtime.env.new_id())
        return runtime.backend.send(key, letter)

    patch.setattr(letters, "send", send)


@bug("C2", "A message is accepted as often as it is sent")
def messages_are_not_known_again(patch: Patch) -> None:
    patch.setattr(Inboxes, "was_accepted", lambda self, key, letter: False)


@bug("C2", "A message stays in the inbox when it is delivered")
def delivered_twice(patch: Patch) -> None:
    consume = Inboxes.consume

    def some(self: Inboxes, key: InvocationKey, row_ids: Any) -> None:
        consume(self, key, [row_id for row_id in row_ids if row_id % 2])

    patch.setattr(Inboxes, "consume", some)


@bug("E2", "What has ended can be ended again")
def ended_again(patch: Patch) -> None:
    patch.setattr("perdure.backends.memory.TERMINAL", frozenset())
    patch.setattr("perdure.backends.memory.may_move", lambda source, target: True)

    def refusal(self: MemoryBackend, asked: Transition) -> None:
        del self, asked

    patch.setattr(MemoryBackend, "_refusal", refusal)


@bug("C6", "Branches are told apart by when they begin")
def branches_by_time(patch: Patch) -> None:
    from perdure.core.scope import Scope

    count = [0]

    def next_branch(self: Scope) -> str:
        count[0] += 1
        return f"{self.path}/{count[0]}" if self.path else str(count[0])

    patch.setattr(Scope, "next_branch", next_branch)


@bug("D4", "Deliveries come in the order of their branches, not in that of the journal")
def deliveries_are_sorted(patch: Patch) -> None:
    from collections import deque

    index_all = Journal._index_all

    def sort(self: Journal, entries: Any) -> None:
        index_all(self, entries)
        self.deliveries = deque(sorted(self.deliveries, key=lambda each: each.scope))

    patch.setattr(Journal, "_index_all", sort)
