"""What a claim takes: a look without locks, the limits, and the grant of what nobody else took.

Without limits all of that is one statement, and many workers claim side by side: each passes over
the rows that another one has locked. Where a queue has limits, or a row has a limit key, the claims
of that queue take turns under an advisory lock, which ends with the transaction.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from perdure.backends.admission import Admission, Usage, limits_of
from perdure.backends.base import ClaimBatch, ClaimRequest
from perdure.backends.postgres.schema import ADVISORY_SPACE
from perdure.backends.postgres.store import Store, Transaction
from perdure.backends.rows import record_of
from perdure.errors import BackendError, CommitUnknown

SPARE = 64
"""Candidates beyond the limit, for those that other workers take in the meantime."""


class Candidate(NamedTuple):
    """A claimable row; the order of the fields is the order of claiming."""

    rank: int
    due_at: int
    seq: int
    queue: str
    limit_key: str


class Claim:
    """One claim: all at once, or in one transaction where something is limited."""

    def __init__(self, store: Store, request: ClaimRequest) -> None:
        self._store = store
        self._request = request
        self._page = max(0, request.limit) + SPARE
        self._in_use: dict[str, dict[str, int]] = {}
        self._where: dict[str, Any] = {
            "app": request.app,
            "names": list(request.names),
            "queues": None if request.queues is None else list(request.queues),
            "owner": request.owner,
            "dead_owners": list(request.dead_owners),
            "page": self._page,
            "limit": max(0, request.limit),
            "lease": request.lease,
            "limited": [queue for queue in request.limits if self._is_limited(queue)],
            "space": ADVISORY_SPACE,
        }
        if request.roots is not None:
            self._where["root_ids"] = [root.invocation_id for root in request.roots]
            self._where["root_generations"] = [root.generation for root in request.roots]
        self._in_tree = "" if request.roots is None else "_in_tree"

    def run(self) -> ClaimBatch:
        """All at once; one by one where something is limited, or an owner is known to be gone."""
        if not self._request.dead_owners:
            rows = self._store.change(f"claim{self._in_tree}", self._where)
            *_, seq, now, is_guarded, later = rows[0]
            if seq is not None:
                batch = ClaimBatch(tuple(map(record_of, rows)), now, None)
                return self._go_on(batch) if is_guarded else batch
            if not is_guarded:
                return ClaimBatch((), now, later)
        return self._store.write(self._run_guarded)

    def _go_on(self, batch: ClaimBatch) -> ClaimBatch:
        """From the first row on that a limit may keep back; what was taken stays taken."""
        left = self._request.limit - len(batch.records)
        if left <= 0:
            return batch
        rest = Claim(self._store, msgspec.structs.replace(self._request, limit=left))
        try:
            more = self._store.write(rest._run_guarded)
        except CommitUnknown:
            raise  # the worker looks for all that it was given
        except BackendError:
            return batch
        return ClaimBatch(batch.records + more.records, more.now, None)

    def _run_guarded(self, transaction: Transaction) -> ClaimBatch:
        """Look, admit, grant."""
        self._transaction = transaction
        ((self._where["now"],),) = transaction.rows("now")
        taken = self._take() if self._request.limit > 0 else []
        if taken:
            rows = transaction.rows("read_granted", {"seqs": taken})
            records = {row[-1]: record_of(row) for row in rows}
            return ClaimBatch(tuple(records[seq] for seq in taken), self._where["now"], None)
        ((later,),) = transaction.rows(f"next_due{self._in_tree}", self._where)
        return ClaimBatch((), self._where["now"], later)

    def _take(self) -> list[int]:
        found = list(self._admitted(self._admission()))
        guarded = sorted({each.queue for each in found if self._is_guarded(each)})
        if guarded:
            for queue in guarded:
                # Its turn may have been long in coming; leases and rates go by the time it came.
                asked = self._where | {"queue": queue}
                ((_, self._where["now"]),) = self._transaction.rows("guard_queue", asked)
            found = list(self._admitted(self._admission()))
            # What came up only now in a queue that is not ours to count is left for the next claim.
            found = [each for each in found if each.queue in guarded or not self._is_guarded(each)]
        if not found:
            return []
        granted = self._transaction.rows(
            "grant",
            self._where
            | {
                "seqs": [each.seq for each in found],
                "until": self._where["now"] + self._request.lease,
            },
        )
        taken = {seq for (seq,) in granted}
        claimed = [each for each in found if each.seq in taken]
        self._log(claimed)
        return [each.seq for each in claimed]

    def _is_guarded(self, found: Candidate) -> bool:
        return bool(found.limit_key) or self._is_limited(found.queue)

    def _is_limited(self, queue: str) -> bool:
        limits = limits_of(self._request, queue)
        unlimited = limits.concurrency is limits.worker_concurrency is None
        return not unlimited or limits.rate is not None

    def _admission(self) -> Admission:
        self._in_use = {}

        def usage(queue: str) -> Usage:
            asked = self._where | {"queue": queue}
            ((running, mine),) = self._transaction.rows("queue_usage", asked)
            rate, recent = limits_of(self._request, queue).rate, 0
            if rate is not None:
                since = asked | {"since": self._where["now"] - rate.period}
                ((recent,),) = self._transaction.rows("recent_claims", since)
            return Usage(running, mine, recent)

        def running_with_key(queue: str, limit_key: str) -> int:
            if queue not in self._in_use:
                asked = self._where | {"queue": queue}
                self._in_use[queue] = dict(self._transaction.rows("keys_in_use", asked))
            return self._in_use[queue].get(limit_key, 0)

        return Admission(self._request, usage, running_with_key)

    def _admitted(self, admission: Admission) -> Iterator[Candidate]:
        """Candidates that the limits let through, in order; about a page of them.

        What a limit kept back is left out of the next look, so that a claim finds what stands
        behind it.
        """
        seen: set[int] = set()
        while True:
            full_queues = [queue for queue in self._request.limits if admission.slots(queue) <= 0]
            full_keys = self._full_keys(admission)
            page = self._candidates(full_queues, full_keys)
            kept_back = False
            for found in page:
                if found.seq in seen:
                    continue
                if admission.admit(found.queue, found.limit_key):
                    seen.add(found.seq)
                    yield found
                else:
                    kept_back = True
            if not kept_back or len(page) < self._page or len(seen) >= self._request.limit:
                return

    def _full_keys(self, admission: Admission) -> list[str]:
        """Keys that are used up, of the queues where a key was looked at, each behind its queue."""
        return [
            f"{queue}\n{key}"
            for queue, in_use in self._in_use.items()
            for key in {
                *admission.full_keys(queue),
                *(
                    key
                    for key, running in in_use.items()
                    if running >= limits_of(self._request, queue).key_concurrency
                ),
            }
        ]

    def _candidates(self, full_queues: list[str], full_keys: list[str]) -> list[Candidate]:
        asked = self._where | {"full_queues": full_queues, "full_keys": full_keys}
        found = [
            Candidate(-priority, *row)
            for priority, *row in self._transaction.rows(f"due{self._in_tree}", asked)
        ]
        if self._request.dead_owners:
            # Behind a page that was cut off, there may be rows that come before theirs.
            last = found[-1] if len(found) >= self._page else None
            abandoned = self._abandoned({*full_queues}, {*full_keys})
            found += [each for each in abandoned if last is None or each < last]
            found.sort()
        return found

    def _abandoned(self, full_queues: set[str], full_keys: set[str]) -> Iterator[Candidate]:
        request = self._request
        for priority, seq, queue, limit_key, *root in self._transaction.rows(
            "abandoned", self._where
        ):
            served = request.queues is None or queue in request.queues
            in_tree = request.roots is None or tuple(root) in request.roots
            full = queue in full_queues or f"{queue}\n{limit_key}" in full_keys
            if served and in_tree and not full:
                yield Candidate(-priority, self._where["now"], seq, queue, limit_key)

    def _log(self, claimed: list[Candidate]) -> None:
        """Remember the claims of queues with a rate for as long as the rate looks back."""
        for queue in {each.queue for each in claimed}:
            rate = limits_of(self._request, queue).rate
            if rate is not None:
                count = sum(each.queue == queue for each in claimed)
                since = self._where["now"] - rate.period
                asked = self._where | {"queue": queue, "since": since, "count": count}
                self._transaction.later("forget_claims", asked)
                self._transaction.later("log_claims", asked)
