"""What lies somewhere until somebody takes it: outboxes, inboxes, topics, and notes of audits."""

from __future__ import annotations

import contextlib
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec

from perdure import Perdure
from perdure.backends.base import NewInvocation
from perdure.backends.endings import deadline_of
from perdure.backends.letters import NOBODY, InboxRow, Letter
from perdure.backends.memory import MemoryBackend
from perdure.core.identity import InvocationKey
from perdure.core.journal import Draft
from perdure.engine.baseline import Baseline, Line
from perdure.engine.cancellation import Cancellation, read_cancellation
from perdure.engine.inbox import receive
from perdure.engine.letters import CANCEL, CYCLE, MESSAGE, UPDATE
from perdure.engine.outcome import Raised, invocation_body, outcome_body, read_body
from perdure.engine.topics import read_held, read_number
from perdure.errors import ConfigurationError, JournalCorrupted
from perdure.transactions import carrying
from perdure.transactions.outbox import SEND, START, Message
from perdure.values import TypeRegistry, encode_exception
from tests.fuzz.targets import Target

APP = "shop"
THERE = "order-1"
"""The id of a workflow that can be sent to."""
_ERROR = outcome_body(Raised(encode_exception(ValueError("x"), TypeRegistry()), ValueError("x")))
_BODIES = (b"null", b'{"x":[1,2]}', b'{"$":"v","v":1}', b"", b'1,"error":2', b'{"x":1}}')
"""Of letters; the last three would change the entry that they are put into."""


# --- inboxes ------------------------------------------------------------------------------------


def _letter(kind: str, body: bytes, name: str = "hello") -> bytes:
    return json.dumps([kind, name, "m1", body.decode()]).encode()


def _row_of(body: bytes) -> InboxRow:
    """From JSON, or a message with this body."""
    try:
        kind, name, letter_id, text = map(str, json.loads(body))
    except (ValueError, TypeError, RecursionError):
        kind, name, letter_id, text = MESSAGE, "hello", "m1", ""
    encoded = text.encode("utf-8", "surrogatepass") or body
    letter = Letter(kind=kind, name=name, letter_id=letter_id, body=encoded)
    return InboxRow(1, kind, NOBODY, letter)


def _deliver(row: InboxRow) -> None:
    """What is staged of it can be read again, and is what was sent; or nothing is staged."""
    staged: list[Draft] = []
    cancelled: list[bytes] = []
    ledger: Any = SimpleNamespace(
        journal=SimpleNamespace(stage=staged.append),
        stage_cancellation=lambda body, now: cancelled.append(body),
        add_consumed=lambda row_id: None,
    )
    runtime: Any = None
    try:
        receive(runtime, ledger, row, 0)
    except JournalCorrupted:
        assert not staged, staged
        assert not cancelled, cancelled
        raise
    for each in cancelled:
        read_cancellation(each).signal()
    for draft in staged:
        members = read_body(draft.body)
        assert row.letter is not None
        if row.kind in (MESSAGE, UPDATE):
            assert bytes(members.result) == row.letter.body.strip(b" \t\r\n"), draft
            assert not members.error, draft


def inbox() -> Target:
    """A letter in an inbox, which has no seal of its own."""
    cycle = invocation_body(InvocationKey("other", 1))[:-1] + b"," + _ERROR[1:]
    cancellation = msgspec.json.encode(Cancellation("why", deadline=1_700_000_000_000_000))
    return Target(
        "inbox",
        [
            *(_letter(kind, body) for kind in (MESSAGE, UPDATE) for body in _BODIES),
            *(_letter(CANCEL, cancellation), _letter(CYCLE, cycle, "other")),
            *(_letter(kind, b"null") for kind in ("pause", "nonsense", "")),
        ],
        _deliver,
        typed=(JournalCorrupted,),
        prepare=_row_of,
        words=(MESSAGE, UPDATE, CANCEL, CYCLE, '{"reason":"x"}', '"', "}", ",", "\\"),
        bombs=(b"[" * 100_000, b'{"reason":' * 100_000),
    )


# --- outboxes -----------------------------------------------------------------------------------


class _Store:
    """A state backend that is a new one for each input."""

    def __init__(self) -> None:
        self.renew_it()

    def renew_it(self) -> MemoryBackend:
        self.inner = MemoryBackend(store_id=bytes(16))
        self.inner.start(_new(THERE), "raise")
        return self.inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def _new(id_: str, **more: Any) -> NewInvocation:
    return NewInvocation(
        invocation_id=id_,
        app=APP,
        kind="workflow",
        name="flow",
        arguments=b"{}",
        fingerprint=bytes(16),
        call_id="flow:00",
        **more,
    )


_STORE = _Store()
_BACKEND: Any = _STORE
_CLIENT = Perdure(backend=_BACKEND, name=APP, local_worker=False).client
_BYTES = frozenset({"arguments", "fingerprint", "options", "body"})
"""Members of what is stored that are bytes; JSON has none."""


def _packed(node: Any, name: str = "") -> Any:
    """A tree of JSON with bytes where they belong."""
    if isinstance(node, dict):
        return {key: _packed(value, key) for key, value in node.items()}
    if isinstance(node, list):
        return [_packed(value) for value in node]
    if isinstance(node, str) and name in _BYTES:
        return node.encode("utf-8", "surrogatepass")
    return node


def _outbox_row(body: bytes) -> tuple[str, bytes]:
    """Kind and body of a row: of JSON by its members, else the bytes as they are."""
    try:
        kind, content = json.loads(body)
        return str(kind), msgspec.msgpack.encode(_packed(content))
    except (ValueError, TypeError, OverflowError, RecursionError):
        return (START, SEND)[zlib.crc32(body) % 2], body


class _Aside(Exception):
    """A row was set aside, with a reason that every database can hold."""


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What is set aside is told to the log, with a traceback."""
    was, carrying.logger.disabled = carrying.logger.disabled, True
    try:
        yield
    finally:
        carrying.logger.disabled = was


def _carry(row: tuple[str, bytes]) -> None:
    """A row is carried, and can be gone on with, or set aside; it holds up no other."""
    backend = _STORE.renew_it()
    with _quiet():
        name, values = carrying._settle(_CLIENT, (7, row[0], "target", row[1]))
    assert values["id"] == 7
    backend.health()
    backend.queues(APP)
    if name == "set_aside":
        reason = str(values["reason"])
        assert 0 < len(reason) <= carrying.REASON_MAX
        assert "\0" not in reason
        reason.encode()
        raise _Aside
    assert name == "carried"
    for record in list(backend._rows.values()):
        deadline_of(record.options, record.created_at)
        for letter in backend.read_inbox(record.key):
            _deliver(letter)


def _message(key: InvocationKey, body: bytes = b"null", kind: str = MESSAGE) -> Message:
    return Message(key, Letter(kind=kind, name="more", letter_id="m1", body=body))


def outbox() -> Target:
    """A row of the outbox in a user's own database, as the relay carries it."""
    hello = Letter(kind=MESSAGE, name="more", letter_id="m1", body=b'{"x":1}')
    starts = [
        _new("a"),
        _new("b", letters=(hello,), priority=5, delay=7, code_version="1.2"),
        _new("c", options=b'{"ends_within":60000000}', queue="mail", limit_key="k"),
        _new("d", parent=InvocationKey(THERE, 1), root=InvocationKey(THERE, 1)),
        _new(THERE),
    ]
    sends = [_message(InvocationKey(THERE, number), each) for number in (0, 1) for each in _BODIES]
    sends += [_message(InvocationKey("nobody", 0)), _message(InvocationKey(THERE, 1), kind=CANCEL)]
    asked: list[tuple[str, Any]] = [*((START, each) for each in starts)]
    asked += [(SEND, each) for each in sends]
    plain = [json.dumps([kind, _plain(each)]).encode() for kind, each in asked]
    return Target(
        "outbox",
        [*plain, *(msgspec.msgpack.encode(each) for _, each in asked)],
        _carry,
        typed=(_Aside,),
        prepare=_outbox_row,
        words=(START, SEND, APP, THERE, *NewInvocation.__struct_fields__, "letter", "key", "kind"),
        bombs=(b"\x91" * 100_000, b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff"),
    )


def _plain(stored: object) -> Any:
    """As a tree of JSON, with texts for bytes."""
    if isinstance(stored, bytes):
        return stored.decode()
    if isinstance(stored, msgspec.Struct):
        return {name: _plain(getattr(stored, name)) for name in stored.__struct_fields__}
    if isinstance(stored, tuple):
        return [_plain(each) for each in stored]
    return stored


# --- topics -------------------------------------------------------------------------------------


def _read_topic(body: bytes) -> None:
    """As an emit and as the number of one; one of the two must take it."""
    try:
        assert 0 < read_number(body) < 10**10
    except JournalCorrupted:
        assert read_held(body).value is not None


def topic() -> Target:
    """An emit of a topic, and the note of its number."""
    return Target(
        "topic",
        [b'{"id":"e1","value":{"x":[1]}}', b'{"id":"","value":null}', b"17", b"9999999999"],
        _read_topic,
        typed=(JournalCorrupted,),
        words=("id", "value", "٣", "-1", "0", "1_0", " 1"),
        bombs=(b"9" * 5_000, b"[" * 100_000, b'{"id":"\xff","value":1}'),
    )


# --- baselines ----------------------------------------------------------------------------------

_STORE_ID = bytes(16)


def _read_baseline(body: bytes) -> None:
    """Its head and all of its lines, as an audit reads them."""
    baseline = Baseline(Path("baseline"), _STORE_ID)
    baseline._old = io.BytesIO(body)
    baseline._check_head()
    baseline._advance()
    assert all(isinstance(key, str) for key in baseline.gone())


def baseline() -> Target:
    """What `perdure doctor --verify` has written at the last audit."""
    head = msgspec.json.encode([1, _STORE_ID.hex()]) + b"\n"
    line = msgspec.json.encode(Line(1, "order-1#1", 3, "", 5, "00", "11", "")) + b"\n"
    other = msgspec.json.encode([1, "ff" * 16]) + b"\n"
    return Target(
        "baseline",
        [head, head + line, head + 3 * line, other + line, line, b""],
        _read_baseline,
        typed=(ConfigurationError,),
        words=("\n", "]", "["),
        bombs=(head + b"[" * 100_000, head + b'[1,"\xff"]\n'),
    )
