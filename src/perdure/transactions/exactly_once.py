"""The one way in which an attempt and its outcome get into a database together.

Written once, as a generator that yields what is to be done; `drive` does it for sync drivers,
`drive_async` for async ones.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar, cast

import msgspec

from perdure.engine.outcome import Outcome, Raised, Unfinished
from perdure.errors import DatabaseUnavailable
from perdure.transactions.ports import Door, Kept, Kind, Row, Rows, Session, Verdict, ended_by_body

T = TypeVar("T")

Steps: TypeAlias = Generator[Callable[[], Any], Any, T]
"""Each step is a call; what it gives, or what is awaited of it, is sent back."""

TRIES_MAX = 12
"""Times that one attempt is begun again after conflicts. With the pauses about ten seconds, in
which whoever it conflicts with is done or will not be soon."""
PAUSE_FIRST = 0.005
PAUSE_MAX = 2.0
"""Seconds between tries: they double from the first to the longest."""


class Memo(Protocol):
    """One attempt, as its outcome is filed."""

    task_key: str
    attempt: int

    def row(self, kind: Kind, body: bytes) -> Row:
        """What is kept of it."""
        ...

    def outcome(self, kept: Kept) -> Outcome:
        """The outcome that was kept."""
        ...

    def raised(self, error: BaseException) -> Raised:
        """The outcome of a body that raised this."""
        ...

    def unavailable(self, error: BaseException) -> DatabaseUnavailable:
        """What is said while the database is away."""
        ...


class _Again(Exception):
    """This try ended to nothing. `lost`: the connection did, or what became of its COMMIT."""

    def __init__(self, cause: BaseException, *, lost: bool) -> None:
        super().__init__(cause)
        self.cause = cause
        self.lost = lost


class _End(NamedTuple):
    """What a try ended to, and whether it is kept already."""

    outcome: Outcome
    is_kept: bool


def exactly_once(
    door: Door, memo: Memo, body: Callable[[Any], Any], pause: Callable[[float], Any]
) -> Steps[Outcome | Unfinished]:
    """The outcome of an attempt; its body's rows are committed with it, or are not there.

    * An outcome that is kept is given, and no body runs.
    * The outcome is written last, under a unique key. Of two that run at the same time the second
      cannot write it: it undoes its rows, and gives what the first has kept.
    * A body that fails is undone, and its failure is kept in a transaction of its own, under the
      same key. So an attempt that was taken for dead cannot commit after its failure was told.
    * A COMMIT of which nobody knows what became is looked up by the next try.

    Args:
        body: runs the body with a connection; gives its `Outcome`, and never raises.
        pause: waits for so many seconds.
    """
    ended = yield from _repeated(door, memo, pause, lambda session: _try(session, memo, body))
    if isinstance(ended, _Again):
        if ended.lost:
            return Unfinished(memo.unavailable(ended.cause))
        ended = _End(memo.raised(ended.cause), is_kept=False)
    if isinstance(ended, Unfinished) or ended.is_kept:
        return ended if isinstance(ended, Unfinished) else ended.outcome
    failure = ended.outcome
    told = yield from _repeated(door, memo, pause, lambda session: _fail(session, memo, failure))
    if isinstance(told, _Again):
        # Nothing is told that is not kept: the body runs again, or what is kept is found.
        return Unfinished(memo.unavailable(told.cause))
    if isinstance(told, Unfinished):
        return told
    if told.is_kept or not isinstance(told.outcome, Raised):
        return told.outcome
    return Unfinished(memo.unavailable(told.outcome.error))


def _repeated(
    door: Door,
    memo: Memo,
    pause: Callable[[float], Any],
    attempt: Callable[[Session], Steps[_End]],
) -> Steps[_End | _Again | Unfinished]:
    """Try in one session after the other; gives the last `_Again` if none ended to an end."""
    last: _Again | None = None
    for number in range(TRIES_MAX):
        if number:
            yield functools.partial(pause, min(PAUSE_FIRST * 2.0**number, PAUSE_MAX))
        try:
            session = cast("Session", (yield door.open))
        except DatabaseUnavailable as error:
            return Unfinished(error)
        try:
            return (yield from _judged(session, attempt(session), memo))
        except _Again as again:
            last = again
        finally:
            yield session.close
    assert last is not None
    return last


def _judged(session: Session, steps: Steps[_End], memo: Memo) -> Steps[_End]:
    """What the errors of a driver mean for a try."""
    try:
        return (yield from steps)
    except _Again:
        raise
    except Exception as error:
        # At its COMMIT, what is not refused may have happened: the next try looks.
        verdict = session.verdict(error)
        if verdict is Verdict.REFUSED:
            return _End(memo.raised(error), is_kept=False)
        raise _Again(error, lost=verdict is not Verdict.CONFLICT) from error


def _try(session: Session, memo: Memo, body: Callable[[Any], Any]) -> Steps[_End]:
    """Give what is kept, or run the body and keep what it gave."""
    kept = yield from _look_up(session, memo)
    if kept is not None:
        return _End(memo.outcome(kept), is_kept=True)
    yield session.begin
    outcome: Outcome = yield functools.partial(body, session.tx)
    if isinstance(outcome, Raised):
        verdict = session.verdict(outcome.error)
        if verdict in {Verdict.CONFLICT, Verdict.LOST}:
            raise _Again(outcome.error, lost=verdict is Verdict.LOST)
        if verdict is Verdict.ENDED:
            refused = ended_by_body()
            refused.__cause__ = outcome.error
            outcome = memo.raised(refused)
        return _End(outcome, is_kept=False)
    yield session.seal
    yield from _keep(session, memo.row("returned", outcome.body))
    return _End(outcome, is_kept=True)


def _fail(session: Session, memo: Memo, outcome: Outcome) -> Steps[_End]:
    """Let nobody commit this attempt any more; what somebody has committed is the outcome.

    In a session of its own: the body may have closed the other one.
    """
    kept = yield from _look_up(session, memo)
    if kept is not None:
        return _End(memo.outcome(kept), is_kept=True)
    is_final = isinstance(outcome, Raised) and outcome.final
    yield session.begin
    yield session.seal
    yield from _keep(session, memo.row("final" if is_final else "failed", outcome.body))
    return _End(outcome, is_kept=True)


def _look_up(session: Session, memo: Memo) -> Steps[Kept | None]:
    asked = {"task_key": memo.task_key, "attempt": memo.attempt}
    rows: Rows = yield functools.partial(session.fetch, "look_up", asked)
    return Kept(cast("Kind", rows[0][0]), bytes(rows[0][1])) if rows else None


def _keep(session: Session, row: Row) -> Steps[None]:
    """Write the outcome, and commit all.

    Raises:
        _Again: another transaction was first; what it has kept is found by the next try.
    """
    count: int = yield functools.partial(session.change, "keep", msgspec.structs.asdict(row))
    if count != 1:
        raise _Again(InterruptedError("another one was first"), lost=False)
    yield session.commit


def drive(steps: Steps[T]) -> T:
    """Do the steps, blocking."""
    try:
        step = next(steps)
        while True:
            try:
                value = step()
            except BaseException as error:  # noqa: BLE001 - the steps decide what it means
                step = steps.throw(error)
            else:
                step = steps.send(value)
    except StopIteration as end:
        return cast("T", end.value)


async def drive_async(steps: Steps[T]) -> T:
    """Do the steps, awaiting what can be awaited."""
    try:
        step = next(steps)
        while True:
            try:
                value = step()
                if inspect.isawaitable(value):
                    value = await value
            except BaseException as error:  # noqa: BLE001 - as above
                step = steps.throw(error)
            else:
                step = steps.send(value)
    except StopIteration as end:
        return cast("T", end.value)
