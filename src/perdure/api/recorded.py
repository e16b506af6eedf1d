"""The values of a recorded workflow for an executor from outside: read only.

Only the worker that holds the lease may extend a journal, so past its end every operation is
refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any, NoReturn

from perdure.api.client import Client
from perdure.api.functions import Registered
from perdure.api.invocation import DistributedInvocation
from perdure.api.moments import to_datetime
from perdure.api.state_backend import StateBackend
from perdure.backends.base import InvocationRecord
from perdure.core.entries import Entry, EntryKind
from perdure.core.identity import InvocationKey
from perdure.core.journal import find_value
from perdure.core.scope import BITS, IDEMPOTENCY_KEY, RANDOM, TIME, UUID
from perdure.engine.outcome import read_body
from perdure.errors import LeaseRequired


class RecordedSource:
    """What the root scope of a journal holds, in order."""

    def __init__(self, record: InvocationRecord, client: Client, state: StateBackend) -> None:
        """Read and check the journal as it is now."""
        self._record = record
        self._client = client
        self._entries = state.verified_journal(record)
        self._state = state
        self._counts: Counter[str] = Counter()

    def _next(self, operation: str) -> Any:
        ordinal = self._counts[operation] + 1
        found = find_value(self._entries, f"{operation}:{ordinal}")
        if found is None:
            self._refuse(f"{operation}:{ordinal}")
        self._counts[operation] = ordinal
        return found

    def _refuse(self, key: str) -> NoReturn:
        raise LeaseRequired(
            f"{key!r} is past the recorded end of workflow {self._record.key.invocation_id!r}. "
            "Only the worker that holds its lease may record more; use another workflow id for an "
            "executor of your own."
        )

    def random(self) -> float:
        """The next recorded float."""
        return float(self._next(RANDOM))

    def uuid(self) -> str:
        """The next recorded UUID."""
        return str(self._next(UUID))

    def utc_now(self) -> datetime:
        """The next recorded reading of the workflow clock."""
        return to_datetime(int(self._next(TIME)))

    def bits(self, width: int) -> int:
        """The next recorded bits (of whatever width they were)."""
        del width
        return int(str(self._next(BITS)), 16)

    def idempotency_key(self) -> str:
        """The next recorded key."""
        return str(self._next(IDEMPOTENCY_KEY))

    def base_time(self) -> datetime:
        """When the workflow began."""
        if self._record.base_time is None:
            self._refuse("workflow:base_time")
        return to_datetime(self._record.base_time)

    def count(self, operation: str) -> int:
        """Handed out by this executor."""
        return self._counts[operation]

    def record(self, operation: str, generator: Callable[[], Any]) -> Any:
        """The next recorded value; `generator` is never run."""
        del generator
        entry: Entry = self._next(operation)
        members = read_body(entry.body)
        if members.error:
            raise self._client.runtime.bodies.rebuilt(bytes(members.error))
        return self._state.decode(bytes(members.result), entry.key)

    def execute(
        self, task: Registered[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> DistributedInvocation[Any]:
        """The recorded invocation of this call."""
        call = task.definition.call(args, kwargs)
        key = f"task_invocation:{call.call_id}"
        found = find_value(self._entries, key)
        if not isinstance(found, Entry) or found.kind != EntryKind.MEMO:
            self._refuse(key)
        handle = InvocationKey(str(self._state.decode(found.body, key)), 1)
        return DistributedInvocation(self._client, handle, task.definition)
