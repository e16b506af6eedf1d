"""Every planted bug is found: in the schedule that is kept for it, or by the test that it names."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest

from perdure.testing.simulation.luck import Fault
from perdure.testing.simulation.runner import Runner, described
from tests.zoo import bugs, finds
from tests.zoo.hunt import hunt
from tests.zoo.table import PAGE, page

BUGS = bugs()
FINDS = finds()
SIMULATED = sorted(name for name, each in BUGS.items() if not each.test)
SEARCH_MAX = 600
"""Schedules in which a bug is looked for that does not show any more in the one that is kept."""
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def runner() -> Runner:
    return Runner()


def test_all_are_found() -> None:
    assert set(FINDS) == set(SIMULATED)
    assert len(BUGS) >= 60


def test_the_page_tells_of_them() -> None:
    assert PAGE.read_text("utf-8") == page(), "make it anew: python -m tests.zoo.table"


def test_other_pages_tell_as_many() -> None:
    counts = sorted(FINDS[name].schedules for name in SIMULATED)
    pages = {name: (ROOT / name).read_text("utf-8") for name in ("README.md", "CHANGELOG.md")}
    assert f" {len(BUGS)} bugs were planted" in pages["README.md"]
    assert f"**{len(BUGS)} planted bugs**" in pages["CHANGELOG.md"]
    found = f"{len(BUGS)} bugs, {len(SIMULATED)} found by simulation"
    took = f"(median {int(median(counts))} schedules, at most {counts[-1]})"
    others = f"{len(BUGS) - len(SIMULATED)} by a named test"
    told = (ROOT / "docs" / "reliability.md").read_text("utf-8")
    assert f"{found} {took}, {others}" in told
    assert f"with {len(Fault)} kinds of faults" in told


@pytest.mark.parametrize("name", SIMULATED)
def test_a_bug_shows(name: str) -> None:
    """In the schedule that is kept; after a change of the engine perhaps in another one."""
    runner = Runner()  # what it keeps was made with the bug
    kept = hunt(BUGS[name], runner, FINDS[name].seed, 1)
    found = kept or hunt(BUGS[name], runner, 0, SEARCH_MAX)
    assert found, f"look for it anew: python -m tests.zoo.hunt {name}"
    if kept:
        assert kept.broken == FINDS[name].broken, f"by another check: tests.zoo.hunt {name}"


@pytest.mark.parametrize("name", SIMULATED)
def test_all_is_well_without_it(name: str, runner: Runner) -> None:
    played = runner.play(BUGS[name].plan_of(FINDS[name].seed))
    assert not played.broken, described(played)


@pytest.mark.parametrize("name", sorted(BUGS.keys() - set(SIMULATED)))
def test_a_test_finds_it(name: str) -> None:
    """In a process of its own, for what is imported there is imported with the bug."""
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-x", "-p", "tests.zoo.plugin"]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", BUGS[name].test],
        cwd=ROOT,
        env={**os.environ, "PLANTED": name},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout[-2000:] + done.stderr[-2000:]
    assert " failed" in done.stdout, done.stdout[-2000:]
