"""Today's code replays what earlier versions recorded, on every Python and under any hash seed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from perdure.testing.histories import encode_history, read_history
from tests.golden import histories, program_of
from tests.golden.pythons import others
from tests.golden.record import record
from tests.programs import MODULES, programs
from tests.support.processes import environment

ROOT = Path(__file__).parents[2]
HASH_SEEDS = ("0", "1", "12345")
SECONDS = 100.0


def replay(python: str, hash_seed: str, files: list[Path]) -> dict[str, str]:
    """What is wrong with each, told by another process; nothing of what is right."""
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    done = subprocess.run(
        [python, "-m", "tests.golden.replay", *map(str, files)],
        cwd=ROOT,
        env=environment(PYTHONHASHSEED=hash_seed, PYTHONPATH=paths),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return {Path(file).name: what for file, what in told.items() if what}


def test_there_are_enough() -> None:
    found = histories()
    assert len(found) >= 80
    assert [file.name for file in found if program_of(file) is None] == []


@pytest.mark.parametrize("hash_seed", HASH_SEEDS)
def test_this_python(hash_seed: str) -> None:
    assert replay(sys.executable, hash_seed, histories()) == {}


def test_other_pythons(capsys: pytest.CaptureFixture[str]) -> None:
    usable, unusable = others()
    with capsys.disabled():
        for line in unusable:
            print(f"\ngolden journals: not tried on {line}", end="")
    for version, python in usable.items():
        for hash_seed in HASH_SEEDS:
            assert replay(python, hash_seed, histories()) == {}, version


def test_a_changed_history_is_noticed(tmp_path: Path) -> None:
    """The harness can see: a value that differs, and an entry that the code does not ask for."""
    file = histories()[0]
    document = msgspec.json.decode(file.read_bytes())
    document["journal"][0]["name"] += "x"
    changed = tmp_path / file.name
    changed.write_bytes(msgspec.json.encode(document))
    assert "HistoryInvalid" in replay(sys.executable, "0", [changed])[file.name]
    renamed = tmp_path / "no_such_program.0.json"
    renamed.write_bytes(file.read_bytes())
    assert "no program" in replay(sys.executable, "0", [renamed])[renamed.name]


def test_recording_gives_what_is_there(tmp_path: Path) -> None:
    """Today's code records what a golden history of the same program says, but for times."""
    recorded = {file.name: file for file in histories()}
    for name in ("sequence", "asequence"):
        program = programs(*MODULES)[name]
        for file in record(program, tmp_path):
            then, now = read_history(recorded[file.name]), read_history(file)
            assert [(e.kind, e.key, e.name) for e in then.journal] == [
                (e.kind, e.key, e.name) for e in now.journal
            ]
    assert encode_history(read_history(histories()[0])) == histories()[0].read_bytes()
