"""Receiving and answering updates in a workflow. `perdure.wf` re-exports what users call."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from datetime import timedelta
from typing import Any, Generic, TypeVar, cast, overload

from perdure.api.loose import decoder, encode_message
from perdure.api.operations import client_of
from perdure.core.entries import Entry
from perdure.core.identity import validate_identifier
from perdure.core.retry import seconds
from perdure.engine import flows
from perdure.engine.context import WorkflowContext, current_workflow
from perdure.engine.outcome import Outcome, Returned, read_body
from perdure.errors import (
    ConfigurationError,
    DeserializationError,
    MessageInvalid,
    UpdateAnswered,
    WrongColour,
)

T = TypeVar("T")


class Update(Generic[T]):
    """An update that the workflow has taken and is to answer, once.

    Attributes:
        id: of the update, as its sender gave it or as it was made for it.
        value: what was sent.
    """

    value: T

    def __init__(self, name: str, id_: str) -> None:
        """Made by `wf.receive_update`, not by users."""
        self.name = name
        self.id = id_
        self.is_answered = False

    def answer(self, value: object = None) -> None:
        """Answer it: durable with the workflow's next commit, and before any task body starts.

        Raises:
            UpdateAnswered: it is answered already.
            SerializationError: the value cannot be recorded; it is not answered.
        """
        context = current_workflow("update.answer")
        body = encode_message(client_of(context), value, f"answer of update {self.name!r}")
        self._settle(context, Returned(body, None))

    def refuse(self, error: Exception) -> None:
        """Answer it with an error, which its sender gets raised; the workflow goes on.

        Raises:
            UpdateAnswered: it is answered already.
            ConfigurationError: it is no exception.
        """
        context = current_workflow("update.refuse")
        given: object = error
        if not isinstance(given, Exception):  # pyright: ignore[reportUnnecessaryIsInstance] - not every caller has a type checker
            raise ConfigurationError(
                f"update.refuse({given!r}): expected an exception object, such as "
                'ValueError("it is sold out").'
            )
        self._settle(context, context.raised(error))

    def _settle(self, context: WorkflowContext, outcome: Outcome) -> None:
        if self.is_answered:
            raise UpdateAnswered(
                f"Update {self.name!r} (id {self.id!r}) is answered already; its sender may have "
                "the first answer by now. Nothing was changed."
            )
        context.perform(flows.answer(context, self.id, outcome))
        self.is_answered = True

    def end(self, error: Exception | None) -> None:
        """The block was left: answer what is not answered."""
        if not self.is_answered:
            self.answer() if error is None else self.refuse(error)


@overload
def receive_update(
    name: str, type_: type[T], /, timeout: float | timedelta | None = None
) -> AbstractContextManager[Update[T], None]: ...
@overload
def receive_update(
    name: str, /, *, timeout: float | timedelta | None = None
) -> AbstractContextManager[Update[Any], None]: ...
def receive_update(
    name: str, type_: Any = Any, /, timeout: float | timedelta | None = None
) -> AbstractContextManager[Update[Any], None]:
    """Take the oldest update `name`, or wait for one: `with wf.receive_update("add", Item) as u:`.

    Answer it in the block with `u.answer(value)`, or `u.refuse(error)`. A block that ends without
    either answers None; an exception that leaves it is the answer, and goes on in the workflow.

    Args:
        name: as given to `invocation.update`.
        type_: what `u.value` must be; it is decoded to it. Any takes it as it is.
        timeout: seconds or timedelta, a durable timer; None waits for ever.

    Raises:
        ReceiveTimeout: no update came in time.
        MessageInvalid: the value is no `type_`; it is the answer as well.
        WrongColour: in an async workflow; `async with wf.receive_update_async(...)`.
    """
    context = current_workflow("wf.receive_update")
    if context.is_async:
        raise WrongColour(
            "wf.receive_update was called in an async workflow, which it would block. Write: "
            f"async with wf.receive_update_async({name!r}, ...) as update"
        )
    block = _receiving(name, type_, _limit(name, timeout))
    return cast("AbstractContextManager[Update[Any], None]", block)


@contextmanager
def _receiving(name: str, type_: Any, limit: int | None) -> Generator[Update[Any]]:
    context = current_workflow("wf.receive_update")
    taken = context.perform(flows.receive_update(context, name, limit))
    update = _opened(context, name, type_, limit, taken)
    try:
        yield update
    except Exception as error:
        update.end(error)
        raise
    update.end(None)


@overload
def receive_update_async(
    name: str, type_: type[T], /, timeout: float | timedelta | None = None
) -> AbstractAsyncContextManager[Update[T], None]: ...
@overload
def receive_update_async(
    name: str, /, *, timeout: float | timedelta | None = None
) -> AbstractAsyncContextManager[Update[Any], None]: ...
def receive_update_async(
    name: str, type_: Any = Any, /, timeout: float | timedelta | None = None
) -> AbstractAsyncContextManager[Update[Any], None]:
    """As `receive_update`, in an async workflow: `async with`."""
    current_workflow("wf.receive_update_async")
    block = _receiving_async(name, type_, _limit(name, timeout))
    return cast("AbstractAsyncContextManager[Update[Any], None]", block)


@asynccontextmanager
async def _receiving_async(name: str, type_: Any, limit: int | None) -> AsyncGenerator[Update[Any]]:
    context = current_workflow("wf.receive_update_async")
    taken = await context.perform_async(flows.receive_update(context, name, limit))
    update = _opened(context, name, type_, limit, taken)
    try:
        yield update
    except Exception as error:
        update.end(error)
        raise
    update.end(None)


def _limit(name: str, timeout: float | timedelta | None) -> int | None:
    """Microseconds to wait."""
    validate_identifier(name, "the name given to receive_update")
    return None if timeout is None else int(seconds(timeout, "timeout") * flows.MICROSECONDS)


def _opened(
    context: WorkflowContext, name: str, type_: Any, limit: int | None, taken: object
) -> Update[Any]:
    """The update of a delivery; one that does not fit is answered with that and raises it."""
    if not isinstance(taken, Entry):
        raise flows.timed_out(context, name, limit or 0)
    update: Update[Any] = Update(name, taken.key)
    body = bytes(read_body(taken.body).result)
    try:
        update.value = decoder(client_of(context), type_, f"update {name!r}")(body)
    except DeserializationError as error:
        invalid = MessageInvalid(
            f"Workflow {context.key.invocation_id!r} got an update {name!r} that does not fit: "
            f"{error} Its sender is told the same."
        )
        update.refuse(invalid)
        raise invalid from error
    return update
