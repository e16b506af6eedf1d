"""Starts that are claimed in their own transaction: one durable step instead of two.

What is started beside a worker that could claim it at that instant is claimed by it there and then,
and goes to its pool without a look for candidates. It is as safe as a start followed by a claim:
see docs/decisions/0018.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from perdure.backends.base import (
    Holding,
    InvocationRecord,
    NewInvocation,
    OnExisting,
    StartClaim,
    Started,
)
from perdure.backends.rules import FIRST_EPOCH, FIRST_GENERATION, TOKEN_BYTES, top_of
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import InvocationState
from perdure.engine.committer import until_known
from perdure.engine.runtime import Runtime


class Slots(Protocol):
    """What a worker has for what is started beside it."""

    @property
    def has_room(self) -> bool:
        """Whether there is a slot for what is started now."""
        ...

    def reserve(self, new: NewInvocation) -> bool:
        """Take a slot, if a claim at this instant would take this one and nothing before it."""
        ...

    def give_up_slot(self) -> None:
        """The slot is not needed after all."""
        ...

    def run_reserved(self, record: InvocationRecord, decided: threading.Lock) -> None:
        """Run it in the slot that was reserved, unless `decided` is taken when its turn comes.

        If no thread can run it, its lease is given back.
        """
        ...

    def look_for_unseen(self) -> None:
        """Something may have been claimed that nobody here knows of."""
        ...


class ClaimingStarts:
    """Starts for one worker. Thread-safe."""

    def __init__(self, runtime: Runtime, slots: Slots) -> None:
        """Start nothing yet."""
        self._runtime = runtime
        self._slots = slots

    @property
    def is_ready(self) -> bool:
        """See `Starter.is_ready`."""
        return self._slots.has_room

    def start(self, new: NewInvocation, on_existing: OnExisting) -> Started | None:
        """Start it claimed, and run it; None if this worker may not, and nothing happened.

        If the caller is interrupted, or the outcome stays open, the worker looks for what may have
        been claimed before it claims anything else.

        Raises:
            CommitUnknown, BackendError: as `Backend.start`.
        """
        runtime = self._runtime
        if on_existing == "new_generation_if_failed" or not self._slots.reserve(new):
            return None
        holding = Holding(InvocationKey(new.invocation_id, FIRST_GENERATION), FIRST_EPOCH)
        # Of two that start one id here, one at most may take what it finds for its own.
        if not runtime.leases.expect(holding):
            self._slots.give_up_slot()
            return None
        claim = StartClaim(
            owner=runtime.claimer,
            lease=int(runtime.settings.lease * 1e6),
            token=runtime.env.entropy(TOKEN_BYTES),
        )
        asked_at = runtime.env.monotonic()
        # Taken by the thread that runs it, or by us to give it up: an interrupt may come anywhere.
        decided = threading.Lock()
        try:
            started = _call(lambda: runtime.backend.start(new, on_existing, claim), on_existing)
            record = started.record
            if _is_of(record, claim):
                # Counted from before the call, so it is over here before it is over there.
                runtime.leases.add(*holding, asked_at, runtime.settings.lease)
                self._slots.run_reserved(record, decided)
                return Started(record, created=True)
        except BaseException:
            if decided.acquire(blocking=False):
                self._give_up(holding, is_open=True)
            raise
        # One with our name on it may be left of a start whose outcome stayed open.
        self._give_up(holding, is_open=record.owner == runtime.claimer)
        return started

    def _give_up(self, holding: Holding, *, is_open: bool) -> None:
        self._runtime.leases.forget(holding)
        self._slots.give_up_slot()
        if is_open:
            self._slots.look_for_unseen()


def fits_start(new: NewInvocation, roots: frozenset[InvocationKey] | None) -> bool:
    """Whether it is claimable as soon as it is started, and in one of these trees (None: any)."""
    return not new.delay and (roots is None or top_of(new) in roots)


def _call(start: Callable[[], Started], on_existing: OnExisting) -> Started:
    """Start; after an open outcome start again, unless only the first one may tell who made it."""
    return start() if on_existing == "raise" else until_known(start)


def _is_of(record: InvocationRecord, claim: StartClaim) -> bool:
    """Whether this claim made the lease that the row shows; a later one leaves the token there."""
    is_first = record.epoch == FIRST_EPOCH and record.state is InvocationState.RUNNING
    return is_first and record.last_token == claim.token
