"""Runs one attempt of a task body: inline, on a pool thread, or on the real asyncio loop.

A body runs in the context of its task invocation, with freshly decoded arguments, and whatever it
does ends as an `Outcome`; nothing that it raises gets past this file.
"""

from __future__ import annotations

import contextvars
import functools
import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, cast

from perdure.engine.context import TaskContext, enter, leave
from perdure.engine.effects import Call
from perdure.engine.env import Env
from perdure.engine.outcome import Outcome, Raised, Returned
from perdure.engine.pool import Pool
from perdure.errors import SerializationError, TaskTimeout
from perdure.values import TypeRegistry, decode_exception, encode_exception

if TYPE_CHECKING:  # no cycle: it brings asyncio, which only async bodies need
    from perdure.engine.ioloop import IOLoop

Deliver = Callable[[Outcome | None], None]
"""Takes the outcome, or None when the body was not allowed to start any more."""
MayStart = Callable[[], bool]


class _Once:
    """Passes on the first outcome and drops the rest: a late result never replaces a timeout."""

    def __init__(self, deliver: Deliver) -> None:
        self._lock = threading.Lock()
        self._deliver: Deliver | None = deliver

    @property
    def wanted(self) -> bool:
        """Whether nobody has delivered or abandoned it yet."""
        return self._deliver is not None

    def abandon(self) -> None:
        """Nobody waits for it any more: do not start it, or drop what it gives."""
        with self._lock:
            self._deliver = None

    def __call__(self, outcome: Outcome | None) -> None:
        with self._lock:
            deliver, self._deliver = self._deliver, None
        if deliver is not None:
            deliver(outcome)


class BodyRunner:
    """Where task bodies of this process run."""

    def __init__(self, env: Env, types: TypeRegistry, size: int) -> None:
        """Make a runner with at most `size` threads for bodies that need one of their own."""
        self._env = env
        self._types = types
        self._pool = Pool(env, "perdure-task", size)

    @functools.cached_property
    def _io(self) -> IOLoop:
        from perdure.engine.ioloop import IOLoop  # noqa: PLC0415 - asyncio costs 50 ms at import; only async code pays

        return IOLoop(self._env)

    def close(self) -> None:
        """Let threads and loop end; for when no attempt runs any more."""
        self._pool.close()
        if "_io" in self.__dict__:
            self._io.close()

    def raised(self, error: BaseException, *, final: bool = False) -> Raised:
        """The outcome of something that raised; `error` is the original, not the round trip."""
        return Raised(encode_exception(error, self._types), error, final)

    def rebuilt(self, body: bytes) -> BaseException:
        """The exception as every replay sees it."""
        return decode_exception(body, self._types)

    def run(self, call: Call, context: TaskContext, may_start: MayStart) -> Outcome | None:
        """Run one attempt and wait for it on this thread; None if it could not start in time.

        A sync body without a timeout runs right here. One that is past its timeout keeps its pool
        thread until it returns; its late result is dropped.
        """
        function = call.function
        if not function.is_async and function.timeout is None:
            return self._run_here(call, context)
        done = self._env.signal()
        outcomes: list[Outcome | None] = []

        def deliver(outcome: Outcome | None) -> None:
            outcomes.append(outcome)
            done.set()

        self.start(call, context, deliver, may_start)
        done.wait()
        return outcomes[0]

    def start(
        self, call: Call, context: TaskContext, deliver: Deliver, may_start: MayStart
    ) -> Callable[[], None]:
        """Run one attempt elsewhere; `deliver` is called once, on another thread.

        Args:
            may_start: asked when a sync body gets its thread, which may be long after the call:
                the lease may be lost by then. Its timeout counts from there, too.

        Returns:
            A function that abandons it: an async body is cancelled; a sync one does not start, or
            runs on and its outcome is dropped.
        """
        if call.function.is_async:
            return self._start_async(call, context, deliver)
        values = contextvars.copy_context()
        once = _Once(deliver)

        def job() -> None:
            if not once.wanted:
                return
            if not may_start():
                once(None)
                return
            if call.function.timeout is not None:
                self._io.after(call.function.timeout, lambda: once(self._timed_out(call)))
            once(values.run(self._run_here, call, context))

        self._pool.submit(job)
        return once.abandon

    def _run_here(self, call: Call, context: TaskContext) -> Outcome:
        token = enter(context)
        try:
            value = call.function.bind(call.arguments)()
        except BaseException as error:  # noqa: BLE001 - whatever a body raises is its outcome
            return self.raised(error)
        finally:
            leave(token)
        return self._returned(call, value)

    def _returned(self, call: Call, value: object) -> Outcome:
        try:
            return Returned(*call.function.encode_result(value))
        except SerializationError as error:
            return self.raised(error, final=True)

    def _start_async(
        self, call: Call, context: TaskContext, deliver: Deliver
    ) -> Callable[[], None]:
        import asyncio  # noqa: PLC0415 - asyncio costs 50 ms at import; only async code pays

        values = contextvars.copy_context()
        values.run(enter, context)

        async def body() -> Outcome:
            limit = asyncio.timeout(call.function.timeout)
            try:
                async with limit:
                    value = await cast("Awaitable[object]", call.function.bind(call.arguments)())
            except TimeoutError as error:
                # A TimeoutError of the body itself is its own, not ours.
                return self._timed_out(call) if limit.expired() else self.raised(error)
            except BaseException as error:  # noqa: BLE001 - whatever a body raises is its outcome
                return self.raised(error)
            return self._returned(call, value)

        def done(value: object, error: BaseException | None) -> None:
            if error is not None:
                deliver(self.raised(error))
            else:
                deliver(cast("Outcome", value))

        return self._io.start(body(), values, done)

    def _timed_out(self, call: Call) -> Raised:
        return self.raised(
            TaskTimeout(
                f"Task {call.function.name!r} did not return within {call.function.timeout} "
                "seconds. Its late result will be dropped, but what it does outside may still "
                "happen; make the effect idempotent (wf.idempotency_key()) or raise timeout=."
            )
        )
