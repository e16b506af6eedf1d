"""The values of an executor that stands alone: a keyed register, one transaction per value."""

from __future__ import annotations

import functools
import threading
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import msgspec

from perdure.api.client import Client
from perdure.api.functions import Registered
from perdure.api.invocation import DistributedInvocation
from perdure.api.moments import to_datetime
from perdure.api.state_backend import BASE_TIME_KEY, StateBackend
from perdure.backends.base import NewInvocation, RegisterPut
from perdure.core.draws import DrawSource, derive_id, derive_seed
from perdure.core.identity import InvocationKey, WorkflowIdentity
from perdure.core.scope import BITS, IDEMPOTENCY_KEY, RANDOM, TIME, UUID
from perdure.engine.committer import until_known
from perdure.errors import OperationRefused


class RegisterSource:
    """Put-if-absent by key. Thread-safe; kinds may be used in any order and do not disturb."""

    def __init__(self, identity: WorkflowIdentity, client: Client, state: StateBackend) -> None:
        """Bind to an identity without a workflow row."""
        self._identity = identity
        self._client = client
        self._state = state
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._sequences: dict[str, threading.RLock] = defaultdict(threading.RLock)
        self._generating: set[int] = set()

    @functools.cached_property
    def _seed(self) -> bytes:
        runtime = self._client.runtime
        identity = self._identity
        return derive_seed(
            runtime.store_id, runtime.app_name, identity.workflow_type, identity.workflow_id, 1
        )

    @functools.cached_property
    def _draws(self) -> DrawSource:
        return DrawSource(self._seed, "")

    # --- the register ---------------------------------------------------------------------------

    def _put(
        self,
        key: str,
        body: bytes,
        counter: tuple[str, int] | None = None,
        child: NewInvocation | None = None,
    ) -> Any:
        runtime, identity = self._client.runtime, self._identity
        put = RegisterPut(
            app=runtime.app_name,
            workflow_type=identity.workflow_type,
            workflow_id=identity.workflow_id,
            key=key,
            body=body,
            counter=counter,
            child=child,
        )
        stored = until_known(lambda: runtime.backend.register_put(put))
        return self._state.decode(stored.body, key)

    def _value(self, operation: str, ordinal: int, make: Callable[[], object]) -> Any:
        """The stored value of `operation:ordinal`, or what `make()` gives, stored."""
        key = f"{operation}:{ordinal}"
        body = self._state.register_get(self._identity, key)
        if body is not None:
            return self._state.decode(body, key)
        fresh, _ = self._client.untyped.encode_and_decode(make(), f"value of {key!r}")
        return self._put(key, fresh, counter=(f"counter:{operation}", ordinal))

    def _draw(self, kind: str, make: Callable[[int], object]) -> Any:
        """The next draw. A state backend that fails gives the number back, as in `record`."""
        self._refuse_inside_generator(kind)
        with self._sequence(kind):
            ordinal = self._counts[kind] + 1
            value = self._value(kind, ordinal, lambda: make(ordinal))
            self._counts[kind] = ordinal
            return value

    def _refuse_inside_generator(self, operation: str) -> None:
        """On replay a generator does not run, so what it asked for would not be counted."""
        if threading.get_ident() in self._generating:
            raise OperationRefused(
                f"{operation!r} was asked of an executor inside a generator given to its record(). "
                "What a generator does is recorded as one value; do it before or after."
            )

    def _sequence(self, operation: str) -> threading.RLock:
        with self._lock:
            return self._sequences[operation]

    # --- values ---------------------------------------------------------------------------------

    def random(self) -> float:
        """The next float; the value is a pure function of seed and ordinal, and stored."""
        return float(self._draw(RANDOM, self._draws.random))

    def uuid(self) -> str:
        """The next UUID."""
        return str(self._draw(UUID, self._draws.uuid))

    def bits(self, width: int) -> int:
        """The next random bits."""
        return int(self._draw(BITS, lambda ordinal: self._draws.bits(ordinal, width)))

    def idempotency_key(self) -> str:
        """The next key."""
        return str(self._draw(IDEMPOTENCY_KEY, self._draws.idempotency_key))

    def utc_now(self) -> datetime:
        """Base time plus n seconds at the n-th reading: without a journal there are no events."""
        base = self.base_time()
        value: datetime = self._draw(TIME, lambda ordinal: base + timedelta(seconds=ordinal))
        return value

    def base_time(self) -> datetime:
        """The stored base time; the backend's clock at the first use."""
        body = self._state.register_get(self._identity, BASE_TIME_KEY)
        if body is None:
            now = to_datetime(self._client.runtime.backend.now())
            fresh, _ = self._client.untyped.encode_and_decode(now, BASE_TIME_KEY)
            value: datetime = self._put(BASE_TIME_KEY, fresh)
        else:
            value = self._state.decode(body, BASE_TIME_KEY)
        return value

    def count(self, operation: str) -> int:
        """Handed out by this executor."""
        return self._counts[operation]

    def record(self, operation: str, generator: Callable[[], Any]) -> Any:
        """The next value of `operation`.

        One at a time per operation: a generator that raises gives its number back, which nobody
        may have passed by then, or a later executor would meet a hole.
        """
        me = threading.get_ident()
        self._refuse_inside_generator(operation)
        with self._sequence(operation):
            ordinal = self._counts[operation] + 1
            self._generating.add(me)
            try:
                value = self._value(operation, ordinal, generator)
            finally:
                self._generating.discard(me)
            self._counts[operation] = ordinal
            return value

    def execute(
        self, task: Registered[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> DistributedInvocation[Any]:
        """The invocation of this call; register value and invocation row are one transaction."""
        self._refuse_inside_generator("execute_task")
        definition = task.definition
        call = definition.call(args, kwargs)
        key = f"task_invocation:{call.call_id}"
        body = self._state.register_get(self._identity, key)
        if body is None:
            invocation_id = derive_id(self._seed, "memo", call.call_id)
            child = msgspec.structs.replace(
                self._client.template,
                invocation_id=invocation_id,
                kind=definition.kind,
                name=definition.name,
                arguments=call.arguments,
                fingerprint=call.digest,
                call_id=call.call_id,
            )
            stored = self._put(key, msgspec.json.encode(invocation_id), child=child)
        else:
            stored = self._state.decode(body, key)
        handle = InvocationKey(str(stored), 1)
        return DistributedInvocation(self._client, handle, definition)
