"""The real asyncio loop of this process for async task bodies, on a thread of its own.

Workflow code never runs here, and nothing here commits.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable, Coroutine

from perdure.engine.env import Env
from perdure.errors import InternalError


class IOLoop:
    """Starts at the first use; ends with `close`, or with the process (its thread is a daemon)."""

    def __init__(self, env: Env) -> None:
        """Remember where threads come from; start nothing."""
        self._env = env
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    def _ask(self, run: Callable[[asyncio.AbstractEventLoop], object]) -> asyncio.AbstractEventLoop:
        """Let `run(loop)` be called there soon; what was asked for before `close` still is."""
        with self._lock:
            if self._closed:
                raise InternalError("The loop of task bodies was used after its end.")
            if self._loop is None:
                self._loop = loop = asyncio.new_event_loop()
                self._env.spawn("perdure-io", lambda: _run(loop))
            self._loop.call_soon_threadsafe(run, self._loop)
            return self._loop

    def start(
        self,
        coroutine: Coroutine[object, object, object],
        context: contextvars.Context,
        done: Callable[[object, BaseException | None], None],
    ) -> Callable[[], None]:
        """Run a coroutine there and call `done(value, error)` on that thread when it ended.

        Returns:
            A function that asks it to cancel; safe from any thread, harmless when it ended.
        """
        tasks: list[asyncio.Task[object]] = []

        def begin(loop: asyncio.AbstractEventLoop) -> None:
            task = loop.create_task(coroutine, context=context)
            tasks.append(task)
            task.add_done_callback(finish)

        def finish(task: asyncio.Task[object]) -> None:
            if task.cancelled():
                done(None, asyncio.CancelledError())
            elif (error := task.exception()) is not None:
                done(None, error)
            else:
                done(task.result(), None)

        def cancel() -> None:
            for task in tasks:
                task.cancel()

        def ask() -> None:
            with contextlib.suppress(RuntimeError):  # that loop was closed meanwhile
                loop.call_soon_threadsafe(cancel)

        try:
            loop = self._ask(begin)
        except InternalError:
            coroutine.close()
            raise
        return ask

    def after(self, delay: float, run: Callable[[], None]) -> None:
        """Call `run` there after `delay` seconds. It must be short."""
        self._ask(lambda loop: loop.call_later(delay, run))

    def close(self) -> None:
        """Cancel what runs there and end the loop and its thread, for good."""
        with self._lock:
            self._closed = True
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._loop.stop)
                self._loop = None


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        while tasks := asyncio.all_tasks(loop):
            for task in tasks:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    finally:
        loop.close()
