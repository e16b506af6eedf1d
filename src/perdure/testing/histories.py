"""Histories: the journal of one recorded workflow in a file, checked against today's code.

A history is a JSON document (the guide describes its members). It is written by

    perdure workflow export order-42 -A shop:app > tests/order-42.json

and read in a test, on any machine, without a store:

    replay_history("tests/order-42.json", order)

It holds arguments and results in plain text. A reader believes nothing of it: sizes are limited, a
version that it does not know is refused, and so is a file whose seal does not fit.
"""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any

import msgspec

from perdure.api.info import Verification
from perdure.app import Perdure
from perdure.backends.base import DEFAULT_QUEUE, Backend, InvocationRecord
from perdure.backends.memory import MemoryBackend
from perdure.core.draws import SEED_BYTES
from perdure.core.entries import Entry
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import InvocationState
from perdure.errors import (
    InvocationNotFound,
    PerdureError,
    RegistrationError,
    SerializationError,
    UnknownName,
)
from perdure.testing.apps import app_of, workflow_of
from perdure.testing.faults import MortalEnv
from perdure.worker.verify import verify

FORMAT = "perdure-history"
VERSION = 1
BYTES_MAX = 256 * 1024 * 1024
"""Of one file. A journal that is larger does not belong into a test."""
ENTRIES_MAX = 1_000_000

_TEXTS = ("arguments", "options", "outcome")
"""Members of a row that are JSON text in bytes."""


class HistoryInvalid(PerdureError):
    """A file is no history, is damaged, or was written by a version that is not known here."""

    code = "PRD081"


class _Head(msgspec.Struct):
    """What tells whether the rest can be read."""

    format: str
    version: int


class _Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The row of a workflow. Bytes are base64, but for those that are text."""

    id: str
    generation: int
    app: str
    name: str
    arguments: str
    fingerprint: bytes
    call_id: str
    parent: tuple[str, int] | None
    root: tuple[str, int]
    options: str
    code_version: str
    seed: Annotated[bytes, msgspec.Meta(min_length=SEED_BYTES, max_length=SEED_BYTES)]
    draw_algorithm: int
    segment: int
    state: str
    epoch: int
    head: int
    head_hash: bytes
    last_token: bytes
    crashes: int
    base_time: int | None
    created_at: int
    finished_at: int | None
    outcome: str | None


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An entry of its journal."""

    position: int
    kind: str
    scope: str
    ordinal: int
    key: str
    name: str
    digest: bytes
    body: str
    meta: str
    at: int
    epoch: int
    token: bytes
    checksum: bytes
    codec: str
    key_id: str


class History(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A recorded workflow.

    Attributes:
        seal: hexadecimal, over all the rest.
    """

    format: str = FORMAT
    version: int = VERSION
    workflow: _Row
    journal: tuple[_Line, ...]
    seal: str = ""


# --- writing ------------------------------------------------------------------------------------


def make_history(record: InvocationRecord, entries: list[Entry]) -> History:
    """The history of a workflow from its row and its journal up to the head that the row names.

    Raises:
        RegistrationError: it is a task; a task has no journal.
        SerializationError: its journal is encrypted, or not text.
    """
    if record.kind != "workflow":
        raise RegistrationError(
            f"{record.key.invocation_id!r} is a task; only workflows have a history."
        )
    try:
        history = History(workflow=_row_of(record), journal=tuple(map(_line_of, entries)))
    except UnicodeDecodeError as error:
        raise SerializationError(
            f"The journal of {record.key.invocation_id!r} is not text ({error}), so it cannot be "
            "exported."
        ) from error
    return msgspec.structs.replace(history, seal=_seal(history))


def encode_history(history: History) -> bytes:
    """The document, one member a line, so that two of them can be compared."""
    return msgspec.json.format(msgspec.json.encode(history), indent=1) + b"\n"


def export_history(app: Perdure, invocation_id: str, file: str | Path) -> None:
    """Write the latest life of a workflow to a file, finished or not. `app` only reads.

    Raises:
        InvocationNotFound: there is none of this id.
        RegistrationError: it is a task.
        OSError: the file cannot be written.
    """
    record, entries = read_together(app.runtime.backend, invocation_id)
    Path(file).write_bytes(encode_history(make_history(record, entries)))


def read_together(backend: Backend, invocation_id: str) -> tuple[InvocationRecord, list[Entry]]:
    """The latest row of an id, and its journal as far as this row names it."""
    record = backend.read(invocation_id)
    if record is None:
        raise InvocationNotFound(f"There is no invocation {invocation_id!r}, so no history of it.")
    return record, backend.read_journal(record.key)[: record.head]


def _row_of(record: InvocationRecord) -> _Row:
    row = {name: getattr(record, name, None) for name in _Row.__struct_fields__}
    for name in _TEXTS:
        text = row[name]
        row[name] = text if text is None else text.decode()
    row["id"], row["generation"] = record.key
    row["state"] = record.state.value
    return msgspec.convert(row, _Row, builtin_types=(bytes,))


def _line_of(entry: Entry) -> _Line:
    members = {name: getattr(entry, name) for name in _Line.__struct_fields__}
    members["body"], members["meta"] = entry.body.decode(), entry.meta.decode()
    return _Line(**members)


def _seal(history: History) -> str:
    told = msgspec.json.encode(msgspec.structs.replace(history, seal=""))
    return blake2b(told, digest_size=16, person=b"perdure-history").hexdigest()


# --- reading ------------------------------------------------------------------------------------


def read_history(file: str | Path) -> History:
    """A history from a file, checked.

    Raises:
        HistoryInvalid: it is none, is damaged, too large, or of another version.
        OSError: it cannot be read.
    """
    path = Path(file)
    with path.open("rb") as opened:
        text = opened.read(BYTES_MAX + 1)
    if len(text) > BYTES_MAX:
        raise _invalid(path, f"it has more than {BYTES_MAX:,} bytes")
    try:
        head = msgspec.json.decode(text, type=_Head)
        if head.format != FORMAT:
            raise _invalid(path, f"its format is {head.format[:40]!r}, expected {FORMAT!r}")
        if head.version != VERSION:
            raise _invalid(
                path,
                f"its version is {head.version}, and this perdure reads version {VERSION}; export "
                "it again, or install the perdure that wrote it",
            )
        history = msgspec.json.decode(text, type=History)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _invalid(path, str(error)) from error
    if len(history.journal) > ENTRIES_MAX:
        raise _invalid(path, f"it has more than {ENTRIES_MAX:,} entries")
    if _seal(history) != history.seal:
        raise _invalid(path, "its seal does not fit: it was changed after it was written")
    return history


def _invalid(path: Path, why: str) -> HistoryInvalid:
    return HistoryInvalid(
        f"{path} is no history that can be used: {why}. Expected what `perdure workflow export` "
        "writes."
    )


class _Recorded(MemoryBackend):
    """A store that holds one workflow, to be read."""

    def __init__(self, record: InvocationRecord, entries: list[Entry]) -> None:
        super().__init__()
        self._record = record
        self._entries = entries

    def read(
        self, invocation_id: str, generation: int | None = None, *, locked: bool = False
    ) -> InvocationRecord | None:
        """See `Backend.read`."""
        del generation, locked
        return self._record if invocation_id == self._record.key.invocation_id else None

    def read_journal(self, key: InvocationKey, start: int = 0) -> list[Entry]:
        """See `Backend.read_journal`."""
        return self._entries[start:] if key == self._record.key else []


def replay_history(file: str | Path, workflow: object) -> Verification:
    """Run today's code of a workflow on a recorded history; nothing is called and nothing recorded.

    Args:
        file: written by `perdure workflow export` or `export_history`.
        workflow: decorated with `@app.workflow`; its name or one of its aliases is the recorded
            one.

    Returns:
        How far it went: `finished` if the code ended where its record does.

    Raises:
        Divergence: the code asks for something else than the history holds.
        HistoryInvalid: the file cannot be used.
        JournalCorrupted: its journal is damaged.
        UnknownName: it is the history of another workflow.
    """
    registered = workflow_of(workflow)
    history = read_history(file)
    row, definition = history.workflow, registered.definition
    if row.name not in definition.names:
        raise UnknownName(
            f"{file} is a history of {row.name!r}, and {registered.name!r} is not called so. Give "
            "the workflow that it is of, or its old name as aliases=[...]."
        )
    record = _record_of(row)
    entries = [_entry_of(line) for line in history.journal]
    app, env = app_of(registered), MortalEnv()
    with app.moved(_Recorded(record, entries), env):
        try:
            return verify(app.runtime, record, definition)
        finally:
            app.close()
            env.kill()


def _record_of(row: _Row) -> InvocationRecord:
    members: dict[str, Any] = {name: getattr(row, name) for name in row.__struct_fields__}
    key = InvocationKey(members.pop("id"), members.pop("generation"))
    for name in _TEXTS:
        text = members[name]
        members[name] = None if text is None else text.encode()
    parent = row.parent and InvocationKey(*row.parent)
    members |= {"key": key, "parent": parent, "root": InvocationKey(*row.root), "workflow": key}
    try:
        members["state"] = InvocationState(row.state)
    except ValueError as error:
        raise HistoryInvalid(f"A history names the state {row.state!r}: {error}.") from error
    return InvocationRecord(
        kind="workflow",
        queue=DEFAULT_QUEUE,
        limit_key="",
        priority=0,
        owner="",
        lease_until=None,
        wake_at=None,
        attempts=0,
        reason="",
        **members,
    )


def _entry_of(line: _Line) -> Entry:
    members: dict[str, Any] = {name: getattr(line, name) for name in line.__struct_fields__}
    members["body"], members["meta"] = line.body.encode(), line.meta.encode()
    return Entry(**members)
