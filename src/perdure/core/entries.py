"""Journal entries: what one is, how it is sealed into the chain, how that is checked. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from hashlib import blake2b
from operator import attrgetter
from typing import Any

import msgspec

from perdure.core.identity import InvocationKey
from perdure.errors import JournalCorrupted

_pack = msgspec.msgpack.Encoder().encode

CHECKSUM_BYTES = 16
"""128 bits: an accidental damage passes unseen with a chance of 2**-128."""

FORMAT = "json1"
"""Codec of the bodies written by this version: UTF-8 JSON, see `perdure.values`."""


class EntryKind(StrEnum):
    """What an entry records. *Commands* count in their scope; *deliveries* wake an operation."""

    DRAWS = "draws"
    """A block of consecutive draws of one scope (random, uuid, time, ...)."""
    RECORD = "record"
    """Command: the value of `wf.record`, `wf.now`, `wf.token`."""
    DATA = "data"
    """Command: `wf.set_data`."""
    START = "start"
    """Command: a task or child workflow started for any worker."""
    MEMO = "memo"
    """The memoised start of `execute_task`; found by its key, belongs to no scope."""
    SLEEP = "sleep"
    """Command: a timer was set; its due time is in the body."""
    WATCH = "watch"
    """Command: the result of another invocation was asked for."""
    PUBLISH = "publish"
    """Command: `wf.publish`; readers of the stream, its name, take the body from here."""
    SEND = "send"
    """Command: a message was sent, with what became of it."""
    RECEIVE = "receive"
    """Command: a message was asked for; its name is that of the entry."""
    COMPENSATE = "compensate"
    """Command: a task was registered to be called if the workflow fails, or all were forgotten."""
    BEGAN = "began"
    """A task body is about to start. Written for at-most-once tasks, and after a crash for all, to
    count crashes per task."""
    UNBEGUN = "unbegun"
    """The body of the BEGAN before it did not start after all."""
    ATTEMPT = "attempt"
    """A task attempt failed and will be tried again at the time in the body."""
    TASK = "task"
    """Command and delivery: a direct task call ended, with its outcome."""
    DROPPED = "dropped"
    """Command: a direct task call that the workflow itself cancelled before it ended."""
    FIRED = "fired"
    """Delivery: a timer came due."""
    DONE = "done"
    """Delivery: another invocation ended, with its outcome."""
    MESSAGE = "message"
    """Delivery: a message arrived, with its value; its key is the id of the message."""
    UPDATE = "update"
    """Delivery: an update arrived, with its value; its key is the id of the update."""
    ANSWER = "answer"
    """Command: an update was answered, with the outcome; its name is the id of the update."""
    CANCEL = "cancel"
    """Delivery: the workflow is to be cancelled; the operation that waits raises `Cancelled`."""
    END = "end"
    """A scope ended, with its draw counts; the root's holds the outcome of the workflow."""


COMMANDS = frozenset(
    {
        EntryKind.RECORD,
        EntryKind.DATA,
        EntryKind.PUBLISH,
        EntryKind.START,
        EntryKind.SLEEP,
        EntryKind.WATCH,
        EntryKind.SEND,
        EntryKind.RECEIVE,
        EntryKind.COMPENSATE,
        EntryKind.ANSWER,
        EntryKind.TASK,
        EntryKind.DROPPED,
    }
)
NOTES = frozenset({EntryKind.BEGAN, EntryKind.UNBEGUN, EntryKind.ATTEMPT})
"""About a command that has not ended."""
DELIVERIES = frozenset(
    {
        EntryKind.TASK,
        EntryKind.FIRED,
        EntryKind.DONE,
        EntryKind.MESSAGE,
        EntryKind.UPDATE,
        EntryKind.CANCEL,
    }
)
READ_OUTSIDE = frozenset({EntryKind.PUBLISH, EntryKind.ANSWER})
"""What somebody outside may wait for while the workflow goes on."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One immutable line of a journal.

    Attributes:
        position: dense, from 0.
        kind: an `EntryKind` value (a str, so that a reader can report an unknown one).
        scope: path of the branch, "" for the root.
        ordinal: number of the command in its scope, from 1; 0 for entries that are no command.
        key: address of the recorded value, such as `task:1`.
        name: registered name, operation name, or id of what is waited for.
        digest: fingerprint of the arguments, or empty.
        body: the value, JSON text in UTF-8.
        meta: JSON object: draw counts before the command, source line, and what later versions add.
        at: time of the event, microseconds since 1970 UTC by the state backend's clock.
        epoch: the lease under which it was appended.
        token: 16 bytes that name the append, to recognise it after an unknown outcome.
        checksum: over all of the above but the token, chained to the entry before.
        codec: format of `body`.
        key_id: encryption key of `body`, empty for none.
    """

    position: int
    kind: str
    scope: str
    ordinal: int
    key: str
    name: str
    digest: bytes
    body: bytes
    meta: bytes
    at: int
    epoch: int
    token: bytes
    checksum: bytes
    codec: str = FORMAT
    key_id: str = ""


def genesis(key: InvocationKey, seed: bytes) -> bytes:
    """The chain value before position 0. It binds a journal to its workflow and generation."""
    content = msgspec.msgpack.encode((key.invocation_id, key.generation, seed))
    return blake2b(content, digest_size=CHECKSUM_BYTES, person=b"perdure-genesis").digest()


_sealing = blake2b(digest_size=CHECKSUM_BYTES, person=b"perdure-entry").copy
"""A fresh state of the hash; to copy one costs less than to set one up."""


_told = attrgetter(
    *("position", "kind", "scope", "ordinal", "key", "name", "digest", "body", "meta", "at"),
    *("epoch", "codec", "key_id"),
)


def checksum(previous: bytes, entry: Entry) -> bytes:
    """The seal of `entry` after an entry sealed with `previous` (16 bytes, BLAKE2b)."""
    return seal_of(previous, _told(entry))


def seal_of(previous: bytes, told: tuple[Any, ...]) -> bytes:
    """The same of all that an entry tells, in order: its members but token and checksum."""
    state = _sealing()
    state.update(previous + _pack(told))
    return state.digest()


def verify_chain(key: InvocationKey, seed: bytes, entries: Iterable[Entry], head: int) -> bytes:
    """Check positions and seals of a whole journal and return the chain value at its head.

    Raises:
        JournalCorrupted: a hole, a wrong order, a missing tail or a seal that does not match.
    """
    entries = list(entries)
    seal = extend_chain(key, genesis(key, seed), 0, entries)
    if len(entries) != head:
        raise JournalCorrupted(
            f"Journal of {key.invocation_id!r} (generation {key.generation}): the workflow row "
            f"says {head} entries, {len(entries)} were found. Restore the database from a backup."
        )
    return seal


def extend_chain(key: InvocationKey, seal: bytes, start: int, entries: Iterable[Entry]) -> bytes:
    """Check what follows the entry sealed with `seal` and return the chain value behind it.

    Args:
        start: the position of the first of them.

    Raises:
        JournalCorrupted: a hole, a wrong order, or a seal that does not match.
    """
    expected = start
    for entry in entries:
        if entry.position != expected:
            raise JournalCorrupted(
                f"Journal of {key.invocation_id!r} (generation {key.generation}): expected "
                f"position {expected}, found {entry.position}. An entry is missing or doubled. "
                "Restore the database from a backup; nothing was run on the damaged journal."
            )
        state = _sealing()  # as in `seal_of`, which would cost a call for each entry
        state.update(seal + _pack(_told(entry)))
        seal = state.digest()
        if seal != entry.checksum:
            raise JournalCorrupted(
                f"Journal of {key.invocation_id!r} (generation {key.generation}): the entry at "
                f"position {expected} ({entry.key!r}) does not match its checksum. Its bytes were "
                "changed after they were written. Restore the database from a backup; the damaged "
                "value was not used."
            )
        expected += 1
    return seal
