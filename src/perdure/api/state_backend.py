"""Reading and writing the deterministic values of a workflow by key, with real values."""

from __future__ import annotations

from typing import Any

from perdure.api.client import Client
from perdure.api.invocation import DistributedInvocation
from perdure.api.moments import to_datetime
from perdure.backends.base import InvocationRecord, RegisterPut
from perdure.core.entries import Entry, EntryKind, verify_chain
from perdure.core.identity import ID_LENGTH_MAX, WorkflowIdentity, validate_identifier
from perdure.core.journal import find_counter, find_value
from perdure.core.scope import BITS, TIME
from perdure.engine.outcome import read_body
from perdure.errors import LeaseRequired, RegisterConflict

BASE_TIME_KEY = "workflow:base_time"


KEY_LENGTH_MAX = 2 * ID_LENGTH_MAX
"""A key is a name, which may be as long as an id, with a scope before it and a number behind it."""


class StateBackend:
    """`app.state_backend`: what is stored about workflows, as values.

    An identity with a workflow row is read from its journal, any other from the keyed register.
    """

    def __init__(self, client: Client) -> None:
        """Bind to an app."""
        self._client = client

    def get_invocation(self, invocation_id: str) -> DistributedInvocation[Any]:
        """The handle of the latest generation of an id.

        Raises:
            InvocationNotFound: there is none.
        """
        return DistributedInvocation(self._client, self._client.latest(invocation_id).key)

    def workflow_record(self, identity: WorkflowIdentity) -> InvocationRecord | None:
        """The workflow row of an identity, if it has one."""
        record = self._client.find(identity.workflow_id)
        if record is None or record.kind != "workflow" or record.name != identity.workflow_type:
            return None
        return record

    def get_workflow_deterministic_value(
        self,
        identity: WorkflowIdentity,
        key: str,
        default: Any = None,
    ) -> Any:
        """The stored value of `key` (such as "random:1"), or `default` if there is none.

        A stored None is a value like any other; give a `default` to tell it from an absent one.

        Raises:
            InvalidIdentifier: no key can be called so.
        """
        validate_identifier(key, "key", KEY_LENGTH_MAX)
        record = self.workflow_record(identity)
        if record is not None:
            return self._from_journal(record, key, default)
        body = self.register_get(identity, key)
        return default if body is None else self.decode(body, key)

    def register_get(self, identity: WorkflowIdentity, key: str) -> bytes | None:
        """The stored bytes of a key of an identity without a workflow row."""
        runtime = self._client.runtime
        return runtime.backend.register_get(
            runtime.app_name, identity.workflow_type, identity.workflow_id, key
        )

    def decode(self, body: bytes, key: str) -> Any:
        """A value of the register."""
        return self._client.untyped.decode(body, f"deterministic value {key!r}")

    def set_workflow_deterministic_value(
        self,
        identity: WorkflowIdentity,
        key: str,
        value: Any,
    ) -> None:
        """Store a value under a key that is absent; an equal value that is there is fine.

        One put-if-absent transaction, durable when this returns.

        Raises:
            RegisterConflict: another value is stored there.
            LeaseRequired: the identity has a workflow row, so only its lease holder may append.
            SerializationError: the value cannot be recorded.
        """
        validate_identifier(key, "key", KEY_LENGTH_MAX)
        body, _ = self._client.untyped.encode_and_decode(value, f"deterministic value {key!r}")
        if self.workflow_record(identity) is not None:
            raise LeaseRequired(
                f"Workflow {identity.workflow_id!r} has a journal, and only the worker that holds "
                f"its lease may add to it. {key!r} was not stored."
            )
        runtime = self._client.runtime
        stored = runtime.backend.register_put(
            RegisterPut(
                app=runtime.app_name,
                workflow_type=identity.workflow_type,
                workflow_id=identity.workflow_id,
                key=key,
                body=body,
            )
        )
        if stored.body != body:
            raise RegisterConflict(
                f"{key!r} of {identity.workflow_id!r} is stored already as {stored.body[:120]!r}, "
                f"now {body[:120]!r} is given. A deterministic value never changes; use a new key."
            )

    # --- journals -------------------------------------------------------------------------------

    def verified_journal(self, record: InvocationRecord) -> list[Entry]:
        """The journal of a workflow row, checked.

        Raises:
            JournalCorrupted: its chain is broken.
        """
        entries = self._client.runtime.backend.read_journal(record.key)
        # It may have grown since the record was read; it never gets shorter.
        verify_chain(record.key, record.seed, entries, max(len(entries), record.head))
        return entries

    def _from_journal(self, record: InvocationRecord, key: str, default: Any) -> Any:
        if key == BASE_TIME_KEY:
            return default if record.base_time is None else to_datetime(record.base_time)
        entries = self.verified_journal(record)
        operation, _, name = key.partition(":")
        if operation == "counter":
            highest = find_counter(entries, name)
            return highest or default
        found = find_value(entries, key)
        if found is None:
            return default
        if isinstance(found, Entry):
            return self._entry_value(found, key)
        kind = key.rpartition(":")[0].rpartition(":")[2]
        if kind == TIME:
            return to_datetime(int(found))
        return int(str(found), 16) if kind == BITS else found

    def _entry_value(self, entry: Entry, key: str) -> object:
        if entry.kind == EntryKind.MEMO:
            return self.decode(entry.body, key)
        members = read_body(entry.body)
        if members.id:
            return members.id
        body = bytes(members.result or members.error)
        definition = self._client.registry.get(entry.name)
        if entry.kind == EntryKind.TASK and members.result and definition is not None:
            return definition.decode_result(body)
        return self.decode(body, key)
