"""Always evict: a workflow is dropped at every wait, and before everything that it gets.

What an attempt has brought about itself (the outcome of a body, a timer that fired, a message) is
not handed to the frame that waits for it. It is made durable, the frame is dropped, and another
attempt replays up to there. So the code of a workflow never goes on in a frame that has seen more
than one new thing, and a test that passes so does not live on what frames happened to keep.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from perdure.backends.base import Release
from perdure.core.identity import InvocationKey
from perdure.engine.async_attempt import AsyncAttempt
from perdure.engine.attempt import Attempt
from perdure.engine.effects import Wait
from perdure.engine.runtime import EngineSettings
from perdure.engine.sync_attempt import SyncAttempt
from perdure.errors import Suspended

if TYPE_CHECKING:
    import pytest

VARIABLE = "PERDURE_TEST_EVICT"
"""Set to anything: as the option `--evict`. Processes that tests start inherit it."""
ATTEMPTS_MAX = 50
"""Of one workflow; after those it keeps its frames. Each is a replay from the start, so the cost
grows with the square of them."""


@dataclass
class Evictions:
    """How often frames were dropped, by workflow; those of plain waits are not counted."""

    count: Counter[InvocationKey] = field(default_factory=Counter)

    def drop_if_new(self, attempt: Attempt) -> None:
        """Drop the frame of this attempt if its next delivery is one that it made itself.

        Raises:
            Suspended: it is dropped.
        """
        deliveries, record = attempt.journal.deliveries, attempt.record
        if attempt.halted or not deliveries or deliveries[0].position < record.head:
            return
        if _bodies_running(attempt) or record.epoch > ATTEMPTS_MAX:
            return
        self.count[record.key] += 1
        attempt.flush()
        attempt.halt(Release())
        raise Suspended("Always evict: the frame is dropped before it gets this.")


def _bodies_running(attempt: Attempt) -> bool:
    """A body that runs holds its frame: it would be run again, which is not what is tried here."""
    if isinstance(attempt, AsyncAttempt):
        return attempt._running > 0
    assert isinstance(attempt, SyncAttempt)
    return attempt._branches is not None and attempt._branches._running > 0


def install(patch: pytest.MonkeyPatch) -> Evictions:
    """Until `patch` is undone, in this process."""
    evictions = Evictions()
    deliver_next, came_next = Attempt.deliver_next, SyncAttempt._came_next

    def evicting_deliver_next(attempt: Attempt) -> bool:
        evictions.drop_if_new(attempt)
        return deliver_next(attempt)

    def evicting_came_next(attempt: SyncAttempt, wait: Wait) -> bool:
        if wait.place is not None:
            if not attempt.journal.deliveries:
                attempt.bring()
            evictions.drop_if_new(attempt)
        return came_next(attempt, wait)

    def settings(lease: float, grace: float, crash_limit: int) -> EngineSettings:
        del grace
        return EngineSettings(lease, 0.0, crash_limit)

    patch.setattr(Attempt, "deliver_next", evicting_deliver_next)
    patch.setattr(SyncAttempt, "_came_next", evicting_came_next)
    patch.setattr("perdure.app.EngineSettings", settings)
    return evictions


def install_if_asked() -> None:
    """In a process that a test with `--evict` has started: until it ends. Others need no pytest."""
    if VARIABLE in os.environ:
        import pytest

        install(pytest.MonkeyPatch())
