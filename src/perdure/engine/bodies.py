"""Runs one attempt of a task body: inline, on a pool thread, on a real loop, or elsewhere.

A body runs in the context of its task invocation, with freshly decoded arguments, and whatever it
does ends as an `Outcome`; nothing that it raises gets past this file. A body that could not be run,
or whose process died under it, has no outcome: it is `Unfinished`.
"""

from __future__ import annotations

import contextvars
import functools
import sys
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, TypeVar, cast

from perdure.engine import shipping
from perdure.engine.around import Around
from perdure.engine.body import raised_by_body, returned_by_body, run_body
from perdure.engine.context import TaskContext, enter
from perdure.engine.effects import Call
from perdure.engine.env import Env
from perdure.engine.executors import Executors, answer_of
from perdure.engine.outcome import Outcome, Raised, Unfinished
from perdure.engine.pool import Pool
from perdure.engine.pulse import Pulse
from perdure.engine.strays import OneProcess
from perdure.engine.telling import answer, tell
from perdure.errors import (
    AttemptLost,
    BodyDied,
    ExecutorUnavailable,
    HeartbeatTimeout,
    TaskTimeout,
)
from perdure.values import TypeRegistry, decode_exception, encode_exception

if TYPE_CHECKING:  # no cycle: it brings asyncio, which only async bodies need
    from perdure.engine.ioloop import IOLoop

Result = Outcome | Unfinished | None
"""What came of an attempt; None when the body was not allowed to start any more."""
Deliver = Callable[[Result], None]
MayStart = Callable[[], bool]


T = TypeVar("T")

TELLERS = 4
"""Threads on which heartbeats of async bodies are made durable."""
GIVEN_UP = "the workflow that called it waits for it no more"
OUT_OF_TIME = "it is past its timeout"
SILENT = "it told no heartbeat for too long"
STILL_RUNNING = "If its body lives, its next wf.heartbeat() ends it; what it gives is dropped."


class _Once:
    """Passes on the first result and drops the rest: a late one never replaces a timeout."""

    def __init__(self, deliver: Deliver) -> None:
        self._lock = threading.Lock()
        self._deliver: Deliver | None = deliver
        self._give_up: Callable[[], object] | None = None

    @property
    def wanted(self) -> bool:
        """Whether nobody has delivered or abandoned it yet."""
        return self._deliver is not None

    def on_unwanted(self, give_up: Callable[[], object]) -> None:
        """Call this when nobody waits for it any more; it must be harmless when it ended."""
        with self._lock:
            self._give_up = give_up
            wanted = self._deliver is not None
        if not wanted:
            give_up()

    def abandon(self) -> None:
        """Nobody waits for it any more: do not start it, or drop what it gives."""
        self._take()

    def __call__(self, result: Result) -> None:
        deliver = self._take()
        if deliver is not None:
            deliver(result)

    def _take(self) -> Deliver | None:
        with self._lock:
            deliver, self._deliver = self._deliver, None
            give_up, self._give_up = self._give_up, None
        if give_up is not None:
            give_up()
        return deliver


class _Left:
    """The seconds that a body in another process has still, from when it is asked first."""

    def __init__(self, monotonic: Callable[[], float], call: Call, context: TaskContext) -> None:
        self._monotonic = monotonic
        self._timeout = call.function.timeout
        self._pace = call.function.heartbeat_timeout
        self._context = context
        self._began: float | None = None

    @property
    def silent(self) -> bool:
        """Whether it was silent for too long."""
        quiet = self._quiet()
        return quiet is not None and quiet <= 0

    def _quiet(self) -> float | None:
        pulse = self._context.pulse if self._pace is not None else None
        return None if pulse is None else (self._pace or 0.0) - (self._monotonic() - pulse.last)

    def __call__(self) -> float | None:
        """Seconds until it is to be killed; None for no limit."""
        if self._began is None:
            self._began = self._monotonic()
            if self._pace is not None and (pulse := self._context.pulse) is not None:
                pulse.begin()
        left = None if self._timeout is None else self._timeout - (self._monotonic() - self._began)
        limits = [each for each in (left, self._quiet()) if each is not None]
        return min(limits, default=None)


class BodyRunner:
    """Where task bodies of this process run.

    Attributes:
        branches: threads for the branches of sync workflows.
    """

    def __init__(self, env: Env, types: TypeRegistry, size: int, store_id: bytes) -> None:
        """Make a runner.

        Args:
            size: at most so many threads for bodies that need one of their own, and as many bodies
                in other processes.
            store_id: the state backend that bodies in other processes must find there.
        """
        self._env = env
        self._types = types
        self._store_id = store_id
        self._pool = Pool(env, "perdure-task", size)
        # Without a bound, and never waiting: who has a thread may wait for one that has none yet.
        self.branches = Pool(env, "perdure-branch", sys.maxsize, queues=False)
        self._tellers = Pool(env, "perdure-heartbeat", TELLERS)
        self._executors = Executors(size)

    @functools.cached_property
    def _io(self) -> IOLoop:
        from perdure.engine.ioloop import IOLoop  # noqa: PLC0415 - asyncio costs 50 ms at import; only async code pays

        return IOLoop(self._env)

    def close(self) -> None:
        """Let threads, loop and processes end; for when no attempt runs any more."""
        self._pool.close()
        self.branches.close()
        self._tellers.close()
        self._executors.close()
        if "_io" in self.__dict__:
            self._io.close()

    def raised(self, error: BaseException) -> Raised:
        """The outcome of something that raised; `error` is the original, not the round trip."""
        return Raised(encode_exception(error, self._types), error)

    def rebuilt(self, body: bytes) -> BaseException:
        """The exception as every replay sees it."""
        return decode_exception(body, self._types)

    def run(self, call: Call, context: TaskContext, may_start: MayStart) -> Result:
        """Run one attempt and wait for it on this thread; None if it could not start in time.

        A sync body without a timeout runs right here and at once; who calls has seen that it may.
        One that is past its timeout keeps its pool thread until it returns; its late result is
        dropped. In a process of its own it is killed.
        """
        function = call.function
        limited = function.timeout is not None or function.heartbeat_timeout is not None
        if function.executor == "thread" and not limited and not function.is_async:
            return self._here(call, context)
        if not function.is_async and (not limited or function.executor == "process"):
            return self._attempt(call, context, may_start, _Once(lambda _: None))
        done = self._env.signal()
        results: list[Result] = []

        def deliver(result: Result) -> None:
            results.append(result)
            done.set()

        self.start(call, context, deliver, may_start)
        done.wait()
        return results[0]

    def start(
        self, call: Call, context: TaskContext, deliver: Deliver, may_start: MayStart
    ) -> Callable[[], None]:
        """Run one attempt elsewhere; `deliver` is called once, mostly on another thread.

        Args:
            may_start: asked when the body gets its thread (and its process), or its turn on the
                loop, which may be long after the call: the lease may be lost by then. Its timeout
                counts from there, too; on an executor of the user it counts from the submission.

        Returns:
            A function that abandons it: an async body is cancelled; a sync one does not start, or
            runs on and its outcome is dropped.
        """
        once = _Once(deliver)
        cancel: Callable[[], None] | None = None
        if call.function.is_async:
            cancel = self._start_async(call, context, once, may_start)
        else:
            self._start_sync(call, context, once, may_start)

        def abandon() -> None:
            context.lost = context.lost or GIVEN_UP
            once.abandon()
            if cancel is not None:
                cancel()

        return abandon

    def _start_sync(
        self, call: Call, context: TaskContext, once: _Once, may_start: MayStart
    ) -> None:
        values = contextvars.copy_context()

        def job() -> None:
            if once.wanted:
                once(values.run(self._attempt, call, context, may_start, once))

        try:
            self._pool.submit(job)
        except RuntimeError as error:
            once(Unfinished(ExecutorUnavailable(f"No thread could be started for it: {error}.")))

    def _attempt(
        self, call: Call, context: TaskContext, may_start: MayStart, once: _Once
    ) -> Result:
        """Run a sync body where it is to run, and wait for it on this thread."""
        function = call.function
        try:
            if function.executor == "process":
                return self._in_process(call, context, may_start)
            if not may_start():
                return None
            self._limit(call, context, once)
            if function.executor == "thread":
                return self._here(call, context)
            return self._on_executor(call, context, once)
        except (ExecutorUnavailable, BodyDied) as error:
            return Unfinished(error)

    def _limit(self, call: Call, context: TaskContext, once: _Once) -> None:
        """Deliver a failure when the body, which begins now, is past one of its times."""
        function = call.function
        if function.timeout is not None and not function.is_async:

            def end() -> None:
                if once.wanted:
                    context.lost = context.lost or OUT_OF_TIME
                once(self._timed_out(call))

            self._io.after(function.timeout, end)
        if function.heartbeat_timeout is not None and (pulse := context.pulse) is not None:
            pulse.begin()
            self._io.after(
                function.heartbeat_timeout,
                lambda: self._look(call, context, once, pulse, function.heartbeat_timeout or 0.0),
            )

    def _look(
        self, call: Call, context: TaskContext, once: _Once, pulse: Pulse, limit: float
    ) -> None:
        """Whether a body is silent for too long; again when it could be."""
        if not once.wanted:
            return
        left = limit - (self._env.monotonic() - pulse.last)
        if left > 0:
            self._io.after(left, lambda: self._look(call, context, once, pulse, limit))
            return
        context.lost = context.lost or SILENT
        once(self._silent(call, STILL_RUNNING))

    def _here(self, call: Call, context: TaskContext) -> Result:
        """Run a sync body on this thread, in what its function wants around it."""
        function = call.function
        around = cast("Around | None", function.around)
        if around is None:
            result: Result = run_body(function, call.arguments, context, self._types)
        else:
            body = functools.partial(run_body, function, call.arguments, context, self._types)
            result = around.run(context, body)
        if context.has_untold and isinstance(result, Raised):
            tell(context)
        return result

    def _in_process(self, call: Call, context: TaskContext, may_start: MayStart) -> Result:
        from perdure.engine.processes import OutOfTime  # noqa: PLC0415 - only who uses it pays

        payload = shipping.pack(call, context, self._store_id)
        left = _Left(self._env.monotonic, call, context)
        talk = functools.partial(answer, context)
        try:
            reply = self._executors.processes.run(payload, left, talk, may_start)
        except OutOfTime:
            return (
                self._silent(call, "Its process was killed.") if left.silent else self._killed(call)
            )
        if reply is None:
            return None
        result = shipping.unpack(call.function, reply, self._types)
        if isinstance(result, Raised) and context.lost:
            return Raised(result.body, AttemptLost(context.lost), final=True)
        if isinstance(result, Raised) and context.has_untold:
            tell(context)
        return result

    def _on_executor(self, call: Call, context: TaskContext, once: _Once) -> Result:
        choice = cast("Executor | Callable[[], Executor]", call.function.executor)
        payload = shipping.pack(call, context, self._store_id)
        future = self._executors.submit(choice, payload)
        once.on_unwanted(future.cancel)
        return shipping.unpack(call.function, answer_of(future), self._types)

    def _start_async(
        self, call: Call, context: TaskContext, once: _Once, may_start: MayStart
    ) -> Callable[[], None]:
        import asyncio  # noqa: PLC0415 - asyncio costs 50 ms at import; only async code pays

        values = contextvars.copy_context()
        values.run(enter, context)

        async def body() -> Outcome:
            limit = asyncio.timeout(call.function.timeout)
            try:
                async with limit:
                    with OneProcess(f"task {call.function.name!r}"):
                        bound = call.function.bind(call.arguments)
                        value = await cast("Awaitable[object]", bound())
            except TimeoutError as error:
                # A TimeoutError of the body itself is its own, not ours.
                return self._timed_out(call) if limit.expired() else self._raised(call, error)
            except BaseException as error:  # noqa: BLE001 - whatever a body raises is its outcome
                return self._raised(call, error)
            return returned_by_body(call.function, value, context, self._types)

        async def attempt() -> Result:
            if not may_start():
                return None
            self._limit(call, context, once)
            around = cast("Around | None", call.function.around)
            result = await (body() if around is None else around.run_async(context, body))
            if context.has_untold and isinstance(result, Raised):
                await self.off_loop(lambda: tell(context))
            return result

        def done(value: object, error: BaseException | None) -> None:
            if error is not None:
                once(self._raised(call, error))
            else:
                once(cast("Result", value))

        cancel = self._io.start(attempt(), values, done)
        if call.function.heartbeat_timeout is not None:
            once.on_unwanted(cancel)
        return cancel

    async def off_loop(self, run: Callable[[], T]) -> T:
        """What a function gives that waits for others, for a body on the loop."""
        import asyncio  # noqa: PLC0415 - asyncio costs 50 ms at import; only async code pays

        done: Future[T] = Future()

        def job() -> None:
            if not done.set_running_or_notify_cancel():
                return  # the body was cancelled meanwhile
            try:
                done.set_result(run())
            except BaseException as error:  # noqa: BLE001 - whoever awaits it raises it
                done.set_exception(error)

        self._tellers.submit(job)
        return await asyncio.wrap_future(done)

    def _raised(self, call: Call, error: BaseException) -> Raised:
        return raised_by_body(call.function, error, self._types)

    def _timed_out(self, call: Call) -> Raised:
        return self._raised(
            call,
            TaskTimeout(
                f"Task {call.function.name!r} did not return within {call.function.timeout} "
                "seconds. Its late result will be dropped, but what it does outside may still "
                "happen; make the effect idempotent (wf.idempotency_key()) or raise timeout=."
            ),
        )

    def _silent(self, call: Call, body: str) -> Raised:
        return self._raised(
            call,
            HeartbeatTimeout(
                f"Task {call.function.name!r} told no heartbeat for "
                f"{call.function.heartbeat_timeout} seconds. {body} Tell more often, or raise "
                "heartbeat_timeout=."
            ),
        )

    def _killed(self, call: Call) -> Raised:
        return self._raised(
            call,
            TaskTimeout(
                f"Task {call.function.name!r} did not return within {call.function.timeout} "
                "seconds, and its process was killed. Raise timeout= if it needs more."
            ),
        )
