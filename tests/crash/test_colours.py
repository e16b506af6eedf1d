"""The same program sync and async leaves the same journal."""

from __future__ import annotations

import pytest

from perdure import Perdure
from perdure.backends.memory import MemoryBackend
from perdure.core.entries import EntryKind
from perdure.core.identity import InvocationKey
from tests.programs import MODULES, Program, programs
from tests.programs.transacting import forget_files
from tests.support.schedules import Schedule

PROGRAMS = programs(*MODULES)
PAIRS = [
    pytest.param(program, PROGRAMS[program.twin], id=name)
    for name, program in PROGRAMS.items()
    if program.twin and not name.startswith("a")
]
BRANCHING = [each for each in PAIRS if each.id in programs("branching", "ending", "several")]


def journal(program: Program) -> list[tuple[str, str, str]]:
    """Kind, key and name of each entry. Equal store, app, name and id give equal derived ids."""
    forget_files()
    backend = MemoryBackend(store_id=bytes(16))
    # One thing at a time, or the order in which children end would be that of the threads.
    with Perdure(backend=backend, name="colours", grace=0.0, concurrency=1) as app:
        program.build(app)
        handle = app.named("main").options(id="colours").start(*program.args)
        try:
            handle.result(60)
        except RuntimeError:
            assert "failing" in program.name
        entries = backend.read_journal(InvocationKey("colours", 1))
    return [(entry.kind, entry.key, entry.name) for entry in entries]


@pytest.mark.parametrize(
    ("blocking_one", "awaiting_one"), [each for each in PAIRS if each not in BRANCHING]
)
def test_same_journal(blocking_one: Program, awaiting_one: Program) -> None:
    assert journal(blocking_one) == journal(awaiting_one)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("blocking_one", "awaiting_one"), BRANCHING)
def test_same_journal_when_bodies_end_in_one_order(
    blocking_one: Program, awaiting_one: Program, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    journals = []
    for each in (blocking_one, awaiting_one):
        with monkeypatch.context() as patch:
            Schedule(seed).install(patch)
            # Where draws are cut into blocks hangs on when a timer is seen; replay sees no blocks.
            journals.append([entry for entry in journal(each) if entry[0] != EntryKind.DRAWS])
    assert journals[0] == journals[1]
