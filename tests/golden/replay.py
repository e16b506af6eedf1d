"""Replays golden histories in this process; prints what became of each, as JSON.

python -m tests.golden.replay FILE...
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import msgspec

from perdure import Perdure
from perdure.testing import replay_history
from tests.golden import program_of


class _Row(msgspec.Struct):
    name: str
    state: str


class _History(msgspec.Struct):
    workflow: _Row
    journal: list[msgspec.Raw]


ENDED = frozenset({"completed", "failed", "cancelled"})
"""Ends that the code of a workflow comes to by itself."""


def replay(file: Path) -> str:
    """What is wrong; "" if today's code goes all the way."""
    program = program_of(file)
    if program is None:
        return "there is no program of its name any more"
    recorded = msgspec.json.decode(file.read_bytes(), type=_History)
    with Perdure("memory://", name="golden") as app:
        program.build(app)
        found = replay_history(file, app.named(recorded.workflow.name))
    if found.entries != len(recorded.journal):
        return f"{found.entries} of {len(recorded.journal)} entries were read"
    if recorded.workflow.state in ENDED and not found.finished:
        return "the code did not come to the end that is recorded"
    return ""


def main(*files: str) -> None:
    told: dict[str, str] = {}
    for file in files:
        try:
            told[file] = replay(Path(file))
        except Exception as error:
            told[file] = f"{type(error).__name__}: {error}"
    print(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
