"""Runs the bodies of a transaction task: what the engine calls in place of the bare body."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from perdure.engine.body import raised_by_body
from perdure.engine.context import TaskContext
from perdure.engine.effects import Function
from perdure.engine.outcome import Outcome, Raised, Returned, Unfinished
from perdure.errors import (
    DatabaseUnavailable,
    DeserializationError,
    PerdureError,
    WrongColour,
)
from perdure.transactions.exactly_once import drive, drive_async, exactly_once
from perdure.transactions.ports import Door, Kept, Kind, Row
from perdure.values import TypeRegistry, decode_exception

given: ContextVar[Any] = ContextVar("perdure_transaction", default=None)
"""The connection of the transaction in which the next body of this context runs; it takes it."""


@dataclass(frozen=True, slots=True)
class Place:
    """What bodies of one database have in common. Found at the first use.

    Attributes:
        door: sync sessions; async_door: async ones; None where the driver has none.
        store: the state backend, in hexadecimal.
        pause: waits for so many seconds.
    """

    door: Door | None
    async_door: Door | None
    store: str
    shown: str
    pause: Callable[[float], None]

    def sync_door(self) -> Door:
        """The way in for sync code.

        Raises:
            WrongColour: there is none.
        """
        if self.door is None:
            raise WrongColour(
                f"The database {self.shown} is reached by an async driver. Write the function as "
                "async def, and outside of workflows: async with database.transaction_async()."
            )
        return self.door

    def later_door(self) -> Door:
        """The way in for async code.

        Raises:
            WrongColour: there is none.
        """
        if self.async_door is None:
            raise WrongColour(
                f"The database {self.shown} is reached by a driver that blocks. Write the function "
                "as a plain def (in async code: await function.acall(...)), and outside of "
                "workflows: with database.transaction()."
            )
        return self.async_door


class Filed:
    """One attempt, as its outcome is filed. The `Memo` of `exactly_once`."""

    def __init__(
        self, context: TaskContext, function: Function, types: TypeRegistry, place: Place
    ) -> None:
        self.task_key = context.idempotency_key()
        self.attempt = context.attempt
        self._context = context
        self._function = function
        self._types = types
        self._place = place

    def row(self, kind: Kind, body: bytes) -> Row:
        """See `Memo.row`."""
        invocation, workflow = self._context.invocation, self._context.workflow
        return Row(
            task_key=self.task_key,
            attempt=self.attempt,
            store=self._place.store,
            task=self._function.name,
            invocation_id=invocation.invocation_id,
            generation=invocation.generation,
            workflow_id=None if workflow is None else workflow.invocation_id,
            workflow_generation=None if workflow is None else workflow.generation,
            kind=kind,
            body=body,
        )

    def outcome(self, kept: Kept) -> Outcome:
        """See `Memo.outcome`."""
        if kept.kind != "returned":
            error = decode_exception(kept.body, self._types)
            return Raised(kept.body, error, final=kept.kind == "final")
        try:
            return Returned(kept.body, self._function.decode_result(kept.body))
        except DeserializationError as error:
            return self.raised(error)

    def raised(self, error: BaseException) -> Raised:
        """See `Memo.raised`."""
        return raised_by_body(self._function, error, self._types)

    def unavailable(self, error: BaseException) -> DatabaseUnavailable:
        """See `Memo.unavailable`."""
        return DatabaseUnavailable(
            f"The database {self._place.shown} does not say what became of a transaction of task "
            f"{self._function.name!r}: {type(error).__name__}: {error}. Nothing is lost; it is "
            "asked again in some seconds."
        )


class InTransaction:
    """The `Around` of a transaction task."""

    def __init__(self, function: Function, types: TypeRegistry, place: Callable[[], Place]) -> None:
        self._function = function
        self._types = types
        self._place = place

    def run(self, context: TaskContext, body: Callable[[], Outcome]) -> Outcome | Unfinished:
        """See `Around.run`."""
        try:
            place = self._place()
            door = place.sync_door()
        except DatabaseUnavailable as error:
            return Unfinished(error)
        except PerdureError as error:
            return raised_by_body(self._function, error, self._types)
        memo = Filed(context, self._function, self._types, place)

        def in_transaction(tx: Any) -> Outcome:
            context.rewind()
            token = given.set(tx)
            try:
                return body()
            finally:
                given.reset(token)

        return drive(exactly_once(door, memo, in_transaction, place.pause))

    async def run_async(
        self, context: TaskContext, body: Callable[[], Awaitable[Outcome]]
    ) -> Outcome | Unfinished:
        """See `Around.run_async`."""
        from asyncio import sleep  # noqa: PLC0415 - asyncio costs 50 ms at import

        try:
            place = self._place()
            door = place.later_door()
        except DatabaseUnavailable as error:
            return Unfinished(error)
        except PerdureError as error:
            return raised_by_body(self._function, error, self._types)
        memo = Filed(context, self._function, self._types, place)

        async def in_transaction(tx: Any) -> Outcome:
            context.rewind()
            token = given.set(tx)
            try:
                return await body()
            finally:
                given.reset(token)

        steps = exactly_once(door, memo, in_transaction, sleep)
        return await drive_async(steps)
