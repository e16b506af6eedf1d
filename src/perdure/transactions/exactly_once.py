"""The one way in which an attempt and its outcome get into a database together.

Written once, as a generator that yields what is to be done; `drive` does it for sync drivers,
`drive_async` for async ones.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator
from typing import Any, Protocol, TypeAlias, TypeVar, cast

import msgspec

from perdure.engine.outcome import Outcome, Raised, Returned, Unfinished
from perdure.errors import DatabaseUnavailable
from perdure.transactions.ports import Door, Kept, Kind, Row, Rows, Session, Verdict

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
    """This try came to nothing. `lost`: the connection did."""

    def __init__(self, cause: BaseException, *, lost: bool) -> None:
        super().__init__(cause)
        self.cause = cause
        self.lost = lost


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
    lost: BaseException | None = None
    failed: BaseException | None = None
    for number in range(TRIES_MAX):
        if number:
            yield functools.partial(pause, min(PAUSE_FIRST * 2.0**number, PAUSE_MAX))
        try:
            session = cast("Session", (yield door.open))
        except DatabaseUnavailable as error:
            return Unfinished(error)
        try:
            outcome = yield from _try(session, memo, body)
        except _Again as again:
            lost, failed = (again.cause, failed) if again.lost else (None, again.cause)
            continue
        finally:
            yield session.close
        if outcome is not None:
            return outcome
    if lost is None and failed is not None:
        return (yield from _told(door, memo, memo.raised(failed)))
    return Unfinished(memo.unavailable(lost or TimeoutError("it was in use all the time")))


def _try(session: Session, memo: Memo, body: Callable[[Any], Any]) -> Steps[Outcome | None]:
    """One try on one connection; None if another one was first, whose outcome is there now."""
    try:
        kept = yield from _look_up(session, memo)
        if kept is not None:
            return memo.outcome(kept)
        yield session.begin
        outcome: Outcome = yield functools.partial(body, session.tx)
        if isinstance(outcome, Returned):
            yield session.seal
            if (yield from _keep(session, memo.row("returned", outcome.body))):
                yield session.commit
                return outcome
            yield session.roll_back
            return None
        error: BaseException = outcome.error
    except Exception as raised:
        # At its COMMIT, what is not refused may have happened: the next try looks.
        if session.verdict(raised) is not Verdict.REFUSED:
            yield session.roll_back
            raise _Again(raised, lost=session.verdict(raised) is not Verdict.CONFLICT) from raised
        outcome, error = memo.raised(raised), raised
    verdict = session.verdict(error)
    yield session.roll_back
    if verdict in {Verdict.CONFLICT, Verdict.LOST}:
        raise _Again(error, lost=verdict is Verdict.LOST) from error
    return (yield from _keep_failure(session, memo, outcome))


def _look_up(session: Session, memo: Memo) -> Steps[Kept | None]:
    asked = {"task_key": memo.task_key, "attempt": memo.attempt}
    rows: Rows = yield functools.partial(session.fetch, "look_up", asked)
    return Kept(cast("Kind", rows[0][0]), bytes(rows[0][1])) if rows else None


def _keep(session: Session, row: Row) -> Steps[bool]:
    """Whether it could be written: no other transaction has an outcome of this attempt."""
    count: int = yield functools.partial(session.change, "keep", msgspec.structs.asdict(row))
    return count == 1


def _keep_failure(session: Session, memo: Memo, outcome: Raised) -> Steps[Outcome | None]:
    """Let nobody commit this attempt any more; None if somebody has."""
    kind: Kind = "final" if outcome.final else "failed"
    try:
        yield session.begin
        yield session.seal
        kept = yield from _keep(session, memo.row(kind, outcome.body))
        yield session.commit
    except Exception as raised:
        yield session.roll_back
        raise _Again(raised, lost=session.verdict(raised) is not Verdict.CONFLICT) from raised
    return outcome if kept else None


def _told(door: Door, memo: Memo, outcome: Raised) -> Steps[Outcome | Unfinished]:
    """A failure after the last try: as any other."""
    try:
        session = cast("Session", (yield door.open))
    except DatabaseUnavailable as error:
        return Unfinished(error)
    try:
        kept = yield from _keep_failure(session, memo, outcome)
        if kept is not None:
            return kept
        found = yield from _look_up(session, memo)
        return outcome if found is None else memo.outcome(found)
    except _Again as again:
        return Unfinished(memo.unavailable(again.cause))
    finally:
        yield session.close


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
