"""A bounded pool of daemon threads that are made when needed and reused. Knows nothing of work."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from perdure.engine.env import Env, Signal

Job = Callable[[], None]


class Pool:
    """Runs jobs on at most `size` threads. A job must handle its own errors.

    Threads are daemons: the interpreter never waits for a task body at exit. The lease of what
    they were doing is found to be ownerless by the next claim.
    """

    def __init__(self, env: Env, name: str, size: int, *, queues: bool = True) -> None:
        """Make an empty pool; its first thread starts with the first job.

        Args:
            queues: whether a job may wait for a thread while none can be started.
        """
        self._queues = queues
        self._env = env
        self._name = name
        self._size = size
        self._lock = threading.Lock()
        self._jobs: deque[Job] = deque()
        self._idle: list[Signal] = []
        self._threads = 0
        self._closed = False

    def submit(self, job: Job) -> None:
        """Run `job` on a free thread, a new one, or when one gets free.

        Raises:
            RuntimeError: there is no thread and none can be started; the job will not run.
        """
        start = False
        with self._lock:
            self._jobs.append(job)
            if self._idle:
                self._idle.pop().set()
            elif self._threads < self._size:
                self._threads += 1
                start = True
            number = self._threads
        if start:
            try:
                self._env.spawn(f"{self._name}-{number}", self._serve)
            except RuntimeError:
                if not self._is_left_to_others(job):
                    raise

    def _is_left_to_others(self, job: Job) -> bool:
        """After a thread could not be started: whether another one comes to the job, or has."""
        with self._lock:
            self._threads -= 1
            if job not in self._jobs or (self._threads and self._queues):
                return True
            self._jobs.remove(job)
            return False

    def close(self) -> None:
        """Let each thread end when it has nothing to do. What is submitted later still runs."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for wake in idle:
            wake.set()

    def _serve(self) -> None:
        wake = self._env.signal()
        while True:
            with self._lock:
                job = self._jobs.popleft() if self._jobs else None
                if job is None:
                    if self._closed:
                        self._threads -= 1
                        return
                    wake.clear()
                    self._idle.append(wake)
            if job is None:
                wake.wait()
            else:
                job()
                del job
