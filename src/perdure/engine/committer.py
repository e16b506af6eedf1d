"""Gathers the commits of many attempts into one transaction, and settles unknown outcomes.

The thread that finds no commit under way becomes the leader and commits for everyone who waits.
Alone, it commits by itself without any hand-off. Nobody is told "done" before the transaction is.
Each who waits is woken when its own commit is settled, and one of the next batch to lead it: a
lock on which all of them wait would wake every thread for every batch.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable
from queue import Empty
from typing import TypeVar

from perdure.backends.base import (
    Backend,
    CommitResult,
    Committed,
    Finish,
    InvocationRecord,
    Refusal,
    Stop,
    Transition,
)
from perdure.backends.server import Spread
from perdure.engine.env import Env, HandOff
from perdure.engine.hub import Hub
from perdure.errors import BackendError, CommitUnknown

T = TypeVar("T")

BATCH_MAX = 256
"""Transitions in one transaction: bounds how long one commit holds the writer."""
LOOK_AGAIN = 1.0
"""Seconds after which one who waits looks whether anybody leads at all: an interrupt
(KeyboardInterrupt) may have hit a leader just before it woke the next one."""
SETTLE_TRIES_MAX = 5
"""Rounds of "read back, send again" before the unknown outcome is given to the caller."""


def until_known(run: Callable[[], T]) -> T:
    """Call something that is safe to call again until its outcome is known.

    Raises:
        CommitUnknown: it was left open each time.
    """
    for _ in range(SETTLE_TRIES_MAX - 1):
        with contextlib.suppress(CommitUnknown):
            return run()
    return run()


class _Request:
    """One transition on its way. Done: it is in no queue any more, and nobody works on it."""

    __slots__ = ("done", "error", "result", "transition", "wake")

    def __init__(self, transition: Transition, wake: HandOff) -> None:
        self.transition = transition
        self.result: CommitResult | None = None
        self.error: BaseException | None = None
        self.done = False
        self.wake = wake


class _Group:
    """What waits to be committed to one server."""

    __slots__ = ("leader", "queue")

    def __init__(self) -> None:
        self.queue: deque[_Request] = deque()
        self.leader = threading.Lock()


def _name_leader(group: _Group) -> None:
    """Wake the oldest who waits, to lead if nobody does by then."""
    if group.queue:
        with contextlib.suppress(IndexError):
            group.queue[0].wake.put(None)


class Committer:
    """Group commit in front of a backend. One per app; used from any thread.

    Where there are several servers each has a group of its own: they commit side by side, and one
    that hangs holds up no other.
    """

    def __init__(self, env: Env, backend: Backend, hub: Hub, spread: Spread | None = None) -> None:
        """Commit to `backend` and tell `hub` what became claimable."""
        self._hand_off = env.hand_off
        self._backend = backend
        self._hub = hub
        self._spread = spread
        self._groups: dict[int, _Group] = {}

    def submit(self, transition: Transition) -> CommitResult:
        """Commit one transition and return when it is durable or refused.

        Raises:
            CommitUnknown: it could not be found out whether it happened.
            BackendError: it did not happen.
        """
        group = self._group(transition)
        request = _Request(transition, self._hand_off())
        try:
            group.queue.append(request)
            while not (request.done or self._led(group, request)):
                with contextlib.suppress(Empty):
                    request.wake.get(timeout=LOOK_AGAIN)
        except BaseException:
            # Interrupted. What no leader has taken yet does not happen any more.
            with contextlib.suppress(ValueError):
                group.queue.remove(request)
            _name_leader(group)
            raise
        if request.error is not None:
            raise request.error
        if request.result is None:
            # The leader was interrupted (KeyboardInterrupt) with this request in its batch.
            request.result = self._settle(transition)
        self._announce(transition, request.result)
        return request.result

    def submit_again(self, transition: Transition) -> CommitResult:
        """The same for a transition that was submitted before and may have happened.

        Raises:
            CommitUnknown: it could not be found out whether it happened.
            BackendError: it did not happen.
        """
        result = self._settle(transition)
        self._announce(transition, result)
        return result

    def _group(self, transition: Transition) -> _Group:
        spread = self._spread
        position = 0 if spread is None else spread.position(transition.key.invocation_id)
        return self._groups.get(position) or self._groups.setdefault(position, _Group())

    def _led(self, group: _Group, request: _Request) -> bool:
        """Lead until this request is taken and settled; False at once while somebody else leads."""
        if not group.leader.acquire(blocking=False):
            return False
        try:
            while request in group.queue:
                self._lead(group)
        finally:
            group.leader.release()
        # After the release: whoever came before it and found a leader is seen here.
        _name_leader(group)
        return True

    def _lead(self, group: _Group) -> None:
        """Commit what waits, oldest first. Only the holder of the leader lock takes requests."""
        queue = group.queue
        batch: list[_Request] = []
        try:
            try:
                while queue and len(batch) < BATCH_MAX:
                    batch.append(queue.popleft())
            except IndexError:
                pass  # who is interrupted takes its request out at any time
            self._commit(batch)
        finally:
            for request in batch:
                request.done = True
                request.wake.put(None)

    def _commit(self, batch: list[_Request]) -> None:
        try:
            results = self._backend.commit([request.transition for request in batch])
        except CommitUnknown:
            for request in batch:
                self._commit_alone(request)
        except Exception as error:  # noqa: BLE001 - handed to each waiting caller, who raises it
            if len(batch) == 1:
                batch[0].error = error
                return
            for request in batch:
                self._commit_alone(request, send=True)
        else:
            for request, result in zip(batch, results, strict=True):
                request.result = result

    def _commit_alone(self, request: _Request, *, send: bool = False) -> None:
        try:
            if send:
                request.result = self._backend.commit([request.transition])[0]
            else:
                request.result = self._settle(request.transition)
        except CommitUnknown:
            try:
                request.result = self._settle(request.transition)
            except Exception as error:  # noqa: BLE001 - handed to the waiting caller
                request.error = error
        except Exception as error:  # noqa: BLE001 - handed to the waiting caller
            request.error = error

    def _settle(self, transition: Transition) -> CommitResult:
        """Find out under the row lock whether a transition happened; send it again if not.

        Raises:
            CommitUnknown: the backend cannot even be asked.
        """
        for _ in range(SETTLE_TRIES_MAX):
            record = self._read_back(transition)
            if record is None:
                return Refusal.STALE
            if record.last_token == transition.token:
                # Which others it woke is not known any more; a poke of itself wakes the workers.
                return Committed(record.state, (transition.key,))
            if record.epoch != transition.epoch or record.head != transition.head:
                return Refusal.STALE
            try:
                return self._backend.commit([transition])[0]
            except CommitUnknown:
                continue
        raise CommitUnknown(
            f"Commit of {transition.key.invocation_id!r} at position {transition.head}: the state "
            f"backend left its outcome open {SETTLE_TRIES_MAX} times. Its lease will expire and "
            "the next claim goes on from what is recorded. Look at the health of the database."
        )

    def _read_back(self, transition: Transition) -> InvocationRecord | None:
        try:
            return self._backend.read(*transition.key, locked=True)
        except BackendError as error:
            raise CommitUnknown(
                f"Commit of {transition.key.invocation_id!r} at position {transition.head}: its "
                f"outcome is open, and it cannot be read back: {error}"
            ) from error

    def _announce(self, transition: Transition, result: CommitResult) -> None:
        if isinstance(result, Committed):
            if result.touched:
                self._hub.touched(result.touched)
            if isinstance(transition.disposition, Finish):
                self._hub.ended(transition.key, transition)
            elif isinstance(transition.disposition, Stop):
                self._hub.ended(transition.key)
