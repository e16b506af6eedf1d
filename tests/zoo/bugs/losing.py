"""What gets lost: wake-ups, rows, children, slots (class B)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from perdure.api.client import Client
from perdure.api.streams import Tail
from perdure.backends.base import Disposition, InvocationRecord, RetryLater, Suspend
from perdure.backends.memory import MemoryBackend
from perdure.backends.memory_inbox import Inboxes
from perdure.core.entries import Entry
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import TERMINAL, InvocationState
from perdure.engine.attempt import Attempt
from perdure.engine.ledger import Ledger
from perdure.worker.worker import Worker
from tests.zoo import bug

Patch = pytest.MonkeyPatch
_S = InvocationState
_replace = msgspec.structs.replace


@bug("B1", "Leases that are over are never taken over")
def no_recovery(patch: Patch) -> None:
    due_at = MemoryBackend._due_at

    def never(self: MemoryBackend, row: InvocationRecord) -> int | None:
        return None if row.state is _S.RUNNING else due_at(self, row)

    patch.setattr(MemoryBackend, "_due_at", never)


@bug("B1", "The dispatcher ends at the first failed claim, and nobody hears of it")
def dispatcher_gives_up(patch: Patch) -> None:
    claim = Worker._claim

    def once(self: Worker, request: Any) -> Any:
        try:
            return claim(self, request)
        except Exception:
            self._runtime.env.signal().wait()
            raise

    patch.setattr(Worker, "_claim", once)


@bug("B2", "A failed task waits for nothing before its next attempt")
def retries_without_a_time(patch: Patch) -> None:
    dispose = MemoryBackend._dispose

    def timeless(
        self: MemoryBackend, row: InvocationRecord, disposition: Disposition | None
    ) -> list[InvocationKey]:
        told = dispose(self, row, disposition)
        if isinstance(disposition, RetryLater):
            self._put(_replace(self._rows[row.key], wake_at=None))
        return told

    patch.setattr(MemoryBackend, "_dispose", timeless)


@bug("B2", "A suspension forgets its timer")
def timers_are_forgotten(patch: Patch) -> None:
    dispose = MemoryBackend._dispose

    def forgetful(
        self: MemoryBackend, row: InvocationRecord, disposition: Disposition | None
    ) -> list[InvocationKey]:
        timeless = Suspend(None) if isinstance(disposition, Suspend) else disposition
        return dispose(self, row, timeless)

    patch.setattr(MemoryBackend, "_dispose", forgetful)


@bug("B3", "A suspension does not look for what came meanwhile")
def suspends_without_a_look(patch: Patch) -> None:
    dispose = MemoryBackend._dispose

    def blind(
        self: MemoryBackend, row: InvocationRecord, disposition: Disposition | None
    ) -> list[InvocationKey]:
        if not isinstance(disposition, Suspend):
            return dispose(self, row, disposition)
        let_go = _replace(row, owner="", lease_until=None, state=_S.WAITING)
        self._put(_replace(let_go, wake_at=disposition.wake_at))
        return []

    patch.setattr(MemoryBackend, "_dispose", blind)


@bug("B3", "A message does not wake whom it is for")
def messages_wake_nobody(patch: Patch) -> None:
    patch.setattr(MemoryBackend, "_wake", lambda self, key: None)


@bug("B3", "The end of a child is told to those only who wait at that moment")
def ends_are_told_to_the_waiting(patch: Patch) -> None:
    deliver = MemoryBackend._deliver

    def some(self: MemoryBackend, watcher: InvocationKey, source: InvocationKey) -> None:
        if self._rows[watcher].state is _S.WAITING:
            deliver(self, watcher, source)

    patch.setattr(MemoryBackend, "_deliver", some)


@bug("B3", "A watch on what has ended is never answered")
def late_watches_hear_nothing(patch: Patch) -> None:
    watch = MemoryBackend._watch

    def deaf(self: MemoryBackend, watcher: InvocationKey, target: InvocationKey) -> bool:
        row = self._rows.get(target)
        if row is not None and row.outcome is not None:
            return False
        return watch(self, watcher, target)

    patch.setattr(MemoryBackend, "_watch", deaf)


@bug("B4", "Workers look for work when they are told to, and never by themselves")
def no_polling(patch: Patch) -> None:
    patch.setattr("perdure.worker.worker.POLL_SECONDS", 1e7)


@bug("B5", "A child is started in a transaction of its own, after its entry")
def children_follow_later(patch: Patch) -> None:
    commit = Ledger.commit

    def twice(self: Ledger, disposition: Disposition | None) -> bool:
        children, self._children = self._children, []
        done = commit(self, disposition)
        for child in children:
            self._runtime.backend.start(child, "return")
        return done

    patch.setattr(Ledger, "commit", twice)


@bug("B5", "A child is started in a transaction of its own, before its entry")
def children_come_first(patch: Patch) -> None:
    commit = Ledger.commit

    def twice(self: Ledger, disposition: Disposition | None) -> bool:
        children, self._children = self._children, []
        for child in children:
            self._runtime.backend.start(child, "return")
        return commit(self, disposition)

    patch.setattr(Ledger, "commit", twice)


@bug("B3", "Messages are taken out of the inbox when they are read, not when they are recorded")
def reading_consumes(patch: Patch) -> None:
    unread = Inboxes.unread

    def read_inbox(self: MemoryBackend, key: InvocationKey) -> Sequence[Any]:
        rows = unread(self._inboxes, key)
        self._inboxes._rows.pop(key, None)
        return rows

    patch.setattr(MemoryBackend, "read_inbox", read_inbox)


@bug("B1", "What the state backend refused to settle is left as it is")
def failed_attempts_are_forgotten(patch: Patch) -> None:
    patch.setattr(Attempt, "give_back", lambda self: True)
    due_at = MemoryBackend._due_at

    def never(self: MemoryBackend, row: InvocationRecord) -> int | None:
        return None if row.state is _S.RUNNING and not row.crashes else due_at(self, row)

    patch.setattr(MemoryBackend, "_due_at", never)


@bug("B3", "What was published last is not read any more once its workflow has ended")
def the_end_hides_the_rest(patch: Patch) -> None:
    more = Tail.more

    def none_at_the_end(self: Tail, record: InvocationRecord) -> list[Entry]:
        return [] if record.state in TERMINAL else more(self, record)

    patch.setattr(Tail, "more", none_at_the_end)


@bug("B3", "An update that is asked again looks for its answer only in what is still to come")
def answers_are_told_once(patch: Patch) -> None:
    init = Tail.__init__

    def ahead(self: Tail, client: Client, record: InvocationRecord, *, from_start: bool) -> None:
        init(self, client, record, from_start=False)

    patch.setattr(Tail, "__init__", ahead)
