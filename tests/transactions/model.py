"""A database in memory with just what `exactly_once` asks of one."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, cast

import msgspec

from perdure.engine.outcome import Outcome, Raised, Returned
from perdure.errors import DatabaseUnavailable
from perdure.transactions.ports import Kept, Kind, Row, Rows, Values, Verdict


class Lost(Exception):
    """The connection is gone."""


class Conflict(Exception):
    """Another transaction was in the way."""


class Refusal(Exception):
    """The database said no."""


class ModelDatabase:
    """What is committed: outcomes by attempt, and the rows of the bodies."""

    def __init__(self) -> None:
        self.outcomes: dict[tuple[str, int], Kept] = {}
        self.rows: list[str] = []
        self.writers: dict[tuple[str, int], ModelSession] = {}


class ModelSession:
    def __init__(self, database: ModelDatabase) -> None:
        self.database = database
        self.tx: list[str] = []
        self.kept: Row | None = None
        self.gone = False

    def fetch(self, name: str, values: Values) -> Rows:
        assert name == "look_up"
        found = self.database.outcomes.get(
            (str(values["task_key"]), cast("int", values["attempt"]))
        )
        return [] if found is None else [found]

    def begin(self) -> None:
        self.tx.clear()

    def seal(self) -> None: ...

    def change(self, name: str, values: Values) -> int:
        assert name == "keep"
        row = msgspec.convert(values, Row)
        place = row.task_key, row.attempt
        if place in self.database.outcomes:
            return 0
        if self.database.writers.setdefault(place, self) is not self:
            raise Conflict
        self.kept = row
        return 1

    def commit(self) -> None:
        if self.kept is not None:
            place = self.kept.task_key, self.kept.attempt
            assert place not in self.database.outcomes
            self.database.outcomes[place] = Kept(self.kept.kind, self.kept.body)
        self.database.rows += self.tx
        self.roll_back()

    def roll_back(self) -> None:
        self.tx.clear()
        for place, writer in list(self.database.writers.items()):
            if writer is self:
                del self.database.writers[place]
        self.kept = None

    def close(self) -> None:
        self.roll_back()

    def verdict(self, error: BaseException) -> Verdict:
        if isinstance(error, Lost):
            return Verdict.LOST
        if isinstance(error, Conflict):
            return Verdict.CONFLICT
        return Verdict.REFUSED if isinstance(error, Refusal) else Verdict.FOREIGN


class ModelDoor:
    def __init__(self, database: ModelDatabase) -> None:
        self.database = database

    def open(self) -> ModelSession:
        return ModelSession(self.database)


class ModelMemo:
    """An attempt of a task whose results are texts."""

    def __init__(self, task_key: str = "key", attempt: int = 1) -> None:
        self.task_key = task_key
        self.attempt = attempt

    def row(self, kind: Kind, body: bytes) -> Row:
        return Row(
            task_key=self.task_key,
            attempt=self.attempt,
            store="",
            task="task",
            invocation_id="id",
            generation=1,
            workflow_id=None,
            workflow_generation=None,
            kind=kind,
            body=body,
        )

    def outcome(self, kept: Kept) -> Outcome:
        if kept.kind == "returned":
            return Returned(kept.body, kept.body.decode())
        return Raised(kept.body, ValueError(kept.body.decode()), final=kept.kind == "final")

    def raised(self, error: BaseException) -> Raised:
        return Raised(repr(error).encode(), error)

    def unavailable(self, error: BaseException) -> DatabaseUnavailable:
        return DatabaseUnavailable(repr(error))


_calls = itertools.count(1)


def writing(fails: Callable[[], BaseException | None]) -> Callable[[Any], Outcome]:
    """A body that writes a row which differs on each call, and then fails or returns it."""

    def body(tx: list[str]) -> Outcome:
        row = f"row {next(_calls)}"
        tx.append(row)
        error = fails()
        if error is not None:
            return Raised(row.encode(), error)
        return Returned(row.encode(), row)

    return body
