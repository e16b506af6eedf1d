"""Every program with its frame dropped before each thing that it gets: the same journal.

The rest of the suite runs so too, by option: pytest --evict
"""

from __future__ import annotations

import itertools

import pytest

from perdure import Perdure, wf
from perdure.backends.memory import MemoryBackend
from perdure.core.entries import COMMANDS, Entry, EntryKind
from perdure.core.identity import InvocationKey
from perdure.errors import InvocationParked
from tests.programs import MODULES, Program, programs
from tests.programs.transacting import forget_files
from tests.support import evict
from tests.support.stores import LONG

PROGRAMS = programs(*MODULES)
KEY = InvocationKey("evicted", 1)
LOSING = {"raced": "/1", "araced": "/1"}
"""Branches that are cancelled while they run: how far they get is chance, also with frames."""


def journal(program: Program) -> list[Entry]:
    forget_files()
    backend = MemoryBackend(store_id=bytes(16))
    with Perdure(backend=backend, name="evict", concurrency=8) as app:
        program.build(app)
        handle = app.named("main").options(id=KEY.invocation_id).start(*program.args)
        try:
            handle.result(LONG)
        except RuntimeError:
            assert "failing" in program.name
        app.verify(KEY.invocation_id)
        return backend.read_journal(KEY)


def asked(program: Program, entries: list[Entry]) -> set[tuple[str, str, str]]:
    """What the code asked for, at which place."""
    losing = LOSING.get(program.name)
    return {(e.kind, e.key, e.name) for e in entries if e.kind in COMMANDS and e.scope != losing}


@pytest.mark.parametrize(
    "program", [pytest.param(each, id=name) for name, each in PROGRAMS.items()]
)
@pytest.mark.keeps_frames("it runs each program both ways itself")
def test_the_same_journal(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = journal(program)
    with monkeypatch.context() as patch:
        evictions = evict.install(patch)
        dropped = journal(program)
    assert asked(program, kept) == asked(program, dropped)
    waits = sum(entry.kind in {EntryKind.TASK, EntryKind.FIRED, EntryKind.DONE} for entry in kept)
    assert evictions.count[KEY] > 0 or waits == 0
    # Each claim has an epoch of its own: what was appended under many was replayed as often.
    assert len({entry.epoch for entry in dropped}) > min(evictions.count[KEY], 1)


@pytest.mark.keeps_frames("it runs the workflow both ways itself")
def test_what_lives_on_its_frame_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def run() -> None:
        numbers = itertools.count()
        with Perdure("memory://", grace=60.0) as app:

            @app.workflow
            def main() -> None:
                number = next(numbers)  # chance, as far as a replay is concerned
                wf.record(f"number_{number}", lambda: None)
                wf.sleep(0)

            main.start().result(LONG)

    run()
    evict.install(monkeypatch)
    with pytest.raises(InvocationParked, match="does not replay"):
        run()
