"""Attempts of async workflows: the function runs on a deterministic loop that this thread steps.

The rhythm, on the first run and on every replay: run what is ready until nothing is; then hand over
the next delivery of the journal, exactly one; again. Only when there is none, look outside. So the
order in which branches go on is the order of the journal, never that of the world.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, cast

from perdure.backends.base import InvocationRecord
from perdure.core.entries import Entry, EntryKind
from perdure.engine import flows
from perdure.engine.attempt import PARKING, REFUSALS_MAX, Attempt
from perdure.engine.beginning import held_back
from perdure.engine.bodies import Result
from perdure.engine.branch import end_branch
from perdure.engine.cancellation import Cancellation
from perdure.engine.context import WorkflowContext, current_workflow
from perdure.engine.drive import BodyAnswer, drive, drive_async
from perdure.engine.effects import Flow, Function, RunBody, Wait
from perdure.engine.heartbeats import was_lost
from perdure.engine.lines import awaiting_line
from perdure.engine.loop import ScopedTask, WorkflowLoop
from perdure.engine.outcome import Outcome, Returned, Unfinished, recorded_arguments
from perdure.engine.runtime import Runtime
from perdure.engine.strays import OneProcess
from perdure.errors import BackendError, ControlFlow, InternalError, Suspended, SuspensionSwallowed

T = TypeVar("T")


class AsyncAttempt(Attempt):
    """Runs one claimed async workflow."""

    _main: ScopedTask
    """The root, from the first step on."""

    def __init__(self, runtime: Runtime, record: InvocationRecord, function: Function) -> None:
        """Prepare an attempt on a claimed record."""
        super().__init__(runtime, record, function)
        self._loop = WorkflowLoop(self)  # type: ignore[abstract] # asyncio's base is not an ABC
        self._clock = record.base_time or 0
        self._running = 0
        self._turns: list[asyncio.Future[None]] = []
        self._finished: deque[Callable[[], None]] = deque()
        self._one_process = OneProcess(f"workflow {record.name!r}")

    # --- stepping -------------------------------------------------------------------------------

    def execute(self, context: WorkflowContext) -> Outcome:
        """Step the loop until the function ends or its frame is dropped."""
        run = self.function.bind(recorded_arguments(self.record))
        hooks = sys.get_asyncgen_hooks()
        # The default finaliser would run `aclose` when the garbage collector finds a generator,
        # which is at another time on every run.
        sys.set_asyncgen_hooks(finalizer=lambda _: None)
        outer = asyncio._get_running_loop()  # noqa: SLF001 - `verify` may be called on a loop
        asyncio._set_running_loop(self._loop)  # noqa: SLF001 - how a loop makes itself current
        try:
            try:
                coroutine = cast("Coroutine[Any, Any, Any]", run())
            except Exception as error:  # noqa: BLE001 - of a decorator, and so its outcome
                return self.raised(error)
            return self._undone(context, self._end_of(coroutine, context))
        except ControlFlow as signal:
            if not self.halted:
                raise InternalError("A control signal came without its cause.") from signal
            return self.raised(signal)
        except BaseException:
            # Not the workflow's own: the state backend failed, say. Its frames must not be left to
            # the garbage collector, which would run their `finally` on any thread, at any time.
            self.halt(None)
            raise
        finally:
            if self.halted:
                self._drop_frames()
            asyncio._set_running_loop(outer)  # noqa: SLF001 - as above
            sys.set_asyncgen_hooks(*hooks)

    def _end_of(self, coroutine: Coroutine[Any, Any, Any], context: WorkflowContext) -> Outcome:
        try:
            return self._step_to_end(coroutine, context)
        except (SystemExit, KeyboardInterrupt) as error:
            # asyncio lets these two through its tasks; to a workflow they are errors like others.
            return self.raised(error)

    def _undone(self, context: WorkflowContext, ended: Outcome) -> Outcome:
        """The outcome, after what it asks for: a failure has the registered undos called.

        In a task of its own, which no cancellation reaches, for the root has ended.
        """
        if isinstance(ended, Returned) or not self.undos:
            return ended
        undoing = self.perform_async(flows.undo_all(context, self.undos, ended))
        task = self._loop.start(undoing, context)
        self._step_until(task.done)
        outcome: Outcome = task.result()
        return outcome

    def _step_to_end(
        self, coroutine: Coroutine[Any, Any, Any], context: WorkflowContext
    ) -> Outcome:
        main = self._main = self._loop.start(coroutine, context)
        self._step_until(main.done)
        self._loop.forget(main)
        # As asyncio.run does: what is still running is cancelled and waited for.
        for task in list(self._loop.tasks):
            task.cancel()
        self._step_until(lambda: not self._loop.tasks)
        if main.cancelled():
            self.ended_cancelled = True
            asked = self.cancellation or Cancellation()
            if asked.deadline:
                return self.raised(asked.signal())
            return self.raised(asyncio.CancelledError(*[asked.reason] if asked.reason else []))
        error = main.exception()
        if isinstance(error, ControlFlow):
            raise error
        return self.returned(main.result()) if error is None else self.raised(error)

    def _step_until(self, done: Callable[[], bool]) -> None:
        while True:
            with self._one_process:
                self._loop.run_ready()
            if self.halted:
                raise Suspended("The workflow is being dropped.")
            if done():
                return
            if self._finished:
                self._finished.popleft()()
                self._next_turn()
            elif self._deliver():
                self._next_turn()
            else:
                self.idle(busy=self._running > 0)

    def _collect(self) -> bool:
        """See `Attempt._collect`; also whether a body ended since the signal was cleared."""
        return super()._collect() or bool(self._finished)

    def _deliver(self) -> bool:
        if self.journal.deliveries:
            self._clock = max(self._clock, self.journal.deliveries[0].at)
        return self.deliver_next()

    def cancel(self, asked: Cancellation) -> None:
        """See `Attempt.cancel`: as asyncio does, which passes it on to what the root awaits."""
        del asked
        self._main.cancel()

    def _drop_frames(self) -> None:
        """Raise `Suspended` in every branch until its frame is gone; newest first."""
        for task in reversed(self._loop.tasks):
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001 - dropped on purpose
            task.values.run(self._drop_frame, task)
            self._loop.forget(task)

    def _drop_frame(self, task: ScopedTask) -> None:
        coroutine = cast("Coroutine[Any, Any, Any]", task.get_coro())
        if task.done():
            return
        for _ in range(REFUSALS_MAX):
            try:
                coroutine.throw(Suspended("The workflow is suspended; let this signal pass."))
            except BaseException:  # noqa: BLE001 - the frame is gone; what left it is discarded
                return
        self._keep(coroutine)
        self.stop(
            SuspensionSwallowed(
                f"Branch {task.get_name()!r} of workflow {self.record.key.invocation_id!r} keeps "
                "awaiting after its frame was dropped, the last time at "
                f"{awaiting_line(coroutine) or 'an unknown line'}. Some `except BaseException` or "
                "bare `except` catches the suspension signal; re-raise it there, or catch "
                "Exception."
            )
        )

    def _keep(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Hold a frame that cannot be dropped, for ever, on a thread that does nothing else.

        The garbage collector would close it, and so run code that swallows every signal, perhaps
        for ever, on whichever thread it happens to collect on. A global would only put that off to
        the end of the interpreter; what a daemon's frame holds is released by nobody.
        """
        held = coroutine, self.runtime.env.signal()

        def hold() -> None:
            held[1].wait()

        self.runtime.env.spawn("perdure-swallowed", hold)

    # --- what the loop asks for (perdure.engine.loop.LoopPort) ----------------------------------

    def open_branch(self) -> WorkflowContext:
        """A scope below the current one, named by creation order."""
        parent = current_workflow("asyncio.create_task").scope
        return self.make_context(parent.next_branch(), parent.clock)

    def close_branch(self, context: WorkflowContext, task: asyncio.Task[Any]) -> None:
        """Note the end of a scope that did anything, and join its clock with its parent's."""
        ended = "cancelled" if task.cancelled() else "raised" if task.exception() else "returned"
        try:
            end_branch(self.journal, context.scope, ended)
        except PARKING as error:
            self.stop(error)

    def set_timer(self, delay: float, fire: Callable[[], None]) -> Callable[[], None]:
        """A durable timer of the current scope."""
        context = current_workflow("a timer")
        duration = max(1, int(delay * flows.MICROSECONDS))
        wait = self._guarded(lambda: drive(flows.timer(context, duration), self))

        def wake() -> None:
            context.scope.event(wait.delivery.at if wait.delivery else 0)
            fire()

        wait.wake = wake
        self.mailbox.add(wait)
        return lambda: self.mailbox.abandon(wait)

    @property
    def clock(self) -> float:
        """Seconds since 1970 of the newest delivery."""
        return self._clock / flows.MICROSECONDS

    # --- operations -----------------------------------------------------------------------------

    def perform(self, flow: Flow[Outcome]) -> Outcome:
        """Drive an operation that neither runs a body nor waits."""
        return self._guarded(lambda: drive(flow, self))

    async def perform_async(self, flow: Flow[Outcome]) -> Outcome:
        """Drive an operation; errors of the engine itself drop the frame instead."""
        try:
            return await drive_async(flow, self)
        except (*PARKING, BackendError) as error:
            raise self.drop_for(error) from error

    def _guarded(self, run: Callable[[], T]) -> T:
        try:
            return run()
        except (*PARKING, BackendError) as error:
            raise self.drop_for(error) from error

    def run_body(self, effect: RunBody) -> Outcome:
        """Refuse: the api layer lets no blocking call through in an async workflow."""
        raise InternalError(f"A body was to block an async workflow: {effect}.")

    def wait_any(self, waits: tuple[Wait, ...]) -> Wait:
        """Refuse: the api layer lets no blocking wait through in an async workflow."""
        raise InternalError(f"A wait was to block an async workflow: {waits}.")

    def may_begin(self) -> None:
        """Refuse: what holds a body back is awaited in an async workflow."""
        raise InternalError("A body was to hold an async workflow up.")

    def interrupts(self, entry: Entry) -> bool:
        """See `Attempt.interrupts`."""
        return entry.kind == EntryKind.CANCEL

    async def may_begin_async(self) -> None:
        """Let others have their turn until a body may begin."""
        while held_back(self, self._running):
            turn: asyncio.Future[None] = self._loop.create_future()
            self._turns.append(turn)
            await turn

    def _next_turn(self) -> None:
        """Something was delivered, or a body has ended: who is held back looks again."""
        turns, self._turns = self._turns, []
        for turn in turns:
            if not turn.done():
                turn.set_result(None)

    async def run_body_async(self, effect: RunBody) -> BodyAnswer:
        """Run a task body on the real loop or a pool thread and await it."""
        while True:
            if effect.once:
                self.before_body(announced=True)
                result = await self._body(effect)
                if isinstance(result, Unfinished) and not result.may_have_begun:
                    return self.pause_after(effect, result)
                return result
            await self.may_begin_async()
            result = await self._body(effect)
            if isinstance(result, Unfinished):
                await self.wait_any_async((self.pause_after(effect, result),))
            elif was_lost(result):
                self.poke()  # what it was told of comes first at the next turn
            elif result is not None:  # else it was held up, and not allowed to start any more
                return result

    async def _body(self, effect: RunBody) -> Result:
        future: asyncio.Future[Result] = self._loop.create_future()

        def deliver(result: Result) -> None:
            def resume() -> None:
                if not future.done():
                    future.set_result(result)

            self._finished.append(resume)
            self.signal.set()

        self._running += 1
        context = self.task_context(effect)
        abandon = self.runtime.bodies.start(effect.call, context, deliver, self.may_start)
        try:
            return await future
        except BaseException:
            abandon()
            raise
        finally:
            self._running -= 1

    async def wait_any_async(self, waits: tuple[Wait, ...]) -> Wait:
        """Await the first of these to be delivered."""
        future: asyncio.Future[None] = self._loop.create_future()

        def wake() -> None:
            if not future.done():  # pragma: no branch - none is known that wakes it twice
                future.set_result(None)

        try:
            for wait in waits:
                wait.wake = wake
                self.mailbox.add(wait)
                if wait.satisfied:  # the others must take nothing
                    break
            await future
        except BaseException:
            for wait in waits:
                self.mailbox.give_back(wait)
            raise
        finally:
            for wait in waits:
                self.mailbox.abandon(wait)
        return next(wait for wait in waits if wait.satisfied)
