"""Processes for task bodies: one body at a time in each, so that one can be killed alone.

Spawned, never forked: this process has threads. A process ends when it is told to, when its body is
past its time, and when the process that made it is gone, however that ended.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import signal
import threading
import weakref
from collections.abc import Callable
from multiprocessing.connection import Connection, wait

from perdure.engine.shipping import PROCESS_NAME, run_shipment, serving
from perdure.engine.telling import Ask, refusal
from perdure.errors import BodyDied, ExecutorUnavailable

START_SECONDS = 120.0
"""For a process to start, and to import the module of a task; more than slow imports take."""
CLOSE_SECONDS = 5.0
"""For an idle process to run its own exit handlers before it is killed."""
PARENT_CHECK_SECONDS = 2.0
"""How often a process looks whether it was orphaned unseen (a fork of its parent still lives)."""

_READY = b"ready"
_BEGAN = b"began"
_ASKS = b"asks:"
"""Before a question. (What a body gave begins with another byte: it is a map of msgpack.)"""


class OutOfTime(Exception):
    """The body was past its time and was killed."""


# --- in the process -----------------------------------------------------------------------------


def serve(connection: Connection) -> None:
    """Run bodies until the other end is closed. The main function of a process."""
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)  # so that what a body starts can be killed with it
    for number in (signal.SIGINT, signal.SIGTERM):
        # Whoever stops a worker signals all its processes; the worker decides when these end.
        # A function and not SIG_IGN, which programs started by a body would inherit.
        signal.signal(number, _ignore)
    serving()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError, BrokenPipeError):
        connection.send_bytes(_READY)
        while True:
            payload = connection.recv_bytes()
            asking = _Asking(connection)
            reply = run_shipment(payload, lambda: connection.send_bytes(_BEGAN), asking.ask)
            asking.end()
            connection.send_bytes(reply)


class _Asking:
    """The questions of one body. Its threads take turns, and none asks when it has ended."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._is_over = False

    def ask(self, question: bytes) -> bytes:
        """Send it, and wait for the answer."""
        if os.getpid() != self._pid:
            return refusal("it was forked, and only the process that was made for it can tell")
        with self._lock:
            if self._is_over:
                return refusal("its body has ended")
            self._connection.send_bytes(_ASKS + question)
            return self._connection.recv_bytes()

    def end(self) -> None:
        """The body has ended."""
        with self._lock:
            self._is_over = True


def _ignore(number: int, frame: object) -> None:
    """Hear it and go on."""


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    while parent is not None and parent.is_alive() and os.getppid() == parent.pid:
        parent.join(PARENT_CHECK_SECONDS)
    _kill_group(os.getpid())  # pragma: no cover - who would tell is killed by it
    os._exit(1)  # pragma: no cover - where there are no groups


def _kill_group(pid: int) -> None:
    """Kill a process and what it has started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(pid, signal.SIGKILL)


# --- here ---------------------------------------------------------------------------------------


class _Process:
    """One process and the pipe to it. Used by one thread at a time."""

    def __init__(self) -> None:
        """Start it and wait until it is ready.

        Raises:
            ExecutorUnavailable: it did not start.
        """
        spawn = multiprocessing.get_context("spawn")
        self._connection, theirs = spawn.Pipe()
        self._process = spawn.Process(target=serve, args=(theirs,), name=PROCESS_NAME)
        try:
            self._process.start()
        except (OSError, RuntimeError) as error:
            raise ExecutorUnavailable(
                f"A process for task bodies could not be started: {error} If this is a script, put "
                'what it does under: if __name__ == "__main__":'
            ) from error
        finally:
            theirs.close()
        _living.add(self)
        try:
            self._expect(_READY)
        except (EOFError, OSError):
            code = self.kill()
            raise ExecutorUnavailable(
                f"A process for task bodies ended while it started (exit code {code}); its own "
                "words are on stderr. If this is a script, put what it does under: "
                'if __name__ == "__main__":'
            ) from None

    def run(self, payload: bytes, left: Callable[[], float | None], answer: Ask) -> bytes:
        """Run one body.

        Args:
            left: the seconds until it is killed, None for no limit; asked when its function was
                found there, and after each of its questions.
            answer: answers them.

        Raises:
            OutOfTime: it was past that.
            BodyDied: the process ended under the body.
            ExecutorUnavailable: it ended before the body began. In all three cases it is gone.
        """
        began = False
        try:
            self._connection.send_bytes(payload)
            first = self._expect()
            if first != _BEGAN:
                return first
            began = True
            return self._outcome(left, answer)
        except OutOfTime:
            self.kill()
            raise
        except (EOFError, OSError):
            code = self.kill()
            if began:
                raise BodyDied(f"Its process ended under it (exit code {code}).") from None
            raise ExecutorUnavailable(
                f"A process for task bodies ended while it imported the task's module (exit code "
                f"{code}); its own words are on stderr."
            ) from None

    def _outcome(self, left: Callable[[], float | None], answer: Ask) -> bytes:
        """What the body gave, after its questions."""
        while True:
            limit = left()
            got = self._receive(None if limit is None else max(0.0, limit))
            if not got.startswith(_ASKS):
                return got
            self._connection.send_bytes(answer(got.removeprefix(_ASKS)))

    def _expect(self, wanted: bytes | None = None) -> bytes:
        """A message that does not depend on a body, and so comes soon."""
        try:
            got = self._receive(START_SECONDS)
        except OutOfTime:
            raise EOFError from None
        if wanted is not None and got != wanted:
            raise EOFError
        return got

    def _receive(self, limit: float | None) -> bytes:
        # The process itself is watched too: what a body forked may hold the pipe open.
        if not wait([self._connection, self._process.sentinel], limit):
            raise OutOfTime
        if not self._connection.poll(0):
            raise EOFError
        return self._connection.recv_bytes()

    def kill(self) -> int | None:
        """End it at once, with what its bodies have started; gives its exit code."""
        if self._process.pid is not None:
            _kill_group(self._process.pid)
        self._process.kill()
        return self._gone()

    def close(self) -> None:
        """Let it end by itself, and kill it if it does not."""
        self._connection.close()
        self._process.join(CLOSE_SECONDS)
        self.kill()

    def _gone(self) -> int | None:
        self._process.join()
        self._connection.close()
        _living.discard(self)
        return self._process.exitcode


_living: weakref.WeakSet[_Process] = weakref.WeakSet()


def _kill_all() -> None:
    """At the end of the interpreter: it waits for no body, as it waits for no thread of ours."""
    for process in list(_living):
        process.kill()


atexit.register(_kill_all)  # after multiprocessing's own handler, and so called before it waits


class Processes:
    """At most `size` processes, made when they are needed and used again. Thread-safe."""

    def __init__(self, size: int) -> None:
        """Start none yet."""
        self._size = size
        self._free = threading.Condition()
        self._idle: list[_Process] = []
        self._count = 0
        self._closed = False

    def run(
        self,
        payload: bytes,
        left: Callable[[], float | None],
        answer: Ask,
        may_start: Callable[[], bool],
    ) -> bytes | None:
        """Run one body and wait for it, first for a process that is free.

        Args:
            left, answer: see `_Process.run`.
            may_start: asked when there is one; None is given if the answer is no.

        Raises:
            OutOfTime, BodyDied, ExecutorUnavailable: see `_Process.run`.
        """
        process = self._take()
        try:
            if process is None:
                process = _Process()
            reply = process.run(payload, left, answer) if may_start() else None
        except BaseException:
            self._give_back(None)
            raise
        self._give_back(process)
        return reply

    def _take(self) -> _Process | None:
        """An idle one, or leave to make one."""
        with self._free:
            while not self._idle and self._count >= self._size:
                self._free.wait()
            if self._idle:
                return self._idle.pop()
            self._count += 1
            return None

    def _give_back(self, process: _Process | None) -> None:
        with self._free:
            if process is None:
                self._count -= 1
            elif not self._closed:
                self._idle.append(process)
            self._free.notify()
        if process is not None and self._closed:
            process.close()

    def close(self) -> None:
        """End the processes that are idle; one with a body ends after it."""
        with self._free:
            self._closed = True
            idle, self._idle = self._idle, []
            self._count -= len(idle)
        for process in idle:
            process.close()
