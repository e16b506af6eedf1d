"""Simulated schedules hold, and one seed is one story: in any process, under any hash seed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from perdure.engine.mailbox import Mailbox
from perdure.testing.simulation.carriers import best_carriers
from perdure.testing.simulation.many import Setting
from perdure.testing.simulation.plan import Plan, Workflow, make_plan
from perdure.testing.simulation.programs import Op
from perdure.testing.simulation.real_threads import RealThreads
from perdure.testing.simulation.runner import Runner, described

SCHEDULES = int(os.environ.get("SIMULATED_SCHEDULES", "400"))
"""How many; a seed that fails names itself."""
_TRACES = """
from perdure.testing.simulation.many import Setting
from perdure.testing.simulation.plan import make_plan
from perdure.testing.simulation.runner import Runner
from tests.support import evict
evict.install_if_asked()
runner = Runner()
print(*(runner.play(make_plan(seed)).trace for seed in range({first}, {last})))
"""


@pytest.fixture(scope="module")
def runner() -> Runner:
    return Runner()


@pytest.mark.timeout(900)
def test_schedules(runner: Runner) -> None:
    seen: Counter[str] = Counter()
    for seed in range(SCHEDULES):
        played = runner.play(make_plan(seed))
        assert not played.broken, described(played)
        seen.update(played.kinds)
    if SCHEDULES >= 400:  # else some of it may not be among them
        assert Setting().expected <= seen.keys(), "too quiet to find anything"


def _traces(hash_seed: str, first: int, last: int) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", _TRACES.format(first=first, last=last)],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def test_one_seed_is_one_story(runner: Runner) -> None:
    """In two processes with two hash seeds, and in this one, where other schedules came before."""
    here = [runner.play(make_plan(seed)).trace for seed in range(20)]
    assert len(set(here)) == 20
    assert _traces("1", 0, 20) == here
    assert _traces("2", 0, 20) == here


def test_real_threads_tell_the_same_story(runner: Runner) -> None:
    """Greenlets keep apart what Python keeps for each real thread, so nothing goes another way."""
    assert (best_carriers() is RealThreads) == (sys.version_info >= (3, 14)), "install greenlet"
    real = Runner(RealThreads)
    for seed in range(40):
        plan = make_plan(seed)
        assert real.play(plan).trace == runner.play(plan).trace, seed


def test_a_plan_can_be_kept_in_a_file(runner: Runner, tmp_path: Path) -> None:
    plan = make_plan(7)
    file = tmp_path / "plan.json"
    file.write_bytes(msgspec.json.encode(plan))
    read = msgspec.json.decode(file.read_bytes(), type=Plan)
    assert read == plan
    assert runner.play(read).trace == runner.play(plan).trace


def test_a_fault_can_be_spared(runner: Runner) -> None:
    played = next(p for p in map(runner.play, map(make_plan, range(50))) if len(p.faults) > 3)
    first = played.faults[0][0]
    spared = runner.play(msgspec.structs.replace(played.plan, spared=(first,)))
    assert first not in [number for number, _ in spared.faults]


def test_a_failure_is_made_smaller(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Timers that fire early are found, and all that has nothing to do with it is left out."""
    monkeypatch.setattr(Mailbox, "due_by", lambda mailbox, now: mailbox._timers())
    block = (Op("task", 0.0, (), 1), Op("sleep", 0.3, (), 2), Op("record", 0.0, (), 3))
    plan = Plan(seed=1, workflows=(Workflow(block, 0.0), Workflow(block, 0.0)))
    failed = runner.play(plan)
    assert failed.broken == "I13"
    small = runner.shrink(failed)
    assert small.broken == "I13"
    assert [op.kind for each in small.plan.workflows for op in each.block] == ["sleep"]


def test_a_body_that_ends_as_its_branch_is_cancelled_keeps_nobody_busy(runner: Runner) -> None:
    race = Op("select", 0.0, ((Op("task", 0.0, (), 1),), (Op("task", 0.0, (), 2),)), 3)
    block = (race, Op("sleep", 1.0, (), 4))
    for seed in range(40):
        played = runner.play(Plan(seed=seed, workflows=(Workflow(block, 0.0),)))
        assert not played.broken, described(played)


def test_a_deadline_that_fired_fires_no_more(runner: Runner) -> None:
    """Also not when its lease was lost between its delivery and the body that it keeps back."""
    block = (Op("record", 0.0, (), 1), Op("task", 0.0, (), 2))
    loop = Op("loop", 4, ((Op("deadline", 0.001, (block,), 3),),), 4)
    for seed in range(60, 110):
        played = runner.play(Plan(seed=seed, workflows=(Workflow((loop,), 0.0),)))
        assert not played.broken, described(played)


def test_changed_code_that_runs_on_under_a_lease_that_is_over_breaks_nothing(
    runner: Runner,
) -> None:
    """The clock of the store jumped, so it cannot know; what it gives is refused."""
    played = runner.play(make_plan(43909))
    assert not played.broken, described(played)
