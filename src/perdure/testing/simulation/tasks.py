"""The tasks of a simulation: what they give, no other run gives."""

from __future__ import annotations

from typing import Any, Protocol

from perdure import Perdure, Retry
from perdure.api.functions import SyncTask
from perdure.testing.simulation.checks.journals import TRIES
from perdure.testing.simulation.programs import Block, Op

Task = SyncTask[[int, str], Any]
AGAIN = Retry(attempts=TRIES["flaky"], wait_initial=0.01, wait_factor=3.0, jitter=0.5)


NOTHING: tuple[Any, ...] = (None, "", 0, False, [])
"""What tasks may give that is easily taken for no result."""


class Hostile(Exception):
    """What can be raised, and hardly anything else."""

    def __str__(self) -> str:
        """Refuse."""
        raise RuntimeError("no text")

    __repr__ = __str__


class Watcher(Protocol):
    """What is told of all that programs and bodies do."""

    def saw(self, value: str) -> None:
        """The workflow that runs here got this from an operation."""
        ...

    def body(self, *seen: object) -> str:
        """A body runs, and gives something that no other run gives."""
        ...

    def in_time(self, op: Op) -> None:
        """A block with a deadline was left, and the deadline had not come."""
        ...

    def block(self, number: int) -> Block:
        """The program of this number; that of a child has the number of its operation."""
        ...


class Tasks:
    """The tasks of one app.

    Attributes:
        watcher: told of everything they do.
    """

    def __init__(self, app: Perdure, watcher: Watcher) -> None:
        """Register them."""
        self.watcher = watcher
        app.queue("narrow", concurrency=1)
        self.direct: dict[str, Task] = {}
        self.queued: dict[str, Task] = {}
        self._usual(app)
        self._unusual(app)

    def _usual(self, app: Perdure) -> None:
        @app.task(name="plain")
        def plain(number: int, draw: str) -> str:
            return self.watcher.body(number, draw)

        @app.task(name="flaky", retry=AGAIN)
        def flaky(number: int, draw: str) -> str:
            return self.watcher.body(number, draw, "flaky")

        @app.task(name="pure", pure=True)
        def pure(number: int, draw: str) -> str:
            return self.watcher.body(number, draw, "pure")

        @app.task(name="once", delivery="at_most_once")
        def once(number: int, draw: str) -> str:
            return self.watcher.body(number, draw, "once")

        @app.task(name="undo")
        def undo(number: int, draw: str) -> str:
            return self.watcher.body(number, draw)

        @app.task(name="narrow", queue="narrow", retry=AGAIN)
        def narrow(number: int, draw: str) -> str:
            return self.watcher.body(number, draw, "flaky")

        self.plain, self.undo = plain, undo
        self.direct |= {"task": plain, "flaky": flaky, "pure": pure, "once": once}
        self.queued |= {"queued": flaky, "narrow": narrow}

    def _unusual(self, app: Perdure) -> None:
        @app.task(name="empty")
        def empty(number: int, draw: str) -> object:
            self.watcher.body(number, draw)
            return NOTHING[number % len(NOTHING)]

        @app.task(name="mutable")
        def mutable(number: int, values: list[str]) -> str:
            values.append("changed")
            return self.watcher.body(number, len(values))

        @app.task(name="number")
        def whole(number: int, draw: str) -> float:
            self.watcher.body(number, draw)
            return number

        @app.task(name="hostile")
        def hostile(number: int, draw: str) -> str:
            raise Hostile(self.watcher.body(number, draw))

        @app.task(name="poison")
        def poison(number: int, draw: str) -> str:
            return self.watcher.body(number, draw, "poison")

        self.mutable = mutable
        odd: dict[str, Task] = {"number": whole, "hostile": hostile, "poison": poison}
        self.direct |= {"empty": empty, **odd}
