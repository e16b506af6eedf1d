"""A batch of transitions: one look that locks, a decision in memory, one write of what changed.

All rows that the batch may touch are locked in the order of seq before anything is decided, so the
decision is exact, and no two batches wait for each other crosswise. It is taken transition by
transition, as if each were alone, on a copy of the locked rows; what changed is then written with
one statement per kind of change, whatever the size of the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from perdure.backends.base import (
    CommitResult,
    Committed,
    Disposition,
    Finish,
    InvocationRecord,
    Refusal,
    Release,
    RetryLater,
    Stop,
    Suspend,
    Transition,
)
from perdure.backends.postgres import servers
from perdure.backends.postgres.arrays import Column, Numbers, Texts, column
from perdure.backends.postgres.store import Transaction
from perdure.backends.rows import Row, call_row, entry_columns, ids_of, invocation_row
from perdure.backends.rules import FIRST_GENERATION, first_record
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import TERMINAL, InvocationState
from perdure.errors import InternalError

_S = InvocationState


@dataclass(slots=True)
class _Row:
    """What a commit sees and changes of a locked row."""

    seq: int
    key: InvocationKey
    state: InvocationState
    epoch: int
    head: int
    head_hash: bytes
    owner: str
    lease_until: int | None
    wake_at: int | None
    ready_since: int
    attempts: int
    crashes: int
    last_token: bytes | None = None
    finished_at: int | None = None
    reason: str = ""
    outcome: bytes | None = None
    is_new: bool = False


@dataclass(slots=True)
class _Changes:
    """What the batch writes, in the order it came about."""

    rows: dict[int, _Row] = field(default_factory=dict[int, _Row])
    entries: list[tuple[Any, ...]] = field(default_factory=list[tuple[Any, ...]])
    epochs: dict[int, int] = field(default_factory=dict[int, int])
    children: list[tuple[int, InvocationRecord]] = field(
        default_factory=list[tuple[int, InvocationRecord]]
    )
    consumed: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    data: dict[tuple[int, str], bytes] = field(default_factory=dict[tuple[int, str], bytes])
    watches: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    foreign_watches: list[Row] = field(default_factory=list[Row])
    ended: list[int] = field(default_factory=list[int])
    delivered: list[tuple[int, str, int]] = field(default_factory=list[tuple[int, str, int]])


class LockMissed(Exception):
    """A watcher came between the look and the locks; the batch must be looked at anew."""


class Batch:
    """The transitions of one batch in one transaction."""

    def __init__(
        self,
        transaction: Transaction,
        transitions: Sequence[Transition],
        store_id: bytes,
        list_number: int,
    ) -> None:
        self._transaction = transaction
        self._transitions = transitions
        self._store_id = store_id
        self._list_number = list_number
        self._changes = _Changes()

    def run(self) -> list[CommitResult]:
        """Lock and look, decide each transition, write what changed with the commit.

        Raises:
            LockMissed: nothing was written; begin again.
        """
        self._look()
        results = [self._refusal(each) or self._apply(each) for each in self._transitions]
        self._write()
        return results

    # --- looking ---------------------------------------------------------------------------------

    def _look(self) -> None:
        named = [each.key for each in self._transitions]
        named += [target for each in self._transitions for target in each.watches]
        ending = [each.key for each in self._transitions if isinstance(each.disposition, Finish)]
        waiting = [each.key for each in self._transitions if isinstance(each.disposition, Suspend)]
        children = [child for each in self._transitions for child in each.children]
        endings = _keys("ending_ids", "ending_generations", ending)
        locked, watchers, unread, taken, seqs, *lists = self._transaction.together(
            ("lock_rows", _keys("ids", "generations", named) | endings),
            ("watchers", endings) if ending else None,
            ("unread", _keys("ids", "generations", waiting)) if waiting else None,
            ("any_taken", {"ids": ids_of(children)}) if children else None,
            ("take_seqs", {"count": len(children)}) if children else None,
            *(servers.LIST_LOOK if children else ()),
        )
        if lists:
            servers.refuse_old_list(lists[-1], self._list_number)
        self._rows = {row[0]: _row_of(row) for row in locked}
        self._by_key = {row.key: row for row in self._rows.values()}
        self._now: int = locked[0][13] if locked else 0
        self._watchers: dict[int, list[int]] = {}
        for target, watcher in watchers:
            if watcher not in self._rows:
                raise LockMissed
            self._watchers.setdefault(target, []).append(watcher)
        self._unread: dict[int, set[int]] = {}
        for seq, row_id in unread:
            self._unread.setdefault(seq, set()).add(row_id)
        self._taken = {id_ for (id_,) in taken}
        self._seqs = sorted((seq for (seq,) in seqs), reverse=True)

    # --- deciding --------------------------------------------------------------------------------

    def _refusal(self, asked: Transition) -> Refusal | None:
        row = self._by_key.get(asked.key)
        if row is None or row.state is not _S.RUNNING or row.epoch != asked.epoch:
            return Refusal.STALE
        if row.head != asked.head:
            return Refusal.WRONG_HEAD
        ids = ids_of(asked.children)
        if len(set(ids)) < len(ids) or not self._taken.isdisjoint(ids):
            return Refusal.CHILD_EXISTS
        return None

    def _apply(self, asked: Transition) -> Committed:
        """Entries, what they consumed, data, children, watches, and last what becomes of it."""
        row, changes = self._by_key[asked.key], self._changes
        changes.rows[row.seq] = row
        changes.entries += [
            (row.seq, entry.position, *entry_columns(entry)) for entry in asked.entries
        ]
        changes.epochs[row.seq] = row.epoch
        row.head = asked.head + len(asked.entries)
        row.head_hash = asked.head_hash if asked.entries else row.head_hash
        row.last_token = asked.token
        row.crashes = 0 if asked.reset_crashes else row.crashes
        changes.consumed += [(row_id, row.seq) for row_id in asked.consumed]
        self._unread.get(row.seq, set()).difference_update(asked.consumed)
        changes.data |= {(row.seq, name): value for name, value in asked.data}
        changes.foreign_watches += [
            (*target, server, row.seq) for target, server in asked.foreign_watches
        ]
        touched = self._insert(asked)
        touched += [asked.key for target in asked.watches if self._watch(row, target)]
        if asked.disposition is not None:
            touched += self._dispose(row, asked.disposition)
        if row.state is _S.READY:
            touched.append(asked.key)
        return Committed(row.state, tuple(dict.fromkeys(touched)))

    def _insert(self, asked: Transition) -> list[InvocationKey]:
        """The children; gives those that are claimable now."""
        claimable: list[InvocationKey] = []
        for child in asked.children:
            record = first_record(child, FIRST_GENERATION, self._store_id, self._now)
            seq = self._seqs.pop()
            self._changes.children.append((seq, record))
            self._taken.add(child.invocation_id)
            row = _Row(
                seq=seq,
                key=record.key,
                state=record.state,
                epoch=0,
                head=0,
                head_hash=b"",
                owner="",
                lease_until=None,
                wake_at=record.wake_at,
                ready_since=record.created_at,
                attempts=0,
                crashes=0,
                is_new=True,
            )
            self._rows[seq] = self._by_key[record.key] = row
            if record.wake_at is None:
                claimable.append(record.key)
        return claimable

    def _watch(self, watcher: _Row, target: InvocationKey) -> bool:
        """One watch, one inbox row: at once (True) when there is nothing left to wait for."""
        row = self._by_key.get(target)
        if row is None or row.state in TERMINAL:
            self._deliver(watcher, target)
            return True
        self._changes.watches.append((row.seq, watcher.seq))
        self._watchers.setdefault(row.seq, []).append(watcher.seq)
        return False

    def _dispose(self, row: _Row, disposition: Disposition) -> list[InvocationKey]:
        """What becomes of the lease; gives the watchers that were told of an end."""
        row.owner, row.lease_until, row.wake_at = "", None, None
        match disposition:
            case Suspend(wake_at=wake_at):
                woken = self._unread.get(row.seq) or (wake_at is not None and wake_at <= self._now)
                row.state = _S.READY if woken else _S.WAITING
                row.wake_at = None if woken else wake_at
                row.ready_since = self._now
            case Finish(state=state, outcome=outcome):
                row.state, row.outcome, row.finished_at = state, outcome, self._now
                return self._end(row)
            case RetryLater(delay=delay):
                row.attempts += 1
                row.state = _S.WAITING if delay else _S.READY
                row.wake_at = self._now + delay if delay else None
                row.ready_since = self._now
            case Release():
                row.state, row.ready_since = _S.READY, self._now
            case Stop(state=state, reason=reason):
                # A text of PostgreSQL has no NUL; the reason is for people.
                row.state, row.reason = state, reason.replace("\0", "\\0")
        return []

    def _end(self, row: _Row) -> list[InvocationKey]:
        """Tell the watchers that live; what the ended one would still have read is dropped."""
        self._changes.ended.append(row.seq)
        told: list[InvocationKey] = []
        for seq in self._watchers.pop(row.seq, ()):
            watcher = self._rows[seq]
            if watcher.state not in TERMINAL:
                self._deliver(watcher, row.key)
                told.append(watcher.key)
        return told

    def _deliver(self, watcher: _Row, source: InvocationKey) -> None:
        """An inbox row, and READY if it was waiting, in one transaction: no wake-up is lost."""
        self._changes.delivered.append((watcher.seq, source.invocation_id, source.generation))
        self._unread.setdefault(watcher.seq, set()).add(-len(self._changes.delivered))
        if watcher.state is _S.WAITING:
            watcher.state, watcher.wake_at, watcher.ready_since = _S.READY, None, self._now
            self._changes.rows[watcher.seq] = watcher

    # --- writing ---------------------------------------------------------------------------------

    def _write(self) -> None:
        changes, later = self._changes, self._transaction.later
        if changes.children:
            hot = [(seq, *invocation_row(record)) for seq, record in changes.children]
            later("insert_children", _columns_of(hot, 16))
            cold = [call_row(seq, record) for seq, record in changes.children]
            later("insert_calls", _columns_of(cold, 11))
        if changes.entries:
            holders = _columns_of(list(changes.epochs.items()), 2)
            later("append", [*_columns_of(changes.entries, 16), *holders])
        if changes.consumed:
            later("consume", _columns_of(changes.consumed, 2))
        if changes.data:
            rows = [(*place, value) for place, value in changes.data.items()]
            later("set_data", _columns_of(rows, 3))
        self._write_waits()
        if changes.ended:
            over = [self._rows[seq].key for seq in changes.ended]
            targets = {"targets": changes.ended}
            later("unwatch", targets | _keys("ids", "generations", over))
            later("drop_inbox", {"seqs": changes.ended})
        if changes.rows:
            if any(row.is_new for row in changes.rows.values()):
                raise InternalError("A child was changed in the batch that made it.")
            later("advance", _columns_of([_changed(row) for row in changes.rows.values()], 15))

    def _write_waits(self) -> None:
        """Who waits for what, and what has come for whom."""
        changes, later = self._changes, self._transaction.later
        if changes.watches:
            later("watch", _columns_of(changes.watches, 2))
        if changes.foreign_watches:
            later("watch_foreign", _columns_of(changes.foreign_watches, 4))
        if changes.delivered:
            later("deliver", _columns_of(changes.delivered, 3))


def _keys(ids: str, generations: str, keys: Sequence[InvocationKey]) -> dict[str, Column]:
    return {
        ids: Texts(key.invocation_id for key in keys),
        generations: Numbers(key.generation for key in keys),
    }


def _columns_of(rows: Sequence[tuple[Any, ...]], count: int) -> list[Column]:
    """Rows turned into one array per column, for `unnest`."""
    if any(len(row) != count for row in rows):
        raise InternalError(f"A row of {count} columns was expected.")
    return [column(values) for values in zip(*rows, strict=True)]


def _row_of(row: tuple[Any, ...]) -> _Row:
    return _Row(
        seq=row[0],
        key=InvocationKey(row[1], row[2]),
        state=InvocationState(row[3]),
        epoch=row[4],
        head=row[5],
        head_hash=row[6],
        owner=row[7],
        lease_until=row[8],
        wake_at=row[9],
        ready_since=row[10],
        attempts=row[11],
        crashes=row[12],
    )


def _changed(row: _Row) -> tuple[Any, ...]:
    return (
        row.seq,
        row.epoch,
        row.state.value,
        row.owner,
        row.lease_until,
        row.wake_at,
        row.ready_since,
        row.head,
        row.head_hash,
        row.last_token,
        row.attempts,
        row.crashes,
        row.finished_at,
        row.reason,
        row.outcome,
    )
