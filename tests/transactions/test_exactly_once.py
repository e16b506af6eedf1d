"""Attempts at one thing, in every order and with every fault: one outcome, and its rows once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.engine.outcome import Outcome, Raised, Returned, Unfinished
from perdure.errors import DatabaseUnavailable
from perdure.transactions.exactly_once import TRIES_MAX, Steps, drive, exactly_once
from tests.transactions.model import (
    Conflict,
    Lost,
    ModelDatabase,
    ModelDoor,
    ModelMemo,
    ModelSession,
    Refusal,
    writing,
)

FAULTS = ("lost", "lost after it", "conflict")
STEPS_MAX = 5_000


class Line:
    """One attempt that is made step by step, by a process that may be taken for dead."""

    def __init__(self, database: ModelDatabase, fails: Callable[[], BaseException | None]) -> None:
        self.sessions: list[ModelSession] = []
        self.steps: Steps[Outcome | Unfinished] = exactly_once(
            ModelDoor(database), ModelMemo(), writing(fails), lambda _: None
        )
        self.next: Callable[[], Any] | None = next(self.steps)
        self.outcome: Outcome | Unfinished | None = None

    def advance(self, fault: str = "") -> None:
        step = self.next
        assert step is not None
        session = self.sessions[-1] if self.sessions else None
        name = getattr(step, "__name__", None) or getattr(
            getattr(step, "func", None), "__name__", ""
        )
        try:
            if fault and session is not None and name in {"fetch", "begin", "change", "commit"}:
                if fault == "lost after it":
                    step()
                session.roll_back()
                raise Conflict if fault == "conflict" else Lost
            value = step()
            if isinstance(value, ModelSession):
                self.sessions.append(value)
        except Exception as raised:
            error = raised
            self._goes_on(lambda: self.steps.throw(error))
        else:
            self._goes_on(lambda: self.steps.send(value))

    def _goes_on(self, resume: Callable[[], Callable[[], Any]]) -> None:
        try:
            self.next = resume()
        except StopIteration as end:
            self.next, self.outcome = None, end.value


def errors(kinds: Iterator[str]) -> Callable[[], BaseException | None]:
    """What bodies do, one after the other: nothing bad when there is no more to tell."""
    made = {"fails": ValueError("no"), "conflicts": Conflict(), "is lost": Lost()}
    return lambda: made.get(next(kinds, "returns"))


@given(
    bodies=st.lists(st.sampled_from(["returns", "fails", "conflicts", "is lost"]), max_size=8),
    moves=st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from(("", "", "", *FAULTS))), max_size=120
    ),
)
def test_one_outcome_and_its_rows_once(bodies: list[str], moves: list[tuple[int, str]]) -> None:
    database = ModelDatabase()
    fails = errors(iter(bodies))
    lines = [Line(database, fails) for _ in range(3)]
    for number, fault in moves:
        if lines[number].next is not None:
            lines[number].advance(fault)
    told = [line.outcome for line in lines if line.outcome is not None]
    for line in lines:  # from here on undisturbed, one after the other
        for _ in range(STEPS_MAX):
            if line.next is None:
                break
            line.advance()
    told += [line.outcome for line in lines if line.outcome is not None]
    last = drive(exactly_once(ModelDoor(database), ModelMemo(), writing(lambda: None), _no_pause))
    outcomes = [each for each in [*told, last] if not isinstance(each, Unfinished)]

    assert isinstance(last, Returned | Raised)
    assert {each.body for each in outcomes} == {last.body}
    assert database.rows == ([last.body.decode()] if isinstance(last, Returned) else [])
    assert len(database.outcomes) == 1


def _no_pause(_: float) -> None:
    return


def run(database: ModelDatabase, *errors_of_bodies: BaseException | None) -> Any:
    told = iter(errors_of_bodies)
    body = writing(lambda: next(told, None))
    return drive(exactly_once(ModelDoor(database), ModelMemo(), body, _no_pause))


def test_conflicts_are_tried_again_and_are_no_failure() -> None:
    database = ModelDatabase()
    outcome = run(database, Conflict(), Conflict(), None)
    assert isinstance(outcome, Returned)
    assert database.rows == [outcome.value]


def test_a_conflict_that_never_ends_is_a_failure_of_the_attempt() -> None:
    database = ModelDatabase()
    outcome = run(database, *[Conflict()] * TRIES_MAX)
    assert isinstance(outcome, Raised)
    assert isinstance(outcome.error, Conflict)
    assert database.outcomes[("key", 1)].kind == "failed"


def test_a_database_that_is_away_is_no_failure() -> None:
    outcome = run(ModelDatabase(), *[Lost()] * TRIES_MAX)
    assert isinstance(outcome, Unfinished)
    assert isinstance(outcome.error, DatabaseUnavailable)


def test_what_is_refused_at_the_commit_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """A constraint that is looked at only then, say."""
    real, refused = ModelSession.commit, [Refusal("a promise was not kept")]

    def commit(session: ModelSession) -> None:
        if refused:
            session.roll_back()
            raise refused.pop()
        real(session)

    monkeypatch.setattr(ModelSession, "commit", commit)
    database = ModelDatabase()
    outcome = run(database)
    assert isinstance(outcome, Raised)
    assert isinstance(outcome.error, Refusal)
    assert database.rows == []


def test_a_failed_attempt_cannot_be_committed_later_by_who_was_taken_for_dead() -> None:
    database = ModelDatabase()
    zombie = Line(database, lambda: None)
    while zombie.next is not None and not (zombie.sessions and zombie.sessions[-1].tx):
        zombie.advance()
    assert isinstance(run(database, ValueError("no")), Raised)
    while zombie.next is not None:
        zombie.advance()
    assert isinstance(zombie.outcome, Raised)
    assert database.rows == []
