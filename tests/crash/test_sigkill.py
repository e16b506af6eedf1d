"""Real processes, killed with SIGKILL at every point that they tell of, and started again."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from perdure.backends.sqlite import SQLiteBackend
from perdure.core.entries import EntryKind
from perdure.core.lifecycle import InvocationState
from perdure.testing.executions import Execution, misrun
from perdure.testing.survivors import NOTHING, Survivors
from tests.support.processes import SOURCES, put_away, start_python

ROOT = Path(__file__).parents[2]
LIVES_MAX = 30
HOUR = 4000.0
"""Seconds that the clock of each next process is later, in programs that wait for an hour."""

Kill = Callable[[int, str], bool]
"""Whether to kill at this line (number from 1, text) of what a process tells."""


class Story:
    """One program, run by one process after the other on one file until it ends."""

    def __init__(self, folder: Path, program: str, later: float = 0.0) -> None:
        self.folder = folder
        self.program = program
        self.later = later
        self.pids: list[int] = []
        self.moments = [NOTHING]
        self.told: list[list[str]] = []
        self.result = ""

    @property
    def effects(self) -> list[Execution]:
        path = self.folder / "effects"
        lines = path.read_text().splitlines() if path.exists() else []
        found = [json.loads(line) for line in lines]
        return [Execution(self.pids.index(pid), *rest) for pid, *rest in found]

    def survivors(self) -> Survivors:
        backend = SQLiteBackend(self.folder / "perdure.db")
        try:
            return Survivors.of(backend, "killed")
        finally:
            backend.close()

    def live(self, kill: Kill) -> bool:
        """One process; True if it came to its end."""
        life = len(self.told)
        arguments = ["perdure.db", self.program, "effects", str(self.later * life), str(life)]
        child = start_python(
            *("-m", "tests.crash.child", *arguments),
            folder=self.folder,
            PYTHONPATH=f"{SOURCES}:{ROOT}",
        )
        assert child.stdin is not None
        assert child.stdout is not None
        self.pids.append(child.pid)
        told: list[str] = []
        self.told.append(told)
        try:
            for line in child.stdout:
                told.append(line.strip())
                if kill(len(told), line.strip()):
                    child.kill()
                    break
                child.stdin.write("go\n")
                child.stdin.flush()
                if line.startswith("result"):
                    self.result = line
            else:
                assert child.stderr is not None
                assert child.wait() == 0, child.stderr.read()
                return True
        finally:
            put_away(child)
        self.moments.append(self.survivors())
        return False

    def to_the_end(self, *kills: Kill) -> None:
        """Let each process be killed as told, then one live on; check what must be true."""
        for kill in kills:
            if self.live(kill):
                break
        else:
            assert self.live(never)
        self.check()

    def check(self) -> None:
        final = self.survivors()
        problems = list(final.unsound())
        for moment in self.moments:
            problems += moment.changed_in(final)
        problems += misrun(self.moments, final, self.effects)
        assert problems == []
        assert {row.state for row in final.rows.values()} == {InvocationState.COMPLETED}

    def check_again(self) -> None:
        """The finished workflow, run once more, calls nothing and gives the same."""
        before, result = self.effects, self.result
        assert self.live(never)
        assert (self.effects, self.result) == (before, result)
        assert self.told[-1][:2] == ["before start", "after start"]
        assert len(self.told[-1]) == 3


def never(_: int, __: str) -> bool:
    return False


def at(number: int) -> Kill:
    return lambda told, _: told == number


def when(text: str, times: int = 1) -> Kill:
    """At the line that has this for the n-th time. One commit may tell of two at once."""
    seen: list[int] = []

    def kill(_: int, line: str) -> bool:
        before = sum(seen)
        seen.append(line.count(text))
        return before < times <= sum(seen)

    return kill


def run_in(folder: Path, program: str, *kills: Kill) -> Story:
    folder.mkdir()
    story = Story(folder, program)
    story.to_the_end(*kills)
    return story


def steady(told: list[str]) -> list[str]:
    """The lines of a whole run that do not depend on how much one commit takes, nor on luck."""
    return [line for line in told if "commit" not in line and not line.startswith("result")]


@pytest.mark.timeout(600)  # Dozens of processes, one after the other.
@pytest.mark.parametrize(("program", "least", "most"), [("draws", 14, 14), ("acaught", 14, 18)])
@pytest.mark.keeps_frames("it counts commits")
def test_killed_at_every_point(program: str, least: int, most: int, tmp_path: Path) -> None:
    """A run tells `least` to `most` lines before its result.

    What an async workflow draws after its first and after its second call is committed while the
    next body runs, or together with its outcome if it has ended by then; that is two lines less.
    """
    calm = run_in(tmp_path / "calm", program)
    calm.check_again()
    assert len(calm.told[0]) - 1 in range(least, most + 1, 2)
    for number in range(1, most + 1):
        story = run_in(tmp_path / str(number), program, at(number))
        if len(story.told) == 1:  # it was over before that point
            length = len(story.told[0]) - 1
            assert length in range(least, number, 2)
            assert steady(story.told[0]) == steady(calm.told[0])
        else:
            assert len(story.told) == 2
            assert len(story.told[0]) == number


@pytest.mark.parametrize(
    "program", ["observed", "retries", "children", "afan_out", "inside", "gathered", "timed"]
)
def test_killed_again_and_again(program: str, tmp_path: Path) -> None:
    """Seeded points, until a process comes to the end; each life is a little longer."""
    chance = random.Random(program)
    story = Story(tmp_path, program)
    story.to_the_end(*(at(chance.randint(1, 6) + 3 * life) for life in range(LIVES_MAX)))
    assert len(story.told) > 2
    story.check_again()


def test_killed_inside_a_body_three_times(tmp_path: Path) -> None:
    """The same body dies each time, and is run again with the same arguments and key."""
    story = Story(tmp_path, "draws")
    story.to_the_end(when("body"), when("body"), when("body"))
    first = story.effects[0].body
    assert [run.process for run in story.effects if run.body == first] == [0, 1, 2, 3]
    assert all(not moment.attempts() for moment in story.moments)
    kinds = [entry.kind for entries in story.survivors().journals.values() for entry in entries]
    assert EntryKind.BEGAN in kinds, "after a crash each body is announced"


def test_killed_while_it_sleeps(tmp_path: Path) -> None:
    story = Story(tmp_path, "long_sleep", later=HOUR)
    story.to_the_end(when("waiting"))
    assert len(story.effects) == 2


def test_killed_in_the_pause_between_attempts(tmp_path: Path) -> None:
    """The direct call and the started one each pause for an hour and are killed meanwhile."""
    story = Story(tmp_path, "long_pause", later=HOUR)
    story.to_the_end(when("waiting"), when("waiting", times=2))
    direct, started = story.effects[0].body, story.effects[-1].body
    assert [run.process for run in story.effects if run.body == direct] == [0, 1]
    assert [run.process for run in story.effects if run.body == started] == [1, 2]


def test_killed_while_it_waits_for_a_child(tmp_path: Path) -> None:
    story = Story(tmp_path, "long_child", later=HOUR)
    story.to_the_end(when("waiting", times=2))
    assert {row.state for row in story.moments[1].rows.values()} == {InvocationState.WAITING}
    assert len(story.effects) == 3
