"""A journal told line by line: what was asked, what came of it, when, and from which source line.

Pure: entries in, lines out. Bodies are taken apart as JSON and never decoded into objects, so it
needs no code of the user, and a damaged body is shown as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import PurePath
from typing import Any, NamedTuple

import msgspec

from perdure.cli.text import iso, raw, shorten, span
from perdure.core.entries import Entry, EntryKind
from perdure.core.reading import UNREADABLE, DrawBlock, Meta
from perdure.core.scope import TIME
from perdure.engine.cancellation import read_cancellation
from perdure.engine.outcome import Body, read_body
from perdure.errors import JournalCorrupted

DRAWS_SHOWN = 3
"""Values of one draw block in a timeline; a block may hold thousands."""


class Line(NamedTuple):
    """One line of a timeline.

    Attributes:
        position: of the entry; several draws may share one.
        key: address of the value, such as `task:1`; "" where there is none.
        what: the operation with its arguments. value: what came of it.
        failed: the value is an error.
        at: microseconds since 1970 UTC.
        source: `file:line` of the workflow code.
    """

    position: int
    kind: str
    key: str
    what: str
    value: str
    failed: bool
    at: int
    epoch: int
    source: str


class Failure(msgspec.Struct):
    """The parts of a recorded exception that are shown."""

    type: str = "Exception"
    message: str = ""
    notes: list[str] = []
    traceback: str = ""

    @property
    def headline(self) -> str:
        """`ValueError: no ink`."""
        name = self.type.removeprefix("builtins.")
        return f"{name}: {self.message}" if self.message else name

    @property
    def place(self) -> str:
        """`file:line` where it was raised, as the traceback tells; "" if it does not."""
        frames = [line for line in self.traceback.splitlines() if line.startswith('  File "')]
        if not frames:
            return ""
        file, _, rest = frames[-1].removeprefix('  File "').partition('", line ')
        return f"{file}:{rest.partition(',')[0]}"


def read_failure(body: bytes) -> Failure:
    """A recorded exception; the text itself as message if it is damaged."""
    try:
        return msgspec.json.decode(body, type=Failure)
    except UNREADABLE:
        return Failure(message=body.decode("utf-8", "backslashreplace"))


def read_meta(entry: Entry) -> Meta:
    """The meta of an entry; empty if it is damaged."""
    try:
        return msgspec.json.decode(entry.meta, type=Meta)
    except UNREADABLE:
        return Meta()


def timeline(entries: Iterable[Entry], draws_shown: int = DRAWS_SHOWN) -> Iterator[Line]:
    """The lines of a journal in its order.

    Args:
        draws_shown: at most so many values of each kind in a draw block.
    """
    for entry in entries:
        if entry.kind == EntryKind.DRAWS:
            yield from _draws(entry, draws_shown)
            continue
        try:
            what, value, failed = _told(entry)
        except JournalCorrupted:
            what, value, failed = entry.name, _text(entry.body), True
        yield Line(
            position=entry.position,
            kind=entry.kind,
            key=entry.key,
            what=what,
            value=value,
            failed=failed,
            at=entry.at,
            epoch=entry.epoch,
            source=read_meta(entry).line,
        )


def _draws(entry: Entry, shown: int) -> Iterator[Line]:
    def line(key: str, value: str) -> Line:
        return Line(
            position=entry.position,
            kind=entry.kind,
            key=key,
            what="",
            value=value,
            failed=False,
            at=entry.at,
            epoch=entry.epoch,
            source="",
        )

    prefix = f"{entry.scope}:" if entry.scope else ""
    try:
        block = msgspec.json.decode(entry.body, type=DrawBlock)
    except UNREADABLE:
        yield line("", _text(entry.body))
        return
    for kind, (first, values) in block.items():
        for ordinal, value in enumerate(values[:shown], first):
            told = iso(value) if kind == TIME and isinstance(value, int) else None
            yield line(f"{prefix}{kind}:{ordinal}", told or _json(value))
        if len(values) > shown:
            last = first + len(values) - 1
            yield line(f"{prefix}{kind}:{last}", f"... {len(values) - shown:,} more up to here")


def _told(entry: Entry) -> tuple[str, str, bool]:
    """What was asked, what came of it, and whether that is an error.

    Raises:
        JournalCorrupted: the body is not what its kind has.
    """
    simple = _SIMPLE.get(entry.kind)
    if simple is not None:
        return *simple(entry), False
    name, members = entry.name, read_body(entry.body)
    if entry.kind == EntryKind.ATTEMPT:
        failure = read_failure(bytes(members.error)).headline
        return f"{name} failed", f"{failure}; again in {_until(entry, members)}", True
    what = f"{name}{_arguments(bytes(members.arguments))}"
    if entry.kind == EntryKind.COMPENSATE:
        return (
            (f"compensate by {what}", "", False)
            if members.arguments
            else (what, "forgotten", False)
        )
    if entry.kind == EntryKind.ANSWER:
        what = f"answer to {name}"
    if entry.kind == EntryKind.DROPPED:
        return what, "cancelled by the workflow", True
    if entry.kind == EntryKind.DONE:
        what = f"{name} ended"
    elif entry.kind == EntryKind.MESSAGE:
        what = f"message {name}"
    elif entry.kind == EntryKind.SEND:
        what = f"{_sequence(entry)} to {what}"
    elif entry.kind == EntryKind.RECORD and _sequence(entry) == "listen":
        what = f"listen to {what}"
    return what, *_outcome(members)


def _sequence(entry: Entry) -> str:
    """The operation that a command counts as, from its key."""
    *_, sequence, _ = ("", *entry.key.rsplit(":", 2))
    return sequence or entry.key


def _until(entry: Entry, members: Body) -> str:
    return span(max(0, members.due - entry.at))


_SIMPLE: dict[str, Callable[[Entry], tuple[str, str]]] = {
    EntryKind.DATA: lambda e: ("set_data", _text(e.body)),
    EntryKind.PUBLISH: lambda e: (f"publish {e.name}", _text(e.body)),
    EntryKind.MEMO: lambda e: (f"execute_task {e.name}", f"invocation {_text(e.body)}"),
    EntryKind.FIRED: lambda e: (f"timer of command {e.ordinal}", "came due"),
    EntryKind.END: lambda e: (f"end of {f'scope {e.scope}' if e.scope else 'workflow'}", e.name),
    EntryKind.SLEEP: lambda e: ("sleep", _until(e, read_body(e.body))),
    EntryKind.RECEIVE: lambda e: (f"receive {e.name}", "asked for"),
    EntryKind.CANCEL: lambda e: ("cancelled", read_cancellation(e.body).reason),
    EntryKind.WATCH: lambda e: (f"{_sequence(e)} of {e.name}", "asked for"),
    EntryKind.BEGAN: lambda e: (f"{e.name} begins", "told ahead"),
    EntryKind.UNBEGUN: lambda e: (f"{e.name} did not begin", "it may still"),
}
"""Kinds that have no outcome of their own: the operation, and what is to be known of it."""


def _outcome(members: Body) -> tuple[str, bool]:
    if members.error:
        return read_failure(bytes(members.error)).headline, True
    if members.result:
        return _text(bytes(members.result)), False
    return (f"invocation {members.id}" if members.id else ""), False


def _arguments(body: bytes) -> str:
    """`("pen", cents=5)` would need the signature; this is `(item="pen", cents=5)`."""
    if not body:
        return ""
    try:
        members = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except UNREADABLE:
        return f"({_text(body)})"
    return f"({', '.join(f'{name}={_text(bytes(value))}' for name, value in members.items())})"


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _text(body: bytes) -> str:
    return body.decode("utf-8", "backslashreplace")


# --- for programs -------------------------------------------------------------------------------


def entry_json(entry: Entry, start: int) -> dict[str, Any]:
    """An entry as plain data, its body as recorded."""
    meta = read_meta(entry)
    return {
        "position": entry.position,
        "kind": entry.kind,
        "scope": entry.scope,
        "ordinal": entry.ordinal,
        "key": entry.key,
        "name": entry.name,
        "body": raw(entry.body),
        "draws_before": meta.draws,
        "line": meta.line or None,
        "at": iso(entry.at),
        "seconds": max(0, entry.at - start) / 1e6,
        "epoch": entry.epoch,
    }


def table_rows(lines: Iterable[Line], start: int) -> list[Sequence[str]]:
    """Position, kind, key, operation, value, time since `start`, source: short, for a table."""
    rows: list[Sequence[str]] = []
    before = -1
    for line in lines:
        repeated = line.position == before
        before = line.position
        rows.append(
            (
                "" if repeated else str(line.position),
                "" if repeated else line.kind,
                line.key,
                shorten(line.what),
                shorten(line.value),
                "" if repeated else f"+{span(max(0, line.at - start))}",
                _short_source(line.source),
            )
        )
    return rows


def _short_source(source: str) -> str:
    """`orders.py:14` of `/srv/shop/orders.py:14`."""
    return PurePath(source).name if source else ""
