"""The two loops in which operations meet the world: `drive` blocks, `drive_async` awaits.

They differ in two effects only: how a body runs and how a wait waits. Everything else is done the
same way, on the spot.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from perdure.backends.base import InvocationRecord, NewInvocation
from perdure.engine.effects import (
    Compute,
    Find,
    Flow,
    Flush,
    MayBegin,
    Now,
    Outward,
    RunBody,
    StartNow,
    Wait,
    WaitAny,
)
from perdure.engine.outcome import Outcome, Unfinished

T = TypeVar("T")
BodyAnswer = Outcome | Unfinished | Wait | None
"""What comes of a `RunBody`."""


class Performer(Protocol):
    """Does on the spot what both colours do alike."""

    @property
    def now(self) -> Callable[[], int]: ...
    def flush(self) -> bool: ...
    def find(self, invocation_id: str) -> InvocationRecord | None: ...
    def start_now(self, new: NewInvocation) -> InvocationRecord: ...
    def affect(self, effect: Outward) -> object: ...
    def compute(self, effect: Compute) -> Outcome: ...
    def may_begin(self) -> None: ...


class BlockingPerformer(Performer, Protocol):
    """Runs bodies and waits on the calling thread."""

    def run_body(self, effect: RunBody) -> BodyAnswer: ...
    def wait_any(self, waits: tuple[Wait, ...]) -> Wait: ...


class AsyncPerformer(Performer, Protocol):
    """Runs bodies elsewhere and waits inside the deterministic loop."""

    def run_body_async(self, effect: RunBody) -> Awaitable[BodyAnswer]: ...
    def wait_any_async(self, waits: tuple[Wait, ...]) -> Awaitable[Wait]: ...
    def may_begin_async(self) -> Awaitable[None]: ...


def drive(flow: Flow[T], performer: BlockingPerformer) -> T:
    """Run an operation to its end on this thread.

    What is raised where it waits (a cancellation, a suspension) is raised inside the operation too,
    so that it can note that it was given up.
    """
    try:
        effect = next(flow)
        while True:
            answer: object
            try:
                if isinstance(effect, RunBody):
                    answer = performer.run_body(effect)
                elif isinstance(effect, WaitAny):
                    answer = performer.wait_any(effect.waits)
                elif isinstance(effect, Now):
                    answer = performer.now()
                else:
                    answer = _perform(effect, performer)
            except BaseException as error:  # noqa: BLE001 - the operation re-raises it
                effect = flow.throw(error)
            else:
                effect = flow.send(answer)
    except StopIteration as stop:
        value: T = stop.value
        return value


async def drive_async(flow: Flow[T], performer: AsyncPerformer) -> T:
    """Run an operation to its end inside an async workflow; errors are raised in it likewise."""
    try:
        effect = next(flow)
        while True:
            answer: object
            try:
                if isinstance(effect, RunBody):
                    answer = await performer.run_body_async(effect)
                elif isinstance(effect, WaitAny):
                    answer = await performer.wait_any_async(effect.waits)
                elif isinstance(effect, MayBegin):
                    await performer.may_begin_async()
                    answer = None
                else:
                    answer = _perform(effect, performer)
            except BaseException as error:  # noqa: BLE001 - the operation re-raises it
                effect = flow.throw(error)
            else:
                effect = flow.send(answer)
    except StopIteration as stop:
        value: T = stop.value
        return value


def _perform(
    effect: Now | Flush | Find | StartNow | Compute | MayBegin | Outward, performer: Performer
) -> object:
    answer: object = None
    match effect:
        case Now():
            answer = performer.now()
        case Flush():
            answer = performer.flush()
        case Find(invocation_id):
            answer = performer.find(invocation_id)
        case StartNow(new):
            answer = performer.start_now(new)
        case Compute():
            answer = performer.compute(effect)
        case MayBegin():
            performer.may_begin()
        case _:
            answer = performer.affect(effect)
    return answer
