"""Batches of transitions, and starts, as calls of the server's functions, and what came of them.

The functions lock, decide and write; see migrations 4, 5 and 7. What is asked becomes their arrays
here, and their rows become results. Nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from perdure.backends.base import (
    CommitResult,
    Committed,
    Disposition,
    Finish,
    NewInvocation,
    Refusal,
    Release,
    RetryLater,
    StartClaim,
    Stop,
    Suspend,
    Transition,
)
from perdure.backends.postgres.arrays import Blobs, Column, Numbers, Texts
from perdure.backends.postgres.store import Call
from perdure.backends.rows import Row, call_row, entry_columns, ids_of, invocation_row
from perdure.backends.rules import FIRST_GENERATION, first_record
from perdure.backends.server import refuse_old
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import InvocationState

_NO_FATE = (None, None, None, None, None)
_STATES = {state.value: state for state in InvocationState}
_REFUSALS = {refusal.value: refusal for refusal in Refusal}

Kinds = tuple[type[Column], ...]
"""What the columns of some rows hold."""

# In the order of the parameters of `perdure.commit`.
_MEMBER: Kinds = (
    Texts, Numbers, Numbers, Numbers, Numbers, Blobs, Blobs, Numbers, Texts, Texts, Numbers, Blobs,
    Texts,
)  # fmt: skip
_ENTRY: Kinds = (
    Numbers, Numbers, Texts, Texts, Numbers, Texts, Texts, Blobs, Blobs, Blobs, Numbers, Numbers,
    Blobs, Blobs, Texts, Texts,
)  # fmt: skip
_CHILD: Kinds = (
    Numbers, Numbers, Texts, Texts, Texts, Texts, Texts, Numbers, Texts, Numbers, Texts, Texts,
    Numbers, Numbers, Blobs, Blobs, Texts, Texts, Numbers, Blobs, Texts, Blobs, Numbers, Numbers,
)  # fmt: skip
_CLAIM: Kinds = (Texts, Numbers, Blobs)
_WATCH: Kinds = (Numbers, Texts, Numbers)
_FOREIGN_WATCH: Kinds = (Numbers, Texts, Numbers, Numbers)
_READ: Kinds = (Numbers, Numbers)
_DATA: Kinds = (Numbers, Texts, Blobs)


class Wave:
    """Transitions that one call takes together: no row twice, and no id of a child twice."""

    def __init__(self, transitions: Sequence[Transition]) -> None:
        self._transitions = transitions

    def call(self, store_id: bytes, list_number: int) -> Call:
        """The call that applies each of them alone; children are begun under this list."""
        placed = list(enumerate(self._transitions, 1))
        members = [_member(each) for each in self._transitions]
        entries = [
            (place, entry.position, *entry_columns(entry))
            for place, each in placed
            for entry in each.entries
        ]
        columns = [*_columns(_MEMBER, members), *_columns(_ENTRY, entries)]
        if all(_is_plain(each) for each in self._transitions):
            return "apply_plain", columns
        children = [
            (place, list_number, *_child(child, store_id))
            for place, each in placed
            for child in each.children
        ]
        watches = [(place, *target) for place, each in placed for target in each.watches]
        foreign_watches = [
            (place, *target, server)
            for place, each in placed
            for target, server in each.foreign_watches
        ]
        read = [(place, row_id) for place, each in placed for row_id in each.consumed]
        # The last value of a name counts.
        data = [(place, *item) for place, each in placed for item in dict(each.data).items()]
        return "apply", [
            *columns,
            *_columns(_CHILD, children),
            *_columns(_WATCH, watches),
            *_columns(_FOREIGN_WATCH, foreign_watches),
            *_columns(_READ, read),
            *_columns(_DATA, data),
        ]

    def results(self, rows: Iterable[Row], list_number: int) -> list[CommitResult]:
        """What the call's rows say of each transition.

        Raises:
            ServerListMismatch: a newer list of servers was published; nothing was written.
        """
        verdicts: dict[int, str] = {}
        told: dict[int, list[InvocationKey]] = {}
        for place, verdict, id_, generation in rows:
            if not int(place):
                refuse_old(int(verdict), list_number)
            if id_ is None:
                verdicts[int(place)] = verdict
            else:
                told.setdefault(int(place), []).append(InvocationKey(id_, int(generation)))
        return [
            _REFUSALS.get(verdicts[place])
            or _committed(each, _STATES[verdicts[place]], told.get(place, []))
            for place, each in enumerate(self._transitions, 1)
        ]


def start_call(
    new: NewInvocation, store_id: bytes, list_number: int, claim: StartClaim | None = None
) -> Call:
    """The call that makes, and may claim, the first generation of an id, if nobody has taken it."""
    columns = _columns(_CHILD[1:], [(list_number, *_child(new, store_id))])
    if claim is None:
        return "start", columns
    return "start_claimed", [
        *columns,
        *_columns(_CLAIM, [(claim.owner, claim.lease, claim.token)]),
    ]


def seizure(
    key: InvocationKey, epoch: int, token: bytes, disposition: Finish | Stop
) -> dict[str, Any]:
    """Parameters of `seize`."""
    fate, state, _, outcome, reason = _fate(disposition)
    return {
        "id": key.invocation_id,
        "generation": key.generation,
        "epoch": epoch,
        "token": token,
        "fate": fate,
        "state": state,
        "outcome": outcome,
        "reason": reason,
    }


def seized(rows: Sequence[Row], disposition: Finish | Stop) -> CommitResult:
    """What the rows of `seize` say."""
    verdicts = [verdict for verdict, id_, _ in rows if id_ is None]
    told = [InvocationKey(id_, generation) for _, id_, generation in rows if id_ is not None]
    if verdicts == [Refusal.STALE]:
        return Refusal.STALE
    return Committed(disposition.state, tuple(dict.fromkeys(told)))


def waves(transitions: Sequence[Transition]) -> list[list[int]]:
    """Which transitions, by index, go into one call, and which have to wait for one before.

    Mostly there is one wave: who commits for a row waits for the outcome.
    """
    if len(transitions) == 1:
        return [[0]]
    found: list[list[int]] = []
    waits: dict[str | InvocationKey, int] = {}
    for index, each in enumerate(transitions):
        names: list[str | InvocationKey] = [each.key, *ids_of(each.children)]
        number = max(waits.get(name, 0) for name in names)
        for name in names:
            waits[name] = number + 1
        found += [[]] if number == len(found) else []
        found[number].append(index)
    return found


def _columns(kinds: Kinds, rows: Sequence[tuple[Any, ...]]) -> list[Column]:
    """Rows turned into one array for each column, for `unnest`."""
    if not rows:
        return [kind() for kind in kinds]
    return [kind(values) for kind, values in zip(kinds, zip(*rows, strict=True), strict=True)]


def _is_plain(asked: Transition) -> bool:
    return not (
        asked.children or asked.watches or asked.foreign_watches or asked.consumed or asked.data
    )


def _member(asked: Transition) -> tuple[Any, ...]:
    disposition = asked.disposition
    return (
        *asked.key,
        asked.epoch,
        asked.head,
        asked.head + len(asked.entries),
        asked.head_hash,
        asked.token,
        int(asked.reset_crashes),
        *(_NO_FATE if disposition is None else _fate(disposition)),
    )


def _fate(disposition: Disposition) -> tuple[Any, ...]:
    """What becomes of the lease: word, state, moment, outcome, reason."""
    match disposition:
        case Suspend(wake_at=wake_at):
            return "suspend", None, wake_at, None, None
        case Finish(state=state, outcome=outcome):
            return "finish", state.value, None, outcome, None
        case RetryLater(delay=delay):
            return "retry", None, delay, None, None
        case Release():
            return "release", None, None, None, None
        case Stop(state=state, reason=reason):
            # A text of PostgreSQL has no NUL; the reason is for people.
            return "stop", state.value, None, None, reason.replace("\0", "\\0")


def _child(child: NewInvocation, store_id: bytes) -> Row:
    """Its hot and its cold row, but for what the server knows: number and times."""
    record = first_record(child, FIRST_GENERATION, store_id, 0)
    id_, _, *hot, delay, _, _, _ = invocation_row(record)
    return (id_, *hot, delay, *call_row(0, record)[1:])


def _committed(
    asked: Transition, state: InvocationState, told: Iterable[InvocationKey]
) -> Committed:
    claimable = [
        InvocationKey(child.invocation_id, FIRST_GENERATION)
        for child in asked.children
        if not child.delay
    ]
    ready = [asked.key] if state is InvocationState.READY else []
    return Committed(state, tuple(dict.fromkeys([*claimable, *told, *ready])))
