"""What a context needs of the attempt that runs it. Nothing here does anything."""

from __future__ import annotations

from typing import Protocol

from perdure.backends.base import NewInvocation
from perdure.backends.server import Spread
from perdure.core.identity import InvocationKey, WorkflowIdentity
from perdure.core.journal import Journal
from perdure.engine.cancellation import Cancellation
from perdure.engine.effects import Flow, Undo
from perdure.engine.outcome import Outcome, Raised


class AttemptPort(Protocol):
    """What a context needs of the attempt that runs it."""

    @property
    def journal(self) -> Journal:
        """The journal of the workflow."""
        ...

    @property
    def template(self) -> NewInvocation:
        """What every child of the workflow has in common."""
        ...

    @property
    def identity(self) -> WorkflowIdentity:
        """Whose values the operations give."""
        ...

    @property
    def is_async(self) -> bool:
        """Whether the workflow function is a coroutine function."""
        ...

    @property
    def base_time(self) -> int:
        """When the workflow began, microseconds since 1970 UTC."""
        ...

    @property
    def deadline(self) -> int | None:
        """When it is to have ended, likewise; None if it may take as long as it likes."""
        ...

    @property
    def cancellation(self) -> Cancellation | None:
        """What has told it to end, if anything."""
        ...

    @property
    def published(self) -> dict[str, bytes]:
        """The workflow's data as set so far by this attempt; one for all scopes."""
        ...

    @property
    def owner(self) -> object:
        """What the api layer attached to the runtime; the engine only carries it."""
        ...

    @property
    def spread(self) -> Spread | None:
        """Which server has what; None where there is one server."""
        ...

    @property
    def halted(self) -> bool:
        """True from the moment the frame is being dropped."""
        ...

    @property
    def undos(self) -> list[Undo]:
        """What is called if the workflow fails, oldest first."""
        ...

    def refuse(self) -> None:
        """An operation was asked of a halted attempt: raise `Suspended` again."""
        ...

    def perform(self, flow: Flow[Outcome]) -> Outcome:
        """Drive a flow on this thread, blocking."""
        ...

    async def perform_async(self, flow: Flow[Outcome]) -> Outcome:
        """Drive a flow inside the deterministic loop."""
        ...

    def flush_draws(self) -> None:
        """Make buffered draws durable."""
        ...

    @property
    def careful(self) -> bool:
        """Whether each body is preceded by a durable start entry."""
        ...

    def progressed(self) -> None:
        """A task ended after a crash."""
        ...

    def rebuilt(self, body: bytes) -> BaseException:
        """An exception from its record."""
        ...

    def raised(self, error: BaseException) -> Raised:
        """The outcome of something that raised."""
        ...

    def add_child(self, new: NewInvocation) -> None:
        """Start this invocation with the next flush."""
        ...

    def add_watch(self, key: InvocationKey) -> None:
        """Ask for the end of this invocation with the next flush."""
        ...

    def add_data(self, name: str, body: bytes) -> None:
        """Publish workflow data with the next flush."""
        ...
