"""Transitions inside an open write transaction: fence, effects, disposition. It opens nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence

from perdure.backends.base import (
    CommitResult,
    Committed,
    Finish,
    InvocationRecord,
    NewInvocation,
    Refusal,
    Release,
    RetryLater,
    Stop,
    Suspend,
    Transition,
)
from perdure.backends.rows import Row, call_row, claimed_row, ids_of, invocation_row
from perdure.backends.rules import FIRST_GENERATION, first_record
from perdure.backends.sqlite import sql
from perdure.backends.sqlite.letters import post
from perdure.backends.sqlite.rows import entry_row, json_list, key_parameters
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import TERMINAL, InvocationState

_TERMINAL = frozenset(state.value for state in TERMINAL)


def insert(
    connection: sqlite3.Connection, new: NewInvocation, generation: int, store_id: bytes, now: int
) -> InvocationRecord:
    """A new invocation: its hot and its cold row."""
    record = first_record(new, generation, store_id, now)
    seq = connection.execute(sql.INSERT_INVOCATION, invocation_row(record)).lastrowid
    assert seq is not None
    connection.execute(sql.INSERT_CALL, call_row(seq, record))
    return record


def insert_claimed(
    connection: sqlite3.Connection, record: InvocationRecord, new: NewInvocation
) -> int:
    """A new invocation that its start claims; gives its place in the file."""
    seq = connection.execute(sql.INSERT_CLAIMED, claimed_row(record)).lastrowid
    assert seq is not None
    connection.execute(sql.INSERT_CALL, call_row(seq, record))
    for letter in new.letters:
        post(connection, seq, letter)
    return seq


def is_taken(connection: sqlite3.Connection, ids: list[str]) -> bool:
    """Whether one of these ids has a row, of any generation."""
    return connection.execute(sql.ANY_TAKEN, {"ids": json_list(ids)}).fetchone() is not None


class Applier:
    """Applies the transitions of one batch to one open transaction."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        seqs: Mapping[InvocationKey, int],
        store_id: bytes,
        now: int,
    ) -> None:
        self._connection = connection
        self._run = connection.execute
        self._seqs = seqs
        self._store_id = store_id
        self._now = now
        self._entries: list[Row] = []

    def apply(self, asked: Sequence[Transition]) -> list[CommitResult]:
        """Each whole transition, or a refusal that changed nothing. Entries go in one statement."""
        results = [self._apply(transition) for transition in asked]
        if self._entries:
            self._connection.executemany(sql.APPEND, self._entries)
        return results

    def seize(
        self, key: InvocationKey, epoch: int, token: bytes, disposition: Finish | Stop
    ) -> CommitResult:
        """See `Backend.seize`."""
        row = self._run(
            sql.SEIZE, {**key_parameters(key), "epoch": epoch, "token": token}
        ).fetchone()
        if row is None:
            return Refusal.STALE
        if isinstance(disposition, Finish):
            told = self._finish(row[0], key, disposition)
            return Committed(disposition.state, tuple(dict.fromkeys(told)))
        return Committed(self._dispose(row[0], disposition), ())

    def _apply(self, asked: Transition) -> CommitResult:
        if asked.children and (refusal := self._refuse_children(asked)) is not None:
            return refusal
        seq = self._seqs.get(asked.key) or self._find(asked.key)
        if seq is None or not self._advance(seq, asked):
            return self._refusal(asked)
        self._entries += [entry_row(seq, entry) for entry in asked.entries]
        self._change(seq, asked)
        touched = self._children(asked)
        touched += [asked.key for target in asked.watches if self._watch(seq, target)]
        disposition, state = asked.disposition, InvocationState.RUNNING
        if isinstance(disposition, Finish):
            state = disposition.state
            touched += self._finish(seq, asked.key, disposition)
        elif disposition is not None:
            state = self._dispose(seq, disposition)
            if state is InvocationState.READY:
                touched.append(asked.key)
        return Committed(state, tuple(dict.fromkeys(touched)))

    def _change(self, seq: int, asked: Transition) -> None:
        """What else belongs to this row alone."""
        if asked.consumed:
            rows = [(row_id, seq) for row_id in asked.consumed]
            self._connection.executemany(sql.CONSUME, rows)
        if asked.data:
            values = [(seq, name, value) for name, value in asked.data]
            self._connection.executemany(sql.SET_DATA, values)
        if asked.foreign_watches:
            watches = [(*target, server, seq) for target, server in asked.foreign_watches]
            self._connection.executemany(sql.WATCH_FOREIGN, watches)

    def _find(self, key: InvocationKey) -> int | None:
        row = self._run(sql.FIND, key_parameters(key)).fetchone()
        return None if row is None else int(row[0])

    def _advance(self, seq: int, asked: Transition) -> bool:
        asked_row = (
            asked.head + len(asked.entries),
            asked.head_hash if asked.entries else None,
            asked.token,
            not asked.reset_crashes,
            seq,
            asked.epoch,
            asked.head,
            *asked.key,
        )
        return self._run(sql.ADVANCE, asked_row).rowcount == 1

    def _refusal(self, asked: Transition) -> Refusal:
        row = self._run(sql.FENCE, key_parameters(asked.key)).fetchone()
        if row is None or row[0] != asked.epoch:
            return Refusal.STALE
        return Refusal.WRONG_HEAD

    def _refuse_children(self, asked: Transition) -> Refusal | None:
        """Looked at before the first write, so that nothing has to be undone."""
        ids = ids_of(asked.children)
        if len(set(ids)) == len(ids) and not is_taken(self._connection, ids):
            return None
        row = self._run(sql.FENCE, key_parameters(asked.key)).fetchone()
        if row == (asked.epoch, asked.head):
            return Refusal.CHILD_EXISTS
        return self._refusal(asked)

    def _children(self, asked: Transition) -> list[InvocationKey]:
        """Insert them; returns those that are claimable now."""
        records = [
            insert(self._connection, child, FIRST_GENERATION, self._store_id, self._now)
            for child in asked.children
        ]
        return [record.key for record in records if record.wake_at is None]

    def _watch(self, watcher: int, target: InvocationKey) -> bool:
        """One watch, one inbox row: at once (True) when there is nothing left to wait for."""
        row = self._run(sql.WATCHED, key_parameters(target)).fetchone()
        if row is None or row[1] in _TERMINAL:
            self._run(sql.DELIVER, (watcher, "done", *target))
            return True
        self._run(sql.WATCH, (row[0], watcher))
        return False

    def _dispose(
        self, seq: int, disposition: Suspend | RetryLater | Release | Stop
    ) -> InvocationState:
        match disposition:
            case Suspend(wake_at=wake_at):
                row = self._run(sql.SUSPEND, {"seq": seq, "wake_at": wake_at}).fetchone()
                return InvocationState(row[0])
            case RetryLater(delay=0):
                self._run(sql.RELEASE, {"seq": seq, "failed": 1})
                return InvocationState.READY
            case RetryLater(delay=delay):
                self._run(sql.RETRY_LATER, {"seq": seq, "delay": delay})
                return InvocationState.WAITING
            case Release():
                self._run(sql.RELEASE, {"seq": seq, "failed": 0})
                return InvocationState.READY
            case Stop(state=state, reason=reason):
                self._run(sql.STOP, {"seq": seq, "state": state.value, "reason": reason})
                return state

    def _finish(self, seq: int, key: InvocationKey, disposition: Finish) -> Iterable[InvocationKey]:
        """The end; what it would still have read is dropped. Returns who is told of it."""
        asked = (disposition.state.value, disposition.outcome, seq)
        watched, elsewhere, unread = self._run(sql.FINISH, asked).fetchone()
        if unread:
            self._run(sql.DROP_INBOX, {"seq": seq})
        if elsewhere:
            self._run(sql.ENDED_FOR_OTHERS, key_parameters(key))
        return self._tell(seq, key) if watched else ()

    def _tell(self, seq: int, key: InvocationKey) -> Iterator[InvocationKey]:
        """Tell the watchers that live."""
        watchers = self._run(sql.WATCHERS, {"seq": seq}).fetchall()
        self._run(sql.UNWATCH, {"seq": seq})
        for watcher, id_, generation, state in watchers:
            if state not in _TERMINAL:
                self._run(sql.DELIVER, (watcher, "done", *key))
                self._run(sql.WAKE, {"seq": watcher})
                yield InvocationKey(id_, generation)
