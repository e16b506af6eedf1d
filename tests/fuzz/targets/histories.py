"""Files of histories, and with them whole journals, replayed by the code that wrote them."""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec

from perdure import Perdure
from perdure.core.entries import EntryKind, checksum, genesis
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import InvocationState
from perdure.core.reading import UNREADABLE
from perdure.errors import PerdureError
from perdure.testing import histories as sealing
from perdure.testing import replay_history
from tests.fuzz.targets import Target
from tests.golden import histories as golden_files
from tests.golden import program_of

_FILE = Path(tempfile.mkdtemp(prefix="perdure-fuzz-")) / "history.json"
_SIZE_MAX = 8_000
"""Bytes of an example; from larger ones fewer inputs are made in the same time."""


def _apps() -> dict[str, Perdure]:
    """The app of each program whose main workflow is sync; an event loop would open sockets."""
    apps: dict[str, Perdure] = {}
    for file in golden_files():
        program = program_of(file)
        if program is not None and program.name not in apps:
            app = Perdure("memory://", name=program.name)
            program.build(app)
            if not app.named("main").definition.is_async:
                apps[program.name] = app
    return apps


_APPS = _apps()


def _resealed(body: bytes) -> bytes:
    """The same with seals that fit, as one makes it who knows how we seal."""
    try:
        history = msgspec.json.decode(body, type=sealing.History)
        row = history.workflow
        seal = genesis(InvocationKey(row.id, row.generation), row.seed)
        lines = []
        for line in history.journal:
            seal = checksum(seal, sealing._entry_of(line))
            lines.append(msgspec.structs.replace(line, checksum=seal))
        row = msgspec.structs.replace(row, head=len(lines), head_hash=seal)
        history = msgspec.structs.replace(history, workflow=row, journal=tuple(lines))
        history = msgspec.structs.replace(history, seal=sealing._seal(history))
        return msgspec.json.encode(history)
    except (*UNREADABLE, ValueError, OverflowError, TypeError):
        return body


class _Row(msgspec.Struct):
    app: str
    name: str


class _Named(msgspec.Struct):
    workflow: _Row


def _write(body: bytes) -> tuple[str, str]:
    """Make a file of it; gives which program it says to be of, and which workflow."""
    _FILE.write_bytes(_resealed(body))
    try:
        row = msgspec.json.decode(body, type=_Named).workflow
    except UNREADABLE:
        return "", ""
    return row.app, row.name


def _read(named: tuple[str, str]) -> None:
    program, name = named
    app = _APPS.get(program) or _APPS["sequence"]
    definition = app.registry.get(name)
    is_one = definition is not None and definition.kind == "workflow"
    replay_history(_FILE, app.named(name if is_one else "main"))


def history() -> Target:
    """A history as it is imported, and a whole journal with seals that fit."""
    examples = []
    for file in golden_files():
        program = file.name.partition(".")[0]
        if file.stat().st_size <= _SIZE_MAX and program in _APPS:
            document = msgspec.json.decode(file.read_bytes())
            document["workflow"]["app"] = program
            examples.append(msgspec.json.encode(document))
    return Target(
        "history",
        [*examples, b'{"format":"perdure-history","version":2}', b""],
        _read,
        typed=(PerdureError,),
        prepare=_write,
        bombs=(b"[" * 100_000,),
        words=(*EntryKind, *InvocationState, "main", "$", "/1", "task:1", "v", '{"result":1}'),
    )
