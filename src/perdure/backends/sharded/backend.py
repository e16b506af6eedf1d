"""The state backend over several servers: it finds the server, and asks it. No row is here.

What one server does is one transaction there, as ever. Nothing needs a transaction over two: a
child with an id of the user's choice is started before its parent records it, and found again when
that is repeated; a wait for something elsewhere is a row beside the one that waits, and each poll
carries such rows to where they belong.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from perdure.backends.base import (
    ClaimBatch,
    ClaimRequest,
    CommitResult,
    Finish,
    ForeignWatch,
    Holding,
    InvocationQuery,
    InvocationRecord,
    NewInvocation,
    OnExisting,
    Refusal,
    RegisterPut,
    RegisterResult,
    StartClaim,
    Started,
    Stop,
    Transition,
)
from perdure.backends.health import Health
from perdure.backends.hints import Ear, Heard
from perdure.backends.letters import InboxRow, Letter, Sent
from perdure.backends.limits import QueueStatus
from perdure.backends.server import Server
from perdure.backends.sharded.audit import Audit
from perdure.backends.sharded.locations import Locations
from perdure.backends.sharded.merging import (
    merge_batches,
    merge_health,
    merge_pages,
    merge_queues,
)
from perdure.backends.sharded.placement import mark
from perdure.backends.sharded.relay import Relay
from perdure.backends.sharded.renewing import renew
from perdure.backends.sharded.servers import Member, Members
from perdure.core.entries import Entry
from perdure.core.identity import InvocationKey
from perdure.errors import BackendError, CommitUnknown, SchemaMismatch

T = TypeVar("T")


class ShardedBackend(Audit):
    """One app on several servers; see `perdure.backends.server` for what they keep.

    Limits of queues hold on each server by itself, and so does the order of claims.

    Args:
        servers: name (a URL without password) and server, in the order of the list.
        publishes: whether the list is made known to the servers at the first use; False for tools
            that only look.
    """

    def __init__(self, servers: Sequence[tuple[str, Server]], *, publishes: bool = True) -> None:
        self._members = Members(servers, publishes=publishes)
        self._locations = Locations(self._members)
        self._relay = Relay(self._members)
        self._turns = itertools.count()

    # --- ids -------------------------------------------------------------------------------------

    def fresh_id(self, made: str) -> str:
        """An id that carries its server, from one that nobody else has."""
        return self._locations.fresh_id(made)

    def beside(self, made: str, invocation_id: str) -> str:
        """An id that carries the server where `invocation_id` lives, from a derived one."""
        return mark(made, self.position(invocation_id))

    def position(self, invocation_id: str) -> int:
        """Where the id lives, or would be started."""
        return self._locations.home(invocation_id)

    def _server(self, id_: str) -> Server:
        return self._members.at(self.position(id_))

    # --- reading ---------------------------------------------------------------------------------

    def store_id(self) -> bytes:
        """The id of the first server, which stays the first for ever."""
        return self._members.stores()[0]

    def now(self) -> int:
        """The clock of the first server that did not fail a moment ago."""
        return self._members.willing()[0].server.now()

    def now_at(self, invocation_id: str) -> int:
        """The clock of the server where this id lives."""
        return self._server(invocation_id).now()

    def read(
        self, invocation_id: str, generation: int | None = None, *, locked: bool = False
    ) -> InvocationRecord | None:
        """See `Backend.read`."""
        found = self._locations.read(invocation_id, generation, locked=locked)
        return None if found is None else found[1]

    def query(self, query: InvocationQuery) -> list[InvocationRecord]:
        """See `Backend.query`. Every server must answer, or the page would not be whole."""
        self._members.stores()
        if query.after is not None and query.after_at is None:
            last = self.read(*query.after)
            if last is None:
                return []
            query = msgspec.structs.replace(query, after_at=last.created_at)
        pages = [member.server.query(query) for member in self._members]
        return merge_pages(pages, query.limit)

    def read_journal(self, key: InvocationKey, start: int = 0) -> list[Entry]:
        """See `Backend.read_journal`."""
        return self._server(key.invocation_id).read_journal(key, start)

    def read_inbox(self, key: InvocationKey) -> list[InboxRow]:
        """See `Backend.read_inbox`."""
        return self._server(key.invocation_id).read_inbox(key)

    def read_data(self, key: InvocationKey) -> dict[str, bytes]:
        """See `Backend.read_data`."""
        return self._server(key.invocation_id).read_data(key)

    def queues(self, app: str) -> list[QueueStatus]:
        """See `Backend.queues`. Sums over all servers."""
        return merge_queues([member.server.queues(app) for member in self._members])

    def past_deadline(self, app: str, limit: int) -> list[InvocationRecord]:
        """See `Backend.past_deadline`; up to `limit` of each server."""
        answers = self._each(lambda server: server.past_deadline(app, limit))
        return [record for records in answers for record in records]

    def owners(self) -> frozenset[str]:
        """See `Backend.owners`, of the servers that answer."""
        return frozenset[str]().union(*self._each(lambda server: server.owners()))

    def health(self) -> Health:
        """See `Backend.health`. A server that does not answer is a problem of its own."""
        self._members.stores()
        answers: list[tuple[str, Health]] = []
        down: list[str] = []
        for member in self._members:
            try:
                answers.append((member.shown, member.server.health()))
            except BackendError as error:
                down.append(f"{member.shown} does not answer: {error}")
        return merge_health(answers, down)

    # --- starting and claiming -------------------------------------------------------------------

    def start(
        self, new: NewInvocation, on_existing: OnExisting, claim: StartClaim | None = None
    ) -> Started:
        """See `Backend.start`. It looks on the servers that earlier lists would have chosen."""
        id_ = new.invocation_id
        chosen, *older = self._locations.candidates(id_)
        for position in older:
            if self._members.at(position).read(id_) is not None:
                chosen = position
                break
        started = self._members.at(chosen).start(new, on_existing, claim)
        self._locations.remember(id_, chosen)
        return started

    def claim(self, request: ClaimRequest) -> ClaimBatch:
        """See `Backend.claim`. Each poll begins with another server; one that is down is left out.

        First it carries what the servers have for each other.

        Raises:
            BackendError: no server answers.
            CommitUnknown: a server left it open; others may have given rows before, all of which
                are found by their owner.
        """
        self._members.stores()
        self.carry()
        left = request.limit
        batches: list[ClaimBatch] = []

        def ask(server: Server) -> ClaimBatch:
            nonlocal left
            batch = server.claim(msgspec.structs.replace(request, limit=left))
            left -= len(batch.records)
            return batch

        for member, batch in self._answers(ask):
            batches.append(batch)
            for record in batch.records:
                self._locations.remember(record.key.invocation_id, member.position)
        return merge_batches(batches)

    def carry(self) -> None:
        """See `Spread.carry`."""
        self._relay.run()

    def renew(self, owner: str, holdings: Sequence[Holding], lease: int) -> frozenset[Holding]:
        """See `Backend.renew`.

        Raises:
            PartlyRenewed: some servers did not answer; nothing is known of the leases there.
        """
        groups: defaultdict[Member, list[Holding]] = defaultdict(list)
        members = list(self._members)
        for holding in holdings:
            groups[members[self.position(holding.key.invocation_id) - 1]].append(holding)
        return renew(groups, owner, lease) if groups else frozenset()

    def seize(
        self, key: InvocationKey, epoch: int, token: bytes, disposition: Finish | Stop
    ) -> CommitResult:
        """See `Backend.seize`."""
        return self._server(key.invocation_id).seize(key, epoch, token, disposition)

    def send(self, key: InvocationKey, letter: Letter) -> Sent:
        """See `Backend.send`."""
        return self._server(key.invocation_id).send(key, letter)

    def resume(self, key: InvocationKey) -> bool:
        """See `Backend.resume`."""
        return self._server(key.invocation_id).resume(key)

    # --- committing ------------------------------------------------------------------------------

    def commit(self, transitions: Sequence[Transition]) -> list[CommitResult]:
        """See `Backend.commit`. One transaction for each server.

        Raises:
            CommitUnknown: also when it happened on one server and not, or not surely, on another.
        """
        groups: defaultdict[int, list[int]] = defaultdict(list)
        for number, transition in enumerate(transitions):
            groups[self.position(transition.key.invocation_id)].append(number)
        results: list[CommitResult] = [Refusal.STALE] * len(transitions)
        errors: list[BackendError] = []
        for position, numbers in groups.items():
            try:
                here = [self._split(transitions[number], position) for number in numbers]
                answers = self._members.at(position).commit(here)
            except BackendError as error:
                errors.append(error)
                continue
            for number, transition, answer in zip(numbers, here, answers, strict=True):
                results[number] = answer
                for child in transition.children:
                    if not isinstance(answer, Refusal):
                        self._locations.remember(child.invocation_id, position)
        if errors and len(groups) == 1:
            raise errors[0]
        if errors:
            raise CommitUnknown(
                f"A commit to {len(groups)} servers failed on {len(errors)}: {errors[0]}"
            ) from errors[0]
        return results

    def _split(self, transition: Transition, position: int) -> Transition:
        """The watches that another server must tell of, apart."""
        foreign = tuple(
            ForeignWatch(target, found)
            for target in transition.watches
            if (found := self._locations.find(target.invocation_id)) and found != position
        )
        if not foreign:
            return transition
        elsewhere = {watch.target for watch in foreign}
        near = tuple(target for target in transition.watches if target not in elsewhere)
        return msgspec.structs.replace(transition, watches=near, foreign_watches=foreign)

    # --- register --------------------------------------------------------------------------------

    def register_get(
        self, app: str, workflow_type: str, workflow_id: str, key: str
    ) -> bytes | None:
        """See `Backend.register_get`. Identities are placed like ids, by their workflow id."""
        home = self._home((app, workflow_type, workflow_id), key)
        return home.register_get(app, workflow_type, workflow_id, key)

    def register_put(self, put: RegisterPut) -> RegisterResult:
        """See `Backend.register_put`.

        A child may be placed on another server than the value, so it is started first. Its id is
        derived from the same identity and key, so whoever puts this value starts this child.
        """
        identity = (put.app, put.workflow_type, put.workflow_id)
        server = self._home(identity, put.key, *(put.counter or ())[:1])
        if put.child is not None:
            found = server.register_get(*identity, put.key)
            if found is not None:
                return RegisterResult(found, won=False)
            self.start(put.child, "return")
            put = msgspec.structs.replace(put, child=None)
        return server.register_put(put)

    def _home(self, identity: tuple[str, str, str], *keys: str) -> Server:
        """Where one of these keys is, or would be put now. A counter stays with its values."""
        chosen, *older = self._locations.placement.candidates(identity[-1])
        for position in older:
            server = self._members.at(position)
            if any(server.register_get(*identity, key) is not None for key in keys):
                return server
        return self._members.at(chosen)

    def hints(self, heard: Heard) -> Ear | None:
        """See `Backend.hints`, of every server that has them."""
        ears = [ear for member in self._members if (ear := member.server.hints(heard))]
        return _Ears(ears) if ears else None

    # --- all servers -----------------------------------------------------------------------------

    def close(self) -> None:
        """See `Backend.close`."""
        for member in self._members:
            member.server.close()

    def _answers(self, ask: Callable[[Server], T]) -> list[tuple[Member, T]]:
        """What the servers say that answer.

        Raises:
            BackendError: none does.
            CommitUnknown: one does not know.
            SchemaMismatch: we are too old for one. That does not pass, as an outage does.
        """
        willing = self._members.willing()
        first = next(self._turns) % len(willing)
        answers: list[tuple[Member, T]] = []
        errors: list[BackendError] = []
        for member in [*willing[first:], *willing[:first]]:
            try:
                answers.append((member, member.attempt(ask)))
            except (CommitUnknown, SchemaMismatch):
                raise
            except BackendError as error:
                errors.append(error)
        if not answers:
            raise errors[0]
        return answers

    def _each(self, ask: Callable[[Server], T]) -> list[T]:
        return [answer for _, answer in self._answers(ask)]


class _Ears:
    """One for each server. See `perdure.backends.hints.Ear`."""

    def __init__(self, ears: Sequence[Ear]) -> None:
        self._ears = ears

    def expect(self) -> None:
        for ear in self._ears:
            ear.expect()

    def close(self) -> None:
        for ear in self._ears:
            ear.close()
