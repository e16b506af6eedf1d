"""How far started tasks have come, as whoever waits for them reads it."""

from __future__ import annotations

from typing import Any

from perdure.api.client import Client
from perdure.api.loose import decoder
from perdure.api.outside import refuse_undurable
from perdure.core.identity import InvocationKey
from perdure.engine.heartbeats import HEARTBEAT, read_note

DETAILS = "details of a heartbeat"


def read_progress(client: Client, key: InvocationKey, type_: Any, default: Any) -> Any:
    """What the body of a started task told last. See `DistributedInvocation.last_heartbeat`."""
    refuse_undurable("invocation.last_heartbeat(...)")
    data = client.runtime.backend.read_data(client.read(key).key)
    body = read_note(data, HEARTBEAT, key.invocation_id)
    return default if body is None else decoder(client, type_, DETAILS)(body)
