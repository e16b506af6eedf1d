"""A backend that writes to the log what came back from the real one: acknowledgements and rarities.

It tells of nothing before it happened, and changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from perdure.backends.base import (
    ClaimBatch,
    ClaimRequest,
    CommitResult,
    Committed,
    Finish,
    Holding,
    InvocationRecord,
    Refusal,
    Stop,
    Transition,
)
from perdure.core.entries import EntryKind
from perdure.core.identity import InvocationKey
from perdure.errors import BackendError, CommitUnknown
from tests.chaos.program import Log


class Watched:
    """Delegates to `inner`."""

    def __init__(self, inner: Any, log: Log) -> None:
        self._inner = inner
        self._log = log
        self._open: dict[InvocationKey, bytes] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def claim(self, request: ClaimRequest) -> ClaimBatch:
        try:
            batch: ClaimBatch = self._inner.claim(request)
        except CommitUnknown:
            self._log.write("claim unknown")
            raise
        for record in batch.records:
            if record.crashes:
                self._log.write("stolen", *record.key, record.epoch)
        return batch

    def commit(self, transitions: Sequence[Transition]) -> list[CommitResult]:
        try:
            results: list[CommitResult] = self._inner.commit(transitions)
        except CommitUnknown:
            self._open |= {asked.key: asked.token for asked in transitions}
            self._log.write("unknown", len(transitions))
            raise
        except BackendError as error:
            self._log.write("error", str(error))
            raise
        for asked, result in zip(transitions, results, strict=True):
            if isinstance(result, Committed):
                self._acknowledged(asked)
            elif result is Refusal.STALE:
                self._log.write("stale", *asked.key, asked.epoch)
        return results

    def read(self, *asked: Any, locked: bool = False) -> InvocationRecord | None:
        found: InvocationRecord | None = self._inner.read(*asked, locked=locked)
        if locked and found is not None and (token := self._open.pop(found.key, None)):
            there = found.last_token == token
            self._log.write("resolved committed" if there else "resolved not committed")
            if there:
                self._log.write("ack row", *found.key)
        return found

    def renew(self, owner: str, holdings: Sequence[Holding], lease: int) -> frozenset[Holding]:
        before = time.monotonic()
        try:
            kept: frozenset[Holding] = self._inner.renew(owner, holdings, lease)
        except BackendError as error:
            self._log.write("error", str(error))
            raise
        self._log.write("renewed", time.monotonic() - before)
        if lost := set(holdings) - kept:
            self._log.write("renewal lost", len(lost))
        return kept

    def _acknowledged(self, asked: Transition) -> None:
        for entry in asked.entries:
            if entry.kind == EntryKind.TASK:
                self._log.write("ack call", *asked.key, entry.scope, entry.ordinal)
        match asked.disposition:
            case Finish():
                self._log.write("ack row", *asked.key)
            case Stop(state=state):
                self._log.write("stopped", *asked.key, state.value)
            case _:
                pass
