"""Golden journals: what released versions recorded, which today's code must replay for ever.

`format1` and the like hold a history of each program of `tests.programs`, in the format of journals
that they are named after. They are recorded once, for a release, and never changed:

    python -m tests.golden.record tests/golden/format1

A program that has one keeps its shape. Who needs another one writes another program.
"""

from __future__ import annotations

from pathlib import Path

from tests.programs import MODULES, Program, programs

FOLDER = Path(__file__).parent
SEPARATOR = "."
"""Between the name of a program and which of its workflows it is: `blocking_nested.2.json`."""


def histories(folder: Path = FOLDER) -> list[Path]:
    """The files, of every format."""
    return sorted(folder.glob("format*/*.json"))


def program_of(history: Path) -> Program | None:
    """The program that a history is of; None if there is none of its name."""
    return programs(*MODULES).get(history.name.partition(SEPARATOR)[0])
