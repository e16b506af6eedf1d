"""Which rows of a claim the limits of their queues let through. It counts; a backend looks up.

A backend offers candidates in the order of claiming and grants those that are admitted, all of it
under whatever keeps two claims of one limited queue apart.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from perdure.backends.base import ClaimRequest
from perdure.backends.limits import NO_LIMITS, QueueLimits

_UNLIMITED = 2**31 - 1
"""More rows than a claim can ask for."""


class Usage(NamedTuple):
    """What is used of one queue's limits before a claim.

    Attributes:
        running: live leases of the queue.
        mine: those of them that belong to the claiming owner.
        recent: claims of the queue within the period of its rate.
    """

    running: int
    mine: int
    recent: int


class Admission:
    """The limits of one claim, with what is used of them. For one transaction.

    Args:
        usage: looks up what is used of a queue; asked once per queue, and only if it has a limit.
        running_with_key: looks up the live leases of a queue with this key; asked once per key.
    """

    def __init__(
        self,
        request: ClaimRequest,
        usage: Callable[[str], Usage],
        running_with_key: Callable[[str, str], int],
    ) -> None:
        self._request = request
        self._usage = usage
        self._running_with_key = running_with_key
        self._slots: dict[str, int] = {}
        self._with_key: dict[tuple[str, str], int] = {}

    def slots(self, queue: str) -> int:
        """How many more rows of this queue may be claimed now, keys aside."""
        queues = self._request.queues
        if queues is not None and queue not in queues:
            return 0
        if queue not in self._slots:
            self._slots[queue] = self._free(queue, limits_of(self._request, queue))
        return self._slots[queue]

    def admit(self, queue: str, limit_key: str) -> bool:
        """Whether a row may be claimed; if so, it is counted."""
        free = self.slots(queue)
        if free <= 0:
            return False
        if limit_key:
            place = queue, limit_key
            if place not in self._with_key:
                most = limits_of(self._request, queue).key_concurrency
                self._with_key[place] = most - self._running_with_key(queue, limit_key)
            if self._with_key[place] <= 0:
                return False
            self._with_key[place] -= 1
        self._slots[queue] = free - 1
        return True

    def full_keys(self, queue: str) -> list[str]:
        """Keys of this queue that are known by now to be used up; more may turn out to be."""
        return [key for (of, key), free in self._with_key.items() if of == queue and free <= 0]

    def _free(self, queue: str, limits: QueueLimits) -> int:
        if not limits.bounds_all:
            return _UNLIMITED
        usage = self._usage(queue)
        free = [_UNLIMITED]
        if limits.concurrency is not None:
            free.append(limits.concurrency - usage.running)
        if limits.worker_concurrency is not None:
            free.append(limits.worker_concurrency - usage.mine)
        if limits.rate is not None:
            free.append(limits.rate.claims - usage.recent)
        return max(0, min(free))


def limits_of(request: ClaimRequest, queue: str) -> QueueLimits:
    """The limits that the claiming worker declares for a queue."""
    return request.limits.get(queue, NO_LIMITS)
