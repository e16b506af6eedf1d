"""The same program sync and async leaves the same journal."""

from __future__ import annotations

import pytest

from perdure import Perdure
from perdure.backends.memory import MemoryBackend
from perdure.core.identity import InvocationKey
from tests.programs import MODULES, Program, programs

PROGRAMS = programs(*MODULES)
PAIRS = [
    pytest.param(program, PROGRAMS[program.twin], id=name)
    for name, program in PROGRAMS.items()
    if program.twin and not name.startswith("a")
]


def journal(program: Program) -> list[tuple[str, str, str]]:
    """Kind, key and name of each entry. Equal store, app, name and id give equal derived ids."""
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


@pytest.mark.parametrize(("blocking_one", "awaiting_one"), PAIRS)
def test_same_journal(blocking_one: Program, awaiting_one: Program) -> None:
    assert journal(blocking_one) == journal(awaiting_one)
