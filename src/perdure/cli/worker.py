"""The command `worker`: one worker in this process, or several under a supervisor.

The first SIGTERM or SIGINT asks for an orderly end, the second one leaves at once. Both are heard
at any time, also while a body runs. Under a supervisor only its second one counts: whoever signals
every process of a service (systemd does) has asked once, and the supervisor passes it on.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Generator, Iterable
from queue import Empty, SimpleQueue
from types import FrameType

from perdure.app import Perdure
from perdure.backends.base import DEFAULT_QUEUE
from perdure.cli.failures import CommandError, Exit, exit_code_of, usage
from perdure.cli.locate import Source, load_app
from perdure.errors import PerdureError

PARENT_VARIABLE = "PERDURE_WORKER_PARENT"
"""Descriptors of two pipes, as "7,9": one that the supervisor holds open for as long as it lives,
and one that the worker writes a byte to if another start would only fail likewise. Its exit code
does not say so: user code may end the process with any, as soon as a body runs."""

LOOK_UP_EVERY = 0.5
"""Seconds that a signal may go unheard."""

_HOPELESS = frozenset({Exit.USAGE, Exit.NOT_FOUND})
"""What another start would only repeat, by exit code."""

LEVELS = ("debug", "info", "warning", "error")


class Stop:
    """How a process is asked to end. The second signal does not ask.

    Attributes:
        asked: whether it was.
        supervised: whether somebody else is to end this process at once, if that shall be.
    """

    def __init__(self) -> None:
        """Ask for nothing yet."""
        self.asked = False
        self.supervised = False
        # Its `put` may come on top of its `get`, as a handler does; an Event would wait for itself.
        self._bell: SimpleQueue[None] = SimpleQueue()

    @contextlib.contextmanager
    def heard(self) -> Generator[None]:
        """Hear SIGTERM and SIGINT inside of the block."""
        before = {each: signal.signal(each, self._hear) for each in _SIGNALS}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    def ask(self) -> None:
        """Ask it to end. From any thread, and from signal handlers."""
        self.asked = True
        self._bell.put(None)

    def wait(self) -> None:
        """Wait until it is asked; for the main thread alone.

        It looks up now and then: a signal that arrives between the last look of the interpreter and
        the wait itself does not end the wait, and its handler would never run.
        """
        while not self.asked:
            with contextlib.suppress(Empty):
                self._bell.get(timeout=LOOK_UP_EVERY)

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        if self.asked and not self.supervised:
            self.leave(number)
        self.ask()

    def leave(self, number: int) -> None:
        """End this process now; its leases run out, or are seen to be ownerless."""
        os._exit(128 + number)


_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def work(
    app_target: str | None,
    *,
    queues: list[str] | None,
    concurrency: int | None,
    grace_period: float,
    log_level: str,
) -> Exit:
    """Run one worker in this process until it is asked to end."""
    stop = Stop()
    with logging_to_stderr(log_level), stop.heard():
        telling = _follow(os.environ.pop(PARENT_VARIABLE, ""), stop)
        failures: list[PerdureError] = []

        def stopped(error: PerdureError) -> None:
            failures.append(error)
            stop.ask()

        with _hopeless_told(telling):
            loaded = load_app(app_target)
            if loaded is None:
                raise usage(
                    "No app is named. Give -A MODULE:ATTR, or set PERDURE_APP, or `app` in "
                    "perdure.toml or under [tool.perdure] in pyproject.toml."
                )
            app, named_by = loaded
            if app.settings.database_url == "memory://":
                raise usage(
                    f"The app {named_by} keeps its state in memory://, which no other process can "
                    "see, so a worker would find nothing. Name a database."
                )
            if stop.asked:
                return Exit.OK
            app.start_worker(queues=queues, concurrency=concurrency, on_stop=stopped)
        logger = logging.getLogger("perdure.worker")
        logger.info(
            "worker of app %r started: pid %d, %s, queues %s, %d at a time",
            app.settings.name,
            os.getpid(),
            Source(app.settings, named_by).url,
            ", ".join(queues) if queues else "all",
            concurrency or app.settings.concurrency,
        )
        warn_of_strange_queues(app, queues or [])
        stop.wait()
        logger.info("stopping: nothing new is claimed; bodies have %g s to end", grace_period)
        released = app.close(grace_period)
        if failures:
            raise failures[0]
        if released:
            logger.info("stopped; every lease was given back")
            return Exit.OK
    raise CommandError(
        f"Bodies were still running after {grace_period:g} s and were left behind. Their leases "
        "are taken over; they will run again.",
        Exit.FAILED,
    )


def warn_of_strange_queues(app: Perdure, queues: Iterable[str]) -> None:
    """Tell of queues that nothing of this app goes to by itself: mostly a misspelled name."""
    known = {DEFAULT_QUEUE, *app.declared_queues}
    known.update(definition.queue for definition in app.registry.values())
    for queue in queues:
        if queue not in known:
            logging.getLogger("perdure.worker").warning(
                "queue %r is served, but no task or workflow of this app names it; they name: %s. "
                "Only starts with options(queue=%r) go there.",
                queue,
                ", ".join(sorted(known)),
                queue,
            )


@contextlib.contextmanager
def logging_to_stderr(level: str) -> Generator[None]:
    """Let perdure's log records go to stderr, from this level on, and nowhere else.

    Raises:
        CommandError: there is no such level.
    """
    if level not in LEVELS:
        raise usage(f"--log-level {level!r}: expected one of {', '.join(LEVELS)}.")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger("perdure")
    handlers, before = logger.handlers, logger.level
    logger.handlers = [handler]
    logger.setLevel(level.upper())
    try:
        yield
    finally:
        logger.handlers = handlers
        logger.setLevel(before)


def _follow(pipes: str, stop: Stop) -> int | None:
    """End in order when the supervisor, if there is one, is gone: then its pipe is closed.

    Args:
        pipes: see `PARENT_VARIABLE`.

    Returns:
        The descriptor by which it is told that there is no hope.
    """
    if not pipes:
        return None
    living, telling = map(int, pipes.split(","))
    stop.supervised = True

    def watch() -> None:
        with contextlib.suppress(OSError):
            os.read(living, 1)
        stop.supervised = False
        stop.ask()

    threading.Thread(target=watch, name="perdure-parent", daemon=True).start()
    return telling


@contextlib.contextmanager
def _hopeless_told(telling: int | None) -> Generator[None]:
    """Tell the supervisor, if there is one, if the block fails as another try of it would."""
    try:
        yield
    except (CommandError, PerdureError) as error:
        code = error.exit_code if isinstance(error, CommandError) else exit_code_of(error)
        if code in _HOPELESS and telling is not None:
            with contextlib.suppress(OSError):  # it is gone meanwhile, which `watch` sees
                os.write(telling, b"1")
        raise
    finally:
        if telling is not None:
            os.close(telling)
