"""The memory backend as one of several servers: the specification of `Server`, for tests."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from perdure.backends.base import (
    CommitResult,
    Committed,
    NewInvocation,
    OnExisting,
    RegisterPut,
    RegisterResult,
    StartClaim,
    Started,
    Transition,
)
from perdure.backends.memory import MemoryBackend
from perdure.backends.server import (
    FIRST_LIST,
    Ask,
    End,
    Outbox,
    ServerList,
    check_list,
    refuse_old,
)
from perdure.core.identity import InvocationKey


class MemoryServer(MemoryBackend):
    """A server of one process; it goes by one list number at a time."""

    def __init__(self, now: Callable[[], int] | None = None, store_id: bytes | None = None) -> None:
        super().__init__(now, store_id)
        self._list: ServerList | None = None
        self._used = FIRST_LIST
        self._row_ids = itertools.count(1)
        self._watches: dict[int, tuple[Ask, InvocationKey]] = {}
        self._asked: set[int] = set()
        self._watchers_elsewhere: dict[int, End] = {}
        self._over: set[int] = set()

    def server_list(self) -> ServerList | None:
        """See `Server.server_list`."""
        with self._lock:
            return self._list

    def publish(self, given: ServerList) -> None:
        """See `Server.publish`."""
        with self._lock:
            check_list(self._list, given, has_rows=bool(self._rows or self._register))
            self._list = given

    def go_by(self, number: int) -> None:
        """See `Server.go_by`."""
        self._used = number

    def start(
        self, new: NewInvocation, on_existing: OnExisting, claim: StartClaim | None = None
    ) -> Started:
        """See `Backend.start` and `Server.go_by`."""
        with self._lock:
            self._refuse_old()
            return super().start(new, on_existing, claim)

    def commit(self, transitions: Sequence[Transition]) -> list[CommitResult]:
        """See `Backend.commit` and `Server.go_by`."""
        with self._lock:
            if any(each.children for each in transitions):
                self._refuse_old()
            return super().commit(transitions)

    def register_put(self, put: RegisterPut) -> RegisterResult:
        """See `Backend.register_put` and `Server.go_by`."""
        with self._lock:
            self._refuse_old()
            return super().register_put(put)

    def outbox(self, positions: Sequence[int], limit: int) -> Outbox:
        """See `Server.outbox`."""
        with self._lock:
            asks = [ask for ask, _ in self._watches.values() if ask.row_id not in self._asked]
            ends = [self._watchers_elsewhere[row_id] for row_id in sorted(self._over)]
            return Outbox(
                [ask for ask in asks if ask.position in positions][:limit],
                [end for end in ends if end.position in positions][:limit],
            )

    def accept_asks(self, targets: Sequence[InvocationKey], position: int) -> None:
        """See `Server.accept_asks`."""
        with self._lock:
            for target in targets:
                row_id = next(self._row_ids)
                self._watchers_elsewhere[row_id] = End(row_id, target, position)
                if target not in self._live:
                    self._over.add(row_id)

    def accept_ends(self, targets: Sequence[InvocationKey]) -> list[InvocationKey]:
        """See `Server.accept_ends`."""
        with self._lock:
            told: list[InvocationKey] = []
            for ask, watcher in list(self._watches.values()):
                if ask.target in targets:
                    del self._watches[ask.row_id]
                    self._asked.discard(ask.row_id)
                    if watcher in self._live:
                        self._deliver(watcher, ask.target)
                        told.append(watcher)
            return list(dict.fromkeys(told))

    def sent(self, outbox: Outbox) -> None:
        """See `Server.sent`."""
        with self._lock:
            self._asked |= {ask.row_id for ask in outbox.asks} & self._watches.keys()
            for end in outbox.ends:
                self._watchers_elsewhere.pop(end.row_id, None)
                self._over.discard(end.row_id)

    def _apply(self, asked: Transition) -> Committed:
        for target, position in asked.foreign_watches:
            row_id = next(self._row_ids)
            self._watches[row_id] = (Ask(row_id, target, position), asked.key)
        return super()._apply(asked)

    def _end(self, key: InvocationKey) -> list[InvocationKey]:
        self._over |= {
            row_id for row_id, end in self._watchers_elsewhere.items() if end.target == key
        }
        return super()._end(key)

    def _refuse_old(self) -> None:
        refuse_old(FIRST_LIST if self._list is None else self._list.number, self._used)
