"""Output streams: what a workflow publishes with `wf.publish`, read from its journal by name."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, Generic, TypeVar, cast

from perdure.api.client import Client
from perdure.api.loose import decoder
from perdure.api.outside import loop_is_running, refuse_undurable
from perdure.api.waiting import Wanted
from perdure.backends.base import InvocationRecord
from perdure.core.entries import Entry, EntryKind, extend_chain, genesis
from perdure.core.identity import InvocationKey, validate_identifier
from perdure.core.lifecycle import TERMINAL
from perdure.errors import (
    JournalCorrupted,
    OperationRefused,
    PerdureError,
    ResultTimeout,
    WrongColour,
)

T = TypeVar("T")


class Tail:
    """Reads a journal on from where it stands, checking its chain. One reader each."""

    def __init__(self, client: Client, record: InvocationRecord, *, from_start: bool) -> None:
        """Stand before the first entry, or behind the last one of this record."""
        self._client = client
        self._key = record.key
        self._position = 0 if from_start else record.head
        at_start = genesis(record.key, record.seed)
        self._seal = record.head_hash if self._position else at_start

    def more(self, record: InvocationRecord) -> list[Entry]:
        """What is new in the journal; it is read only if this record says that there is something.

        Raises:
            JournalCorrupted: it is damaged.
        """
        if record.head <= self._position:
            return []
        entries = self._client.runtime.backend.read_journal(self._key, self._position)
        self._seal = extend_chain(self._key, self._seal, self._position, entries)
        self._position += len(entries)
        if self._position < record.head:  # the record was read first
            raise JournalCorrupted(
                f"The journal of {self._key.invocation_id!r} (generation {self._key.generation}) "
                f"has {self._position} entries, and its row says {record.head}. Restore the "
                "database from a backup."
            )
        return entries


class Stream(Generic[T]):
    """What a workflow publishes under one name; `for` or `async for` gives the values.

    Each iteration is a reader of its own: any number of them, in any number of processes, see the
    same values in the same order, and none takes anything from another.
    """

    def __init__(
        self,
        client: Client,
        key: InvocationKey,
        name: str,
        type_: Any,
        *,
        from_start: bool,
        timeout: float | None,
    ) -> None:
        """Made by `invocation.stream`, not by users."""
        refuse_undurable(f"invocation.stream({name!r})")
        self._client = client
        self._name = validate_identifier(name, "the name of a stream")
        self._decode = decoder(client, type_, f"value of stream {name!r}")
        self._from_start = from_start
        self._timeout = timeout
        self._record = client.read(key)
        if self._record.kind != "workflow":
            raise OperationRefused(
                f"The stream {name!r} was asked of {key.invocation_id!r}, which is a task "
                f"({self._record.name!r}). Only workflows publish."
            )

    def __iter__(self) -> Iterator[T]:
        """The values, one after the other; ends when the workflow has ended."""
        if loop_is_running():
            raise WrongColour(
                f"`for` over the stream {self._name!r} would block the running event loop. Write: "
                f"async for value in invocation.stream({self._name!r})"
            )
        wanted = self._wanted()
        with self._client.here(self._record.root):
            while bodies := self._client.waiting.until(wanted):
                for body in bodies:
                    yield cast("T", self._decode(body))

    async def __aiter__(self) -> AsyncIterator[T]:
        """The same in async code."""
        wanted = self._wanted()
        with self._client.here(self._record.root):
            while bodies := await self._client.waiting.until_async(wanted):
                for body in bodies:
                    yield cast("T", self._decode(body))

    def _wanted(self) -> Wanted[list[bytes]]:
        """Waits for the next values; none at all means that the workflow has ended."""
        tail = Tail(self._client, self._record, from_start=self._from_start)

        def look(record: InvocationRecord) -> list[bytes] | None:
            bodies = [
                entry.body
                for entry in tail.more(record)
                if entry.kind == EntryKind.PUBLISH and entry.name == self._name
            ]
            return bodies if bodies or record.state in TERMINAL else None

        return Wanted(self._record.key, look, self._timeout, self._late, reads=True)

    def _late(self, key: InvocationKey, timeout: float | None) -> PerdureError:
        return ResultTimeout(
            f"Workflow {key.invocation_id!r} published nothing more on {self._name!r} within "
            f"{timeout} seconds. It goes on; ask again, or give it more time."
        )

    def __repr__(self) -> str:
        """Name and invocation; nothing is read."""
        return f"<Stream {self._name!r} of {self._record.key.invocation_id!r}>"
