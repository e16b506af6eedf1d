"""Task bodies of branches that end in an order of ours: one after the other, by a seeded choice."""

from __future__ import annotations

import contextvars
import random
from collections.abc import Callable

import pytest

from perdure.engine.attempt import Attempt
from perdure.engine.bodies import BodyRunner, Deliver, MayStart, Result
from perdure.engine.body import run_body
from perdure.engine.context import TaskContext
from perdure.engine.effects import Call


class Schedule:
    """From `install` on, bodies of branches run where they are started and end where all wait.

    For one workflow at a time. Which one ends next is drawn from the seed; all do before a timer.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._held: list[tuple[Deliver, Result]] = []

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Take the place of the threads until the test ends."""
        idle = Attempt.idle

        def start(
            runner: BodyRunner, call: Call, context: TaskContext, deliver: Deliver, _: MayStart
        ) -> Callable[[], None]:
            values = contextvars.copy_context()
            types = runner._types
            held = (deliver, values.run(run_body, call.function, call.arguments, context, types))
            self._held.append(held)
            return lambda: self._held.remove(held) if held in self._held else None

        def deliver_one(attempt: Attempt, *, busy: bool) -> None:
            if busy and self._held:
                # One alone is no choice: without branches bodies do not even come through here.
                count = len(self._held)
                chosen = self._random.randrange(count) if count > 1 else 0
                deliver, result = self._held.pop(chosen)
                deliver(result)
            else:
                idle(attempt, busy=busy)

        monkeypatch.setattr(BodyRunner, "start", start)
        monkeypatch.setattr(Attempt, "idle", deliver_one)
