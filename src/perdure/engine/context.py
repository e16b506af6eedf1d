"""Where an operation finds the workflow or task that it belongs to, and who may use it.

A scope belongs to one thread (and one asyncio task) of one process. An operation from anywhere
else is an error, even where the context was copied: it would otherwise be counted in an order that
no replay could repeat, or silently not be durable at all.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Callable
from contextvars import ContextVar
from threading import get_ident
from typing import Any, NamedTuple, NoReturn, TypeAlias

from perdure.backends.base import NewInvocation
from perdure.core.draws import derive_id
from perdure.core.identity import InvocationKey
from perdure.core.scope import Scope
from perdure.engine.attempt_port import AttemptPort
from perdure.engine.effects import Flow
from perdure.engine.lines import calling_line
from perdure.engine.outcome import Outcome, Raised, Returned
from perdure.engine.pulse import Pulse
from perdure.errors import ForeignScope, NotInWorkflow, OperationRefused

_pid = os.getpid()


def _after_fork() -> None:
    global _pid  # noqa: PLW0603 - one cached number per process; asking the system costs more
    _pid = os.getpid()


os.register_at_fork(after_in_child=_after_fork)


class WorkflowContext:
    """One scope of a running workflow attempt: what every operation in it goes through."""

    __slots__ = (
        "_is_current",
        "_pid",
        "_thread",
        "attempt",
        "base_time",
        "branching",
        "data",
        "executor",
        "identity",
        "is_async",
        "journal",
        "key",
        "made_at",
        "owner",
        "refusing",
        "scope",
        "template",
    )

    def __init__(self, attempt: AttemptPort, scope: Scope) -> None:
        """Bind a scope of an attempt to the current thread."""
        self.attempt = attempt
        self.journal = attempt.journal
        self.scope = scope
        self.key = self.journal.key
        self.template = attempt.template
        self.identity = attempt.identity
        self.is_async = self.branching = attempt.is_async
        self.made_at = ""
        self.base_time = attempt.base_time
        self.owner = attempt.owner
        self.refusing = ""
        self.executor: object = None
        self.data: dict[str, bytes] = attempt.published
        self._pid = _pid
        self._thread = get_ident()
        self._is_current: Callable[[], bool] | None = None

    def bind_task(self, is_current: Callable[[], bool]) -> None:
        """Bind the scope to an asyncio task as well; `is_current` tells whether it runs now."""
        self._is_current = is_current

    def check(self) -> None:
        """Refuse an operation that does not come from the owner, or comes too late.

        Raises:
            ForeignScope: another process, thread or asyncio task.
            OperationRefused: inside a `record` function.
            Suspended: the frame is being dropped.
        """
        if self._pid != _pid or self._thread != get_ident():
            raise self._foreign()
        if self.attempt.halted:
            # Before the look at the asyncio task: while frames are dropped none of them is current.
            self.attempt.refuse()
        if self._is_current is not None and not self._is_current():
            raise self._foreign()
        if self.refusing:
            raise OperationRefused(
                f"An operation was asked for inside {self.refusing}. What runs there is recorded "
                "as one value, so nothing in it can be recorded by itself. Do it before or after."
            )

    def _foreign(self) -> ForeignScope:
        where = "a forked process" if self._pid != _pid else "another thread or asyncio task"
        return ForeignScope(
            f"An operation of workflow {self.key.invocation_id!r} came from {where}. "
            "A scope belongs to the thread and the asyncio task that runs it, else its operations "
            "could not be replayed in order. Do the threaded work inside a task, or start tasks "
            "and wait for their results."
        )

    def perform(self, flow: Flow[Outcome]) -> Any:
        """Drive an operation on this thread to its value, or raise what is recorded."""
        outcome = self.attempt.perform(flow)
        return outcome.value if isinstance(outcome, Returned) else self._raise(outcome)

    async def perform_async(self, flow: Flow[Outcome]) -> Any:
        """Drive an operation inside the deterministic loop to its value, or raise likewise."""
        outcome = await self.attempt.perform_async(flow)
        return outcome.value if isinstance(outcome, Returned) else self._raise(outcome)

    def _raise(self, outcome: Raised) -> NoReturn:
        # Rebuilt from the record on the first run too, so that a replay raises the very same.
        raise self.attempt.rebuilt(outcome.body)

    def flush_draws(self) -> None:
        """Make buffered draws durable without waiting for a command."""
        self.attempt.flush_draws()

    # What the flows ask of their place (`perdure.engine.flows.Place`).

    def line(self) -> str:
        """`file:line` of the workflow code that asks."""
        return calling_line() or self.made_at

    @property
    def halted(self) -> bool:
        """Whether the frame is being dropped."""
        return self.attempt.halted

    @property
    def careful(self) -> bool:
        """Whether each body is preceded by a durable start entry."""
        return self.attempt.careful

    def progressed(self) -> None:
        """A task ended after a crash."""
        self.attempt.progressed()

    def rebuilt(self, body: bytes) -> BaseException:
        """An exception from its record."""
        return self.attempt.rebuilt(body)

    def raised(self, error: BaseException) -> Raised:
        """The outcome of something that raised."""
        return self.attempt.raised(error)

    @property
    def is_spread(self) -> bool:
        """Whether there are several servers, so that a child may live on another one."""
        return self.attempt.spread is not None

    def beside(self, made: str) -> str:
        """The id of a child that lives where this workflow does."""
        spread = self.attempt.spread
        return made if spread is None else spread.beside(made, self.key.invocation_id)

    def add_child(self, new: NewInvocation) -> None:
        """Start this invocation with the next flush."""
        self.attempt.add_child(new)

    def add_watch(self, key: InvocationKey) -> None:
        """Ask for the end of this invocation with the next flush."""
        self.attempt.add_watch(key)

    def add_data(self, name: str, body: bytes) -> None:
        """Publish workflow data with the next flush."""
        self.attempt.add_data(name, body)


class Origin(NamedTuple):
    """What a task invocation is, and what follows from it.

    Attributes:
        seed: what all its draws and ids follow from.
        template: what every invocation started from it has in common.
        effect_seed: what its idempotency key follows from; another one's if it asks about that.
    """

    invocation: InvocationKey
    seed: bytes
    template: NewInvocation
    effect_seed: bytes


class TaskContext:
    """The scope of one task invocation: draws that are the same on every attempt, ids of starts.

    Attributes:
        lost: why its attempt counts no more, once that is known; set from any thread.
    """

    __slots__ = (
        "_made",
        "_origin",
        "_pulse",
        "_scope",
        "asked_for_later",
        "attempt",
        "clock",
        "executor",
        "lost",
        "owner",
        "place",
        "pulses",
        "starts",
        "workflow",
    )

    def __init__(
        self,
        origin: Callable[[], Origin],
        clock: int,
        *,
        workflow: InvocationKey | None,
        owner: object,
        attempt: int = 1,
        place: tuple[str, int] = ("", 0),
        pulses: Callable[[TaskContext], Pulse] | None = None,
    ) -> None:
        """Make the scope of an invocation.

        Args:
            origin: tells which; asked at the first need, for most bodies neither draw nor start.
            clock: where its workflow clock starts, microseconds since 1970 UTC; must be the same on
                every attempt.
            workflow: whose data it may read.
            owner: what the api layer attached to the runtime; the engine only carries it.
            attempt: its number, one more than the failed attempts on record.
            place: scope path and ordinal of the call; of no meaning for what was started.
            pulses: makes its heartbeats; None where nobody could be told of them.
        """
        self.place = place
        self.pulses = pulses
        self.lost = ""
        self._pulse: Pulse | None = None
        self.attempt = attempt
        self.workflow = workflow
        self.executor: object = None
        self.owner = owner
        self.starts = 0
        self.asked_for_later = False
        self.clock = clock
        self._origin = origin
        self._made: Origin | None = None
        self._scope: Scope | None = None

    @property
    def origin(self) -> Origin:
        """What it is and what follows from it."""
        if self._made is None:
            self._made = self._origin()
        return self._made

    @property
    def invocation(self) -> InvocationKey:
        """Its key."""
        return self.origin.invocation

    @property
    def pulse(self) -> Pulse | None:
        """Its heartbeats, if anybody can be told of them."""
        if self._pulse is None and self.pulses is not None:
            self._pulse = self.pulses(self)
        return self._pulse

    @property
    def has_untold(self) -> bool:
        """Whether its body told details that are not durable."""
        return self._pulse is not None and self._pulse.has_untold

    @property
    def template(self) -> NewInvocation:
        """What every invocation started from here has in common."""
        return self.origin.template

    def seed(self) -> bytes:
        """What all its draws and ids follow from."""
        return self.origin.seed

    @property
    def scope(self) -> Scope:
        """The draws of this invocation; nothing of them is recorded."""
        if self._scope is None:
            self._scope = Scope("", self.seed(), self.clock, self._forget)
        return self._scope

    def rewind(self) -> None:
        """Begin again: a body that is run a second time gets what it got the first time."""
        self._scope = None
        self.starts = 0
        self.asked_for_later = False

    def _forget(self, scope: Scope, _: int) -> None:
        for sequence in scope.sequences.values():
            sequence.fresh.clear()

    def idempotency_key(self) -> str:
        """The one key of this invocation, the same on every attempt."""
        return derive_id(self.origin.effect_seed, "idempotency")

    def next_start_id(self) -> str:
        """The id of the next invocation that this body starts; a retry finds it again."""
        self.starts += 1
        return derive_id(self.seed(), "start", str(self.starts))


Context: TypeAlias = WorkflowContext | TaskContext

_current: ContextVar[Context | None] = ContextVar("perdure_context", default=None)
enter = _current.set
leave = _current.reset


def current() -> Context | None:
    """The context of this code, or None outside of any workflow and task.

    Raises:
        ForeignScope: this thread was started by workflow code, so what it does is not durable.
    """
    context = _current.get()
    if context is None:
        starter = getattr(threading.current_thread(), _MARK, None)
        if starter is not None:
            raise ForeignScope(
                # Without the thread's name: code that records this text must see it again.
                f"This thread was started by the code of workflow {starter!r}, so what it does "
                "cannot be recorded in an order that a replay could repeat. Do the threaded work "
                "inside a task, or start tasks and wait for their results."
            )
    return context


def current_workflow(operation: str) -> WorkflowContext:
    """The checked context of a workflow operation.

    Raises:
        NotInWorkflow: outside of any workflow.
        OperationRefused: inside a task.
    """
    context = current()
    if isinstance(context, WorkflowContext):
        context.check()
        return context
    if context is None:
        raise NotInWorkflow(
            f"{operation} was called outside of any workflow. Call it from a function that is "
            "decorated with @app.workflow and was started by calling it or by its .start()."
        )
    raise OperationRefused(
        f"{operation} was called inside the task {context.template.name or 'body'!r} "
        f"(invocation {context.invocation.invocation_id!r}). A task is recorded as a whole; do "
        "this in the workflow."
    )


# --- threads started by workflow code -----------------------------------------------------------

_MARK = "_perdure_started_by"
_watching = False
_THREAD_EVENTS = frozenset({"_thread.start_new_thread", "_thread.start_joinable_thread"})


def watch_threads() -> None:
    """Mark threads that workflow code starts, from the first workflow of the process on.

    The start is seen in the starting thread, before the new one runs: by an audit hook (PEP 578),
    and before Python 3.12, which has no event for it, by a wrapper of `Thread.start`. Without the
    mark a task called there would run as a plain function and be silently lost.
    """
    global _watching  # noqa: PLW0603 - an audit hook can be added once and never removed
    if not _watching:
        _watching = True
        if sys.version_info >= (3, 12):
            sys.addaudithook(_audit)
        else:
            _wrap_start()


def _audit(event: str, args: tuple[object, ...]) -> None:
    if event in _THREAD_EVENTS:
        _mark_thread(getattr(args[0], "__self__", None))


def _wrap_start() -> None:
    start = threading.Thread.start

    @functools.wraps(start)
    def marking_start(thread: threading.Thread) -> None:
        _mark_thread(thread)
        start(thread)

    threading.Thread.start = marking_start  # type: ignore[method-assign, assignment]


def _mark_thread(thread: object) -> None:
    """Mark what workflow code starts, and what such a thread starts in turn."""
    context = _current.get()
    if isinstance(context, WorkflowContext):
        starter: object = context.key.invocation_id
    else:
        starter = None if context else getattr(threading.current_thread(), _MARK, None)
    if starter is not None and isinstance(thread, threading.Thread):
        setattr(thread, _MARK, starter)
