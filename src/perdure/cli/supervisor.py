"""Several workers, each a process of its own; one that dies is started anew. It runs no user code.

The processes are started afresh and not forked, and in sessions of their own, so that Ctrl-C
reaches the supervisor alone. If it dies, they see their pipe to it close and end in order.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time

from perdure.cli.worker import PARENT_VARIABLE, Stop, logging_to_stderr

BACKOFF_FIRST = 0.5
BACKOFF_MAX = 30.0
"""Seconds before a worker that died is started again; doubled each time it dies soon."""
SETTLED_SECONDS = 60.0
"""A worker that lived so long did not die of its start."""

logger = logging.getLogger("perdure.worker")


class Supervisor(Stop):
    """Keeps `count` processes with the same arguments running until it is asked to end."""

    def __init__(self, arguments: list[str], count: int) -> None:
        """Prepare; nothing runs yet."""
        super().__init__()
        self._arguments = arguments
        self._count = count
        self._lock = threading.Lock()
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._ending = threading.Event()
        self._worst = 0

    def run(self, log_level: str) -> int:
        """Supervise; gives the exit code."""
        reading, writing = os.pipe()
        with logging_to_stderr(log_level), self.heard():
            slots = [
                threading.Thread(target=self._keep, args=(number, reading), daemon=True)
                for number in range(1, self._count + 1)
            ]
            for slot in slots:
                slot.start()
            self.wait()
            logger.info("stopping %d workers", self._count)
            with self._lock:  # after it nothing is started, so nothing is missed
                self._ending.set()
                self._signal(signal.SIGTERM)
            for slot in slots:
                slot.join()
        os.close(reading)
        os.close(writing)
        return self._worst

    def leave(self, number: int) -> None:
        """The second signal: no worker outlives it."""
        self._signal(signal.SIGKILL)
        super().leave(number)

    def _signal(self, number: signal.Signals) -> None:
        # No lock: this may run in a signal handler, on top of the thread that holds it.
        for process in list(self._processes.values()):
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)

    def _keep(self, number: int, pipe: int) -> None:
        delay = BACKOFF_FIRST
        while not self._ending.is_set():
            started = time.monotonic()
            how = self._one_life(number, pipe)
            if how is None:
                return
            if time.monotonic() - started > SETTLED_SECONDS:
                delay = BACKOFF_FIRST
            pause = delay * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, no secret
            logger.error("worker %d %s; another starts in %.1f s", number, how, pause)
            self._ending.wait(pause)
            delay = min(BACKOFF_MAX, delay * 2)

    def _one_life(self, number: int, pipe: int) -> str | None:
        """Start a worker and wait for its end; why there shall be another one, or None."""
        told, telling = os.pipe()
        os.set_blocking(told, False)  # what the worker started may hold the other end, too
        with os.fdopen(told, "rb") as hopeless:
            try:
                process = self._start(number, (pipe, telling))
            except OSError as error:
                return f"could not be started: {error}"
            finally:
                os.close(telling)
            if process is None:
                return None
            code = process.wait()
            is_hopeless = bool(hopeless.read(1))
        with self._lock:
            del self._processes[number]
        if self._ending.is_set():
            self._worst = max(self._worst, _exit_code(code))
            return None
        if is_hopeless:
            logger.error("worker %d ended with exit code %d; giving up", number, code)
            self._worst = _exit_code(code)
            self.ask()
            return None
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"(pid {process.pid}) ended with {how}"

    def _start(self, number: int, pipes: tuple[int, int]) -> subprocess.Popen[bytes] | None:
        with self._lock:
            if self._ending.is_set():
                return None
            process = subprocess.Popen(  # noqa: S603 - our own interpreter and arguments
                [sys.executable, "-m", "perdure", *self._arguments],
                env={**os.environ, PARENT_VARIABLE: f"{pipes[0]},{pipes[1]}"},
                pass_fds=pipes,
                start_new_session=True,
            )
            self._processes[number] = process
            return process


def _exit_code(code: int) -> int:
    """What the end of a worker, asked for by SIGTERM, is worth; it may not have begun to listen."""
    if code >= 0:
        return code
    return 0 if code == -signal.SIGTERM else 128 - code
