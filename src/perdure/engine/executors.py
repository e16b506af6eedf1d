"""Where the bodies of a task may run, and how they get there: processes, or executors of users.

It knows nothing of leases and retries: a body is bytes that go and bytes that come back.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

from perdure.engine.shipping import run_shipment
from perdure.errors import BodyDied, ConfigurationError, ExecutorUnavailable

if TYPE_CHECKING:  # no cycle: it brings multiprocessing, which only "process" needs
    from perdure.engine.processes import Processes

ExecutorChoice: TypeAlias = Literal["thread", "process"] | Executor | Callable[[], Executor]
"""As `@app.task(executor=...)` takes it. A callable makes one at the first use in each process."""


def check_choice(choice: object) -> ExecutorChoice:
    """Refuse what can run nothing.

    Raises:
        ConfigurationError: it is no executor, and nothing that makes one.
    """
    if choice in ("thread", "process") or isinstance(choice, Executor) or callable(choice):
        return cast("ExecutorChoice", choice)
    raise ConfigurationError(
        f'executor={choice!r}: expected "thread", "process", a concurrent.futures.Executor, or a '
        "function without arguments that makes one."
    )


class Executors:
    """Carries bodies to where they run, for one runtime. Thread-safe."""

    def __init__(self, size: int) -> None:
        """Make nothing yet.

        Args:
            size: bodies at a time; no more processes than that, nor than processors.
        """
        self._size = size
        self._lock = threading.Lock()
        self._made: dict[Callable[[], Executor], Executor] = {}

    @functools.cached_property
    def processes(self) -> Processes:
        """The processes behind `executor="process"`."""
        from perdure.engine.processes import Processes  # noqa: PLC0415 - only who uses it pays

        return Processes(min(self._size, os.cpu_count() or 1))

    def submit(self, choice: Executor | Callable[[], Executor], payload: bytes) -> Future[bytes]:
        """Hand a body to an executor of the user.

        Raises:
            ExecutorUnavailable: it does not take it (shut down, broken, out of reach).
        """
        try:
            if isinstance(choice, Executor):
                return choice.submit(run_shipment, payload)
            executor = self._make(choice)
            try:
                return executor.submit(run_shipment, payload)
            except BrokenExecutor:
                self._discard(choice, executor)
                return self._make(choice).submit(run_shipment, payload)
        except ExecutorUnavailable:
            raise
        except Exception as error:
            raise ExecutorUnavailable(
                f"The executor {choice!r} took no body: {type(error).__name__}: {error}"
            ) from error

    def _make(self, factory: Callable[[], Executor]) -> Executor:
        with self._lock:
            made = self._made.get(factory)
            if made is None:
                made = factory()
                if not isinstance(cast("object", made), Executor):
                    raise ExecutorUnavailable(
                        f"executor={factory!r} gave {made!r}, which is no "
                        "concurrent.futures.Executor."
                    )
                self._made[factory] = made
            return made

    def _discard(self, factory: Callable[[], Executor], broken: Executor) -> None:
        with self._lock:
            if self._made.get(factory) is broken:
                del self._made[factory]
        broken.shutdown(wait=False)

    def close(self) -> None:
        """End the processes, and the executors that were made here; those given are the user's."""
        if "processes" in self.__dict__:
            self.processes.close()
        with self._lock:
            made, self._made = list(self._made.values()), {}
        for executor in made:
            executor.shutdown(wait=False)


def answer_of(future: Future[bytes]) -> bytes:
    """Wait for what an executor of the user sends back.

    Raises:
        BodyDied: its process ended while it had the body. It may have been another body's doing.
        ExecutorUnavailable: it could not run it.
    """
    try:
        return future.result()
    except CancelledError as error:
        raise ExecutorUnavailable("Its executor cancelled it before it ran.") from error
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        if isinstance(error, BrokenExecutor) or type(error).__name__ == _DASK_DEATH:
            raise BodyDied(f"Its executor lost it ({what}).") from error
        raise ExecutorUnavailable(f"Its executor could not run it ({what}).") from error


_DASK_DEATH = "KilledWorker"
"""Dask's word for a body that several of its workers died of; no `BrokenExecutor`, and known by
its name because importing `distributed` only to ask would be slow."""
