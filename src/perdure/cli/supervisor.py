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

from perdure.cli.failures import Exit
from perdure.cli.worker import PARENT_VARIABLE, Stop, log_to_stderr

BACKOFF_FIRST = 0.5
BACKOFF_MAX = 30.0
"""Seconds before a worker that died is started again; doubled each time it dies soon."""
SETTLED_SECONDS = 60.0
"""A worker that lived so long did not die of its start."""

_HOPELESS = frozenset({Exit.USAGE, Exit.NOT_FOUND})
"""Exit codes that another try would only repeat."""

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
        self._worst = 0

    def run(self, log_level: str) -> int:
        """Supervise; gives the exit code."""
        log_to_stderr(log_level)
        reading, writing = os.pipe()
        with self.heard():
            slots = [
                threading.Thread(target=self._keep, args=(number, reading), daemon=True)
                for number in range(1, self._count + 1)
            ]
            for slot in slots:
                slot.start()
            self.asked.wait()
            logger.info("stopping %d workers", self._count)
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
        while not self.asked.is_set():
            started = time.monotonic()
            process = self._start(number, pipe)
            if process is None:
                return
            code = process.wait()
            with self._lock:
                self._processes.pop(number, None)
            if self.asked.is_set():
                self._worst = max(self._worst, abs(code))
                return
            if code in _HOPELESS:
                logger.error("worker %d ended with exit code %d; giving up", number, code)
                self._worst = code
                self.asked.set()
                return
            if time.monotonic() - started > SETTLED_SECONDS:
                delay = BACKOFF_FIRST
            pause = delay * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, no secret
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            logger.error(
                "worker %d (pid %d) ended with %s; another starts in %.1f s",
                number,
                process.pid,
                how,
                pause,
            )
            self.asked.wait(pause)
            delay = min(BACKOFF_MAX, delay * 2)

    def _start(self, number: int, pipe: int) -> subprocess.Popen[bytes] | None:
        with self._lock:
            if self.asked.is_set():
                return None
            process = subprocess.Popen(  # noqa: S603 - our own interpreter and arguments
                [sys.executable, "-m", "perdure", *self._arguments],
                env={**os.environ, PARENT_VARIABLE: str(pipe)},
                pass_fds=(pipe,),
                start_new_session=True,
            )
            self._processes[number] = process
        if self.asked.is_set():
            process.send_signal(signal.SIGTERM)
        return process
