"""No false alarms: the programs of the crash suite, whose tasks differ on each call, are sound."""

from __future__ import annotations

from typing import Any

import pytest

from perdure import Perdure
from perdure.testing import crash_everywhere
from tests.programs import MODULES, Program, programs

pytestmark = pytest.mark.timeout(300)

# Those with a database outside keep it apart by the id of the store, which is one here.
PROGRAMS = programs(*(each for each in MODULES if each != "transacting"))
SOME = [
    pytest.param(each, id=name)
    for name, each in list(PROGRAMS.items())[::12]
    if "by_workflow" not in name  # its undo gets what a task gave, which is another value each run
]
"""A sample; each is run some hundred times."""


@pytest.mark.parametrize("program", SOME)
def test_a_sound_program_passes(program: Program) -> None:
    app = Perdure("memory://", name="programs")
    program.build(app)
    main: Any = app.named("main")
    tasks = [each.name for each in app.registry.values() if each.kind == "task"]
    report = crash_everywhere.options(idempotent=tasks)(main, *program.args)
    assert report.runs > 4 * report.boundaries
