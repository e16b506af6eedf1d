"""What the engine reads of a state backend, of another process, and of who completes a task."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import msgspec

from perdure.api.schedule_state import ScheduleState
from perdure.backends.endings import deadline_of
from perdure.cli.timeline import timeline as timeline_of
from perdure.core.draws import derive_seed
from perdure.core.entries import Entry, EntryKind, checksum, genesis
from perdure.core.identity import InvocationKey
from perdure.core.journal import Journal, find_counter, find_value
from perdure.core.retry import Retry
from perdure.engine.audit import started
from perdure.engine.cancellation import read_cancellation
from perdure.engine.effects import Wait
from perdure.engine.heartbeats import read_note
from perdure.engine.mailbox import Mailbox
from perdure.engine.outcome import (
    Raised,
    Returned,
    invocation_body,
    outcome_body,
    read_body,
)
from perdure.engine.outside import LEFT_OPEN, left_open, read_token, token_of
from perdure.engine.shipping import unpack
from perdure.errors import Divergence, InvalidToken, JournalCorrupted
from perdure.transactions.around import Filed
from perdure.transactions.ports import Kept
from perdure.values import TypeRegistry, encode_exception
from tests.fuzz.targets import Target, text
from tests.fuzz.targets.exceptions import exception
from tests.fuzz.targets.values import UNTYPED, payload

KEY = InvocationKey("an-id", 1)
SEED = derive_seed(bytes(16), "app", "name", "an-id", 1)
DEEP = (b"[" * 100_000, b'{"x":' * 100_000, b'{"due":' + b"9" * 5_000 + b"}", b'"\xff"')
"""Small bodies that nobody but an attacker writes."""
NAMES = (
    *("arguments", "result", "error", "id", "generation", "due", "asks", "body", "details"),
    *("attempt", "reason", "children", "deadline", "ends_within", "ends_by", "draws", "line"),
)


# --- bodies -------------------------------------------------------------------------------------

_BODIES = [
    outcome_body(Returned(b'{"x":[1,2]}', None), b'{"a":1}'),
    outcome_body(Raised(encode_exception(ValueError("x"), TypeRegistry()), ValueError("x"))),
    outcome_body(Returned(b"null", None), asks="shop.find"),
    invocation_body(KEY, b'{"a":1}'),
    b'{"due":1700000000000000}',
    b'{"reason":"why","children":false,"deadline":1700000000000000}',
    b'{"body":"an-id","details":{"at":7}}',
    b'{"attempt":3,"due":1700000000000000}',
    b'{"ends_within":60000000,"ends_by":1700000000000000}',
    b'{"ends_within":9223372036854775807}',
]


def _read_bodies(body: bytes) -> None:
    """By each of the readers; one of them must take it, or its error be that of all."""
    record: Any = SimpleNamespace(key=KEY, attempts=3)
    refused: list[JournalCorrupted] = []
    readers = (
        lambda: read_body(body),
        lambda: read_cancellation(body).signal(),
        lambda: read_note({"name": body}, "name", "an-id"),
        lambda: left_open(record, {LEFT_OPEN: body}),
        lambda: deadline_of(body, 1_700_000_000_000_000),
    )
    for read in readers:
        try:
            read()
        except JournalCorrupted as error:
            refused.append(error)
    if len(refused) == len(readers):
        raise refused[0]


def bodies() -> Target:
    """The small JSON objects that stand in entries and in rows."""
    return Target(
        "bodies", _BODIES, _read_bodies, typed=(JournalCorrupted,), words=NAMES, bombs=DEEP
    )


# --- entries ------------------------------------------------------------------------------------


class _Line(msgspec.Struct):
    """What an attacker who can write rows chooses of an entry; its seal is made to fit."""

    kind: str = EntryKind.TASK
    scope: str = ""
    ordinal: int = 1
    key: str = "task:1"
    name: str = "shop.pay"
    body: msgspec.Raw = msgspec.Raw(b"null")
    meta: msgspec.Raw = msgspec.Raw(b"{}")
    digest: str = ""
    raw: str = ""


_decode_lines = msgspec.json.Decoder(list[_Line]).decode
_LINES = msgspec.json.encode(
    [
        _Line(kind="draws", ordinal=0, key="draws", body=msgspec.Raw(b'{"random":[1,[0.5,0.25]]}')),
        _Line(meta=msgspec.Raw(b'{"draws":{"random":2},"line":"shop.py:7"}')),
        _Line("began", "", 2, "task:2"),
        _Line("attempt", "", 2, "task:2", body=msgspec.Raw(b'{"due":5,"error":{"type":"x"}}')),
        _Line("sleep", "", 2, "sleep:1", "sleep", msgspec.Raw(b'{"due":7}')),
        _Line("fired", "", 2, "", "timer"),
        _Line("memo", "", 0, "memo:abc", "x", msgspec.Raw(b'"child"')),
        _Line("start", "", 3, "start:1", "child", msgspec.Raw(invocation_body(KEY))),
        _Line("done", "", 0, "", "child", msgspec.Raw(b'{"generation":1,"result":5}')),
        _Line("message", "", 0, "m1", "hello", msgspec.Raw(b'{"result":5}')),
        _Line("cancel", "", 0, "", "cancel", msgspec.Raw(b'{"reason":"why"}')),
        _Line("record", "/1", 1, "/1:record:1", "record", msgspec.Raw(b'{"result":[1]}')),
        _Line("end", "", 0, "", "completed", msgspec.Raw(b'"00"')),
    ]
)


def _sealed(body: bytes) -> list[Entry] | None:
    """A journal whose chain is whole, from lines that may say anything; None if they are none."""
    try:
        lines = _decode_lines(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    entries: list[Entry] = []
    seal = genesis(KEY, SEED)
    for position, line in enumerate(lines):
        raw = line.raw.encode("utf-8", "surrogatepass")
        entry = Entry(
            position=position,
            kind=line.kind,
            scope=line.scope,
            ordinal=line.ordinal,
            key=line.key,
            name=line.name,
            digest=line.digest.encode(),
            body=raw or bytes(line.body),
            meta=bytes(line.meta),
            at=position,
            epoch=1,
            token=bytes(16),
            checksum=b"",
        )
        try:
            seal = checksum(seal, entry)
        except OverflowError:
            return None  # no state backend could hold such a number
        entries.append(msgspec.structs.replace(entry, checksum=seal))
    return entries


class _NoJournal(Exception):
    """The lines are none; what is refused then is refused by this file."""


def _read_entries(entries: list[Entry] | None) -> None:
    if entries is None:
        raise _NoJournal
    journal = Journal(KEY, SEED, entries, len(entries))
    journal.unfinished_body()
    scope = journal.open_scope("", 0)
    while (entry := journal.ahead(scope)) is not None:
        prefix = entry.key.rpartition(":")[0].rpartition(":")[2]
        journal.line_of(entry)
        journal.begin(scope, EntryKind(entry.kind), prefix, entry.name, lambda: "line")
    mailbox = Mailbox(KEY)
    mailbox.add(Wait(place=("", 2)))
    for delivery in journal.deliveries:
        mailbox.route(delivery)
    for entry in entries:
        find_value(entries, entry.key)
    find_value(entries, "random:1")
    find_counter(entries, "random")
    find_counter(entries, "task")


def _few_lines() -> list[bytes]:
    """Journals of a line or two, so that a change of one is not lost among the others."""
    lines = msgspec.json.decode(_LINES)
    return [msgspec.json.encode(lines[:count]) for count in range(len(lines))]


def entries() -> Target:
    """A journal whose seals fit: only who can write rows and knows how we seal can make it."""
    tail = [b'[{"kind":"draws","ordinal":0,"raw":"' + b"[" * 50_000 + b'"}]']
    return Target(
        "entries",
        [_LINES, *_few_lines()],
        _read_entries,
        typed=(JournalCorrupted, Divergence, _NoJournal),
        bombs=tail,
        prepare=_sealed,
        words=(*NAMES, *EntryKind, "raw", "meta", "body"),
    )


def _show_entries(entries: list[Entry] | None) -> None:
    for line in timeline_of(entries or []):
        assert line.key is not None
    for each in entries or []:
        with contextlib.suppress(JournalCorrupted):
            started(each)


def timeline() -> Target:
    """The same for people: what cannot be read is shown as it is."""
    plain = entries()
    odd = msgspec.json.encode([_Line("send", key="a key without a colon")])
    examples = [*plain.examples, odd]
    return replace(plain, name="timeline", examples=examples, read=_show_entries, typed=())


# --- tokens, ticks, outcomes --------------------------------------------------------------------


def _read_token(token: str) -> None:
    key = read_token(token)
    assert key.invocation_id
    assert 1 <= key.generation < 2**63
    key.invocation_id.encode()


def token() -> Target:
    """A completion token, as anybody may send one."""
    return Target(
        "token",
        [token_of(KEY, SEED).encode(), token_of(InvocationKey("x" * 200, 2**40), SEED).encode()],
        _read_token,
        typed=(InvalidToken,),
        prepare=text,
    )


class _Register:
    """A state backend whose register holds this under every key, but for the counters."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    def register_get(self, app: str, workflow_type: str, workflow_id: str, key: str) -> bytes:
        return self.body if not key.startswith("counter:change") or len(self.body) > 20 else b"1"


def _read_tick(body: bytes) -> None:
    backend: Any = _Register(body)
    state = ScheduleState(backend, "app", "schedule")
    spans = partial(state.open_spans, 0)
    refused = []
    for read in (state.last_change, partial(state.became, 0), state.handled, spans):
        try:
            read()
        except JournalCorrupted as error:
            refused.append(error)
    if len(refused) == 4:
        raise refused[0]


def tick() -> Target:
    """What is durable of a schedule."""
    good = [b'{"became":"started","at":1}', b'{"paused":true,"at":1,"reason":"x"}', b"17"]
    return Target(
        "tick",
        good,
        _read_tick,
        typed=(JournalCorrupted,),
        words=("became", "paused", "at", "reason"),
        bombs=(*DEEP, b"9" * 5_000),
    )


class _Function:
    """Stands for a registered function, as far as outcomes need one."""

    name = "shop.pay"
    once = False
    retry = Retry()

    def decode_result(self, body: bytes) -> object:
        return UNTYPED.decode(body, "result")


def _read_outcome(body: bytes) -> None:
    """What a user's database says of a transaction: a kind, and the outcome behind it."""
    context: Any = SimpleNamespace(idempotency_key=lambda: "key", attempt=1)
    function: Any = _Function()
    place: Any = None
    kinds: tuple[Any, ...] = ("returned", "failed", "final", "nonsense")
    filed = Filed(context, function, TypeRegistry(), place)
    # The engine takes what it cannot read of a result as the failure of the attempt.
    outcome = filed.outcome(Kept(kinds[len(body) % len(kinds)], body))
    assert isinstance(outcome, (Returned, Raised))


def outcome() -> Target:
    """The outcome of a transaction task, as it is kept in the user's own database."""
    return Target(
        "outcome",
        [*payload().examples, *exception().examples],
        _read_outcome,
        words=exception().words,
        bombs=payload().bombs,
    )


_encode_reply = msgspec.msgpack.Encoder().encode


def _read_reply(reply: bytes) -> None:
    function: Any = _Function()
    unpack(function, reply, TypeRegistry())


def reply() -> Target:
    """What an executor gives back for a body that it ran; it may be on another machine."""
    error = encode_exception(ValueError("x"), TypeRegistry())
    good = [["returned", b'{"x":1}'], ["raised", error, True], ["later", b""], ["unknown", b"why"]]
    return Target("reply", [_encode_reply(each) for each in good], _read_reply)
