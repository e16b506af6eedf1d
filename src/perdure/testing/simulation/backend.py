"""The state backend as one simulated process sees it: slow, and at times unlucky."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import msgspec

from perdure.backends.base import (
    ClaimBatch,
    ClaimRequest,
    CommitResult,
    Finish,
    Holding,
    InvocationQuery,
    InvocationRecord,
    NewInvocation,
    OnExisting,
    RegisterPut,
    RegisterResult,
    StartClaim,
    Started,
    Stop,
    Transition,
)
from perdure.backends.health import Health
from perdure.backends.hints import Heard
from perdure.backends.letters import InboxRow, Letter, Sent
from perdure.backends.limits import QueueStatus
from perdure.core.entries import Entry
from perdure.core.identity import InvocationKey
from perdure.errors import BackendError, BackendFull, BackendUnavailable, CommitUnknown
from perdure.testing.simulation.luck import Fault
from perdure.testing.simulation.process import Process
from perdure.testing.simulation.store import Store
from perdure.testing.simulation.threads import Crashed

T = TypeVar("T")
Request = (
    NewInvocation
    | ClaimRequest
    | tuple[Transition, ...]
    | tuple[Holding, ...]
    | RegisterPut
    | InvocationKey
    | Holding
    | tuple[InvocationKey, Letter]
)
"""What a call that changes something asks for."""


class Call(msgspec.Struct, frozen=True):
    """A call of one process that changes something.

    Attributes:
        keys: whose rows it writes, as far as it names them.
        repeatable: made again later, it must change nothing.
    """

    name: str
    process: Process
    request: Request
    keys: tuple[str, ...]
    repeatable: bool = False


class Line(Protocol):
    """The way from processes to the store."""

    store: Store

    def delay(self, *, slow: bool = False) -> None:
        """Let the current thread wait as long as a call takes."""
        ...

    def fate(self, call: Call) -> Fault | None:
        """What goes wrong with this call."""
        ...

    def apply(self, call: Call, run: Callable[[], T]) -> T:
        """Make it now."""
        ...

    def apply_later(self, call: Call, run: Callable[[], object]) -> None:
        """Make it some time later, or before the next locked read."""
        ...

    def settle(self, invocation_id: str) -> None:
        """Make the calls that are still to be made and may write this invocation."""
        ...

    def stop(self, process: Process) -> None:
        """Let a process stand still for a while."""
        ...

    @property
    def away(self) -> bool:
        """Whether the store answers nobody at the moment."""
        ...

    def failed(self, call: Call) -> None:
        """A call was refused, whatever for."""
        ...

    @property
    def gone(self) -> frozenset[str]:
        """Names under which dead processes claimed, as far as others can see that they are dead."""
        ...


_REFUSALS: dict[Fault, tuple[type[BackendError], str]] = {
    Fault.UNAVAILABLE: (BackendUnavailable, "The store is away"),
    Fault.FULL: (BackendFull, "The store has no room"),
    Fault.LOST: (CommitUnknown, "The connection broke, and the call was lost"),
}


class SimulatedBackend:
    """See `perdure.backends.base.Backend`: each call takes a while, and some meet a fault."""

    def __init__(self, line: Line, process: Process) -> None:
        """For one process."""
        self._line = line
        self._process = process
        self._store = line.store

    # --- what changes something -----------------------------------------------------------------

    def _change(self, call: Call, run: Callable[[], T]) -> T:
        line, process = self._line, self._process
        process.check()
        fault = line.fate(call)
        if fault is Fault.STOPS:
            line.stop(process)
        line.delay(slow=fault is Fault.SLOW)
        process.check()
        if line.away:
            line.failed(call)
            raise BackendUnavailable(f"The store is away: {call.name}.")
        if fault is None:
            result = line.apply(call, run)
            process.check()
            return result
        return self._unlucky(call, run, fault)

    def _unlucky(self, call: Call, run: Callable[[], T], fault: Fault) -> T:
        line, process = self._line, self._process
        if fault in _REFUSALS:
            line.failed(call)
            error, why = _REFUSALS[fault]
            raise error(f"{why}: {call.name}.")
        match fault:
            case Fault.DIES_BEFORE:
                raise self._death()
            case Fault.IN_FLIGHT | Fault.DIES_IN_FLIGHT:
                line.apply_later(call, run)
                if fault is Fault.DIES_IN_FLIGHT:
                    raise self._death()
                raise CommitUnknown(f"The connection broke while {call.name} was on its way.")
            case _:
                pass
        result = line.apply(call, run)
        if fault is Fault.DIES_AFTER:
            raise self._death()
        if fault is Fault.UNKNOWN:
            raise CommitUnknown(f"The connection broke, and {call.name} had been made.")
        if fault is Fault.TWICE and call.repeatable:
            line.apply_later(call, run)
        if fault is Fault.STOPS_AFTER:
            line.stop(process)
        line.delay()
        process.check()
        return result

    def _death(self) -> Crashed:
        self._process.kill()
        return Crashed()

    def start(
        self, new: NewInvocation, on_existing: OnExisting, claim: StartClaim | None = None
    ) -> Started:
        """See `Backend.start`."""
        call = Call("start", self._process, new, (new.invocation_id,), repeatable=True)
        return self._change(call, lambda: self._store.start(new, on_existing, claim))

    def claim(self, request: ClaimRequest) -> ClaimBatch:
        """See `Backend.claim`."""
        gone = request.dead_owners | self._line.gone
        request = msgspec.structs.replace(request, dead_owners=gone)
        call = Call("claim", self._process, request, ())
        return self._change(call, lambda: self._store.claim(request))

    def seize(
        self, key: InvocationKey, epoch: int, token: bytes, disposition: Finish | Stop
    ) -> CommitResult:
        """See `Backend.seize`."""
        call = Call(
            "seize", self._process, Holding(key, epoch), (key.invocation_id,), repeatable=True
        )
        return self._change(call, lambda: self._store.seize(key, epoch, token, disposition))

    def renew(self, owner: str, holdings: Sequence[Holding], lease: int) -> frozenset[Holding]:
        """See `Backend.renew`."""
        call = Call("renew", self._process, tuple(holdings), ())
        return self._change(call, lambda: self._store.renew(owner, holdings, lease))

    def commit(self, transitions: Sequence[Transition]) -> list[CommitResult]:
        """See `Backend.commit`."""
        ids = tuple(each.key.invocation_id for each in transitions)
        call = Call("commit", self._process, tuple(transitions), ids, repeatable=True)
        return self._change(call, lambda: self._store.commit(transitions))

    def register_put(self, put: RegisterPut) -> RegisterResult:
        """See `Backend.register_put`."""
        call = Call("register_put", self._process, put, (), repeatable=True)
        return self._change(call, lambda: self._store.register_put(put))

    def send(self, key: InvocationKey, letter: Letter) -> Sent:
        """See `Backend.send`."""
        call = Call("send", self._process, (key, letter), (key.invocation_id,), repeatable=True)
        return self._change(call, lambda: self._store.send(key, letter))

    def resume(self, key: InvocationKey) -> bool:
        """See `Backend.resume`."""
        call = Call("resume", self._process, key, (key.invocation_id,))
        return self._change(call, lambda: self._store.resume(key))

    # --- what does not --------------------------------------------------------------------------

    def _look(self) -> None:
        self._process.check()
        self._line.delay()
        self._process.check()
        if self._line.away:
            raise BackendUnavailable("The store is away.")

    def store_id(self) -> bytes:
        """See `Backend.store_id`."""
        self._process.check()
        return self._store.store_id()

    def now(self) -> int:
        """See `Backend.now`."""
        self._process.check()
        return self._store.now()

    def read(
        self, invocation_id: str, generation: int | None = None, *, locked: bool = False
    ) -> InvocationRecord | None:
        """See `Backend.read`."""
        self._look()
        if locked:
            self._line.settle(invocation_id)
        return self._store.read(invocation_id, generation, locked=locked)

    def query(self, query: InvocationQuery) -> list[InvocationRecord]:
        """See `Backend.query`."""
        self._look()
        return self._store.query(query)

    def read_journal(self, key: InvocationKey, start: int = 0) -> list[Entry]:
        """See `Backend.read_journal`."""
        self._look()
        return self._store.read_journal(key, start)

    def read_inbox(self, key: InvocationKey) -> list[InboxRow]:
        """See `Backend.read_inbox`."""
        self._look()
        return self._store.read_inbox(key)

    def read_data(self, key: InvocationKey) -> dict[str, bytes]:
        """See `Backend.read_data`."""
        self._look()
        return self._store.read_data(key)

    def register_get(
        self, app: str, workflow_type: str, workflow_id: str, key: str
    ) -> bytes | None:
        """See `Backend.register_get`."""
        self._look()
        return self._store.register_get(app, workflow_type, workflow_id, key)

    def queues(self, app: str) -> list[QueueStatus]:
        """See `Backend.queues`."""
        self._look()
        return self._store.queues(app)

    def past_deadline(self, app: str, limit: int) -> list[InvocationRecord]:
        """See `Backend.past_deadline`."""
        self._look()
        return self._store.past_deadline(app, limit)

    def owners(self) -> frozenset[str]:
        """See `Backend.owners`. Nobody: who is dead is told with each claim."""
        return frozenset()

    def hints(self, heard: Heard) -> None:
        """See `Backend.hints`. There are none: whoever relies on them polls too."""

    def health(self) -> Health:
        """See `Backend.health`."""
        self._process.check()
        return self._store.health()

    def close(self) -> None:
        """Nothing: the store goes on."""
