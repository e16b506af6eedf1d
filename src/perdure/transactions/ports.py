"""What a database must be able to do for a transaction, said once for sync and async drivers."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from enum import Enum
from typing import Any, Literal, NamedTuple, Protocol

import msgspec

from perdure.errors import OperationRefused

Kind = Literal["returned", "failed", "final"]
"""What became of an attempt: a result; a failure; a failure that no other attempt may follow."""


Values = Mapping[str, object]
"""Parameters of a statement, by name."""
Rows = Sequence[Sequence[Any]]


class Kept(NamedTuple):
    """An outcome as the user's database has it."""

    kind: Kind
    body: bytes


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt and its outcome, as they are kept.

    Attributes:
        task_key: the idempotency key of the task invocation.
        attempt: number of the attempt, from 1.
        store: the state backend that has the invocation, in hexadecimal.
        invocation_id, generation: the task invocation; workflow_id, ...: where it belongs to.
    """

    task_key: str
    attempt: int
    store: str
    task: str
    invocation_id: str
    generation: int
    workflow_id: str | None
    workflow_generation: int | None
    kind: Kind
    body: bytes


class Verdict(Enum):
    """What an error means for a transaction."""

    CONFLICT = "conflict"
    """It was rolled back for the sake of another one; begun again, it has a chance."""
    REFUSED = "refused"
    """The database has said no, and nothing of it is there."""
    LOST = "lost"
    """The connection is gone. Before a COMMIT nothing is there; after it nobody knows."""
    ENDED = "ended"
    """The body wanted to end its transaction, and was not let."""
    FOREIGN = "foreign"
    """It is not the database's error."""


def ended_by_body() -> OperationRefused:
    """What is said to a body that ends its transaction, or wants to."""
    return OperationRefused(
        "The body of a transaction has ended its transaction itself, so its outcome cannot be "
        "kept with its rows. Call neither commit nor rollback in it: return to commit, raise "
        "to roll back."
    )


def refuse_if_ended(*, is_open: bool) -> None:
    """Whether the transaction of a body is still its own.

    Raises:
        OperationRefused: it is not.
    """
    if not is_open:
        raise ended_by_body()


class Session(Protocol):
    """One connection for one try. The async one has the same methods as coroutine functions."""

    @property
    def tx(self) -> Any:
        """What the body gets: the driver's own connection, in a transaction."""
        ...

    def begin(self) -> Awaitable[None] | None:
        """Begin the transaction in which the body runs."""
        ...

    def seal(self) -> Awaitable[None] | None:
        """The body is over: what comes now is ours.

        Raises:
            OperationRefused: the body has ended the transaction, which is not its to end.
        """
        ...

    def fetch(self, name: str, values: Values) -> Rows | Awaitable[Rows]:
        """The rows of a statement of ours. Outside of a transaction it leaves none open."""
        ...

    def change(self, name: str, values: Values) -> int | Awaitable[int]:
        """How many rows a statement of ours has changed, in the transaction that is open."""
        ...

    def commit(self) -> Awaitable[None] | None:
        """End it; durable when this returns. After an error nobody knows, unless it is REFUSED."""
        ...

    def roll_back(self) -> Awaitable[None] | None:
        """Undo it. Harmless when there is none, and on a connection that is gone."""
        ...

    def close(self) -> Awaitable[None] | None:
        """Undo what is open, and give the connection back; away if it is not as it was."""
        ...

    def verdict(self, error: BaseException) -> Verdict:
        """What this error, raised by the body or by a method above, means."""
        ...


class Door(Protocol):
    """Gives sessions of one database. The async one has `open` as a coroutine function."""

    def open(self) -> Session | Awaitable[Session]:
        """A session in no transaction, on a database that has the tables.

        Raises:
            DatabaseUnavailable: there is none to be had now.
        """
        ...


def roots_of(given: object) -> set[str]:
    """The packages whose classes somebody's object is of, without importing any of them."""
    return {kind.__module__.partition(".")[0] for kind in type(given).__mro__}
