"""Rules that every backend applies alike: a new row, and what a transition may ask. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from perdure.backends.base import (
    CommitResult,
    Committed,
    Disposition,
    Finish,
    InvocationQuery,
    InvocationRecord,
    NewInvocation,
    RegisterPut,
    StartClaim,
    Stop,
    Transition,
)
from perdure.backends.hints import CLAIMABLE, NOTHING, Hint, slot_of
from perdure.core.draws import ALGORITHM, derive_seed
from perdure.core.entries import READ_OUTSIDE
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import RESUMABLE, TERMINAL, InvocationState
from perdure.errors import InternalError

TOKEN_BYTES = 16
"""Length of a transition's token: 128 random bits never meet by accident."""

STORE_ID_BYTES = 16
"""Length of a store id, for the same reason."""

FIRST_GENERATION = 1
FIRST_SEGMENT = 0
FIRST_EPOCH = 1
"""What the first claim of a row gives it."""

RESTARTABLE = frozenset(
    {InvocationState.FAILED, InvocationState.CANCELLED, InvocationState.TERMINATED}
)
"""Ends after which "new_generation_if_failed" gives the id another generation."""

_STILL = TERMINAL | RESUMABLE
"""States in which a commit leaves what has ended, or does not go on by itself."""

_ALWAYS_DUE = frozenset({InvocationState.READY, InvocationState.RUNNING})
"""States in which a row is claimable, or will be by time alone."""


def looks_at_due_rows(query: InvocationQuery) -> bool:
    """Whether all that a query asks for is found among the rows that are due at some time."""
    return query.parent is None and bool(query.states) and _ALWAYS_DUE.issuperset(query.states)


def top_of(new: NewInvocation) -> InvocationKey:
    """The root of what a start makes, if its id is new."""
    return new.root or InvocationKey(new.invocation_id, FIRST_GENERATION)


def check_claim(new: NewInvocation, claim: StartClaim | None) -> None:
    """Refuse what only a bug of ours could ask.

    Raises:
        InternalError: a claim of what is delayed, or a token of the wrong length.
    """
    if claim is None:
        return
    if new.delay:
        _bug(repr(new.invocation_id), f"a claim of what is delayed by {new.delay} microseconds")
    if len(claim.token) != TOKEN_BYTES:
        _bug(
            repr(new.invocation_id),
            f"a claim with a token of {len(claim.token)} bytes, expected {TOKEN_BYTES}",
        )


def first_record(
    new: NewInvocation,
    generation: int,
    store_id: bytes,
    now: int,
    claim: StartClaim | None = None,
) -> InvocationRecord:
    """The row of a fresh invocation: READY, epoch 0, an empty journal; or claimed at once."""
    key = InvocationKey(new.invocation_id, generation)
    record = InvocationRecord(
        key=key,
        app=new.app,
        kind=new.kind,
        name=new.name,
        arguments=new.arguments,
        fingerprint=new.fingerprint,
        call_id=new.call_id,
        parent=new.parent,
        root=new.root or key,
        workflow=key if new.kind == "workflow" else new.workflow,
        queue=new.queue,
        limit_key=new.limit_key,
        priority=new.priority,
        options=new.options,
        code_version=new.code_version,
        seed=derive_seed(store_id, new.app, new.name, new.invocation_id, generation),
        draw_algorithm=ALGORITHM,
        segment=FIRST_SEGMENT,
        state=InvocationState.READY,
        epoch=0,
        owner="",
        lease_until=None,
        wake_at=now + new.delay if new.delay else None,
        head=0,
        head_hash=b"",
        last_token=b"",
        attempts=0,
        crashes=0,
        base_time=None,
        created_at=now,
        finished_at=None,
        outcome=None,
        reason="",
    )
    if claim is None:
        return record
    return msgspec.structs.replace(
        record,
        state=InvocationState.RUNNING,
        epoch=FIRST_EPOCH,
        owner=claim.owner,
        lease_until=now + claim.lease,
        last_token=claim.token,
        base_time=now,
    )


def check_transition(transition: Transition) -> None:
    """Refuse what only a bug of ours could ask.

    Raises:
        InternalError: a token of the wrong length, entries that do not continue the head, an end
            that is not terminal, or a stop that nobody could resume. Nothing was written.
    """
    for position, entry in enumerate(transition.entries, transition.head):
        if entry.position != position:
            found = f"an entry at position {entry.position}, expected {position}"
            _bug(_named(transition.key), found)
    check_settling(transition.key, transition.token, transition.disposition)


def check_settling(key: InvocationKey, token: bytes, disposition: Disposition | None) -> None:
    """The same for what a commit and `Backend.seize` have in common.

    Raises:
        InternalError: as `check_transition`.
    """
    if len(token) != TOKEN_BYTES:
        _bug(_named(key), f"a token of {len(token)} bytes, expected {TOKEN_BYTES}")
    match disposition:
        case Finish(state=state) if state not in TERMINAL:
            _bug(_named(key), f"an end in {state.value!r}, which is not terminal")
        case Stop(state=state) if state not in RESUMABLE:
            found = f"a stop in {state.value!r}, expected 'paused', 'parked' or 'dead'"
            _bug(_named(key), found)
        case _:
            pass


def raised_counter(put: RegisterPut, stored: bytes | None) -> tuple[str, bytes] | None:
    """The counter key and its new value, or None when it stays as it is."""
    if put.counter is None:
        return None
    key, value = put.counter
    if stored is not None and int(stored) >= value:
        return None
    return key, str(value).encode()


def _named(key: InvocationKey) -> str:
    return f"{key.invocation_id!r} (generation {key.generation})"


def _bug(what: str, found: str) -> None:
    raise InternalError(
        f"A call for {what} brings {found}. Nothing was written. Please report this with the "
        "traceback."
    )


def hint_of(transitions: Sequence[Transition], results: Sequence[CommitResult]) -> Hint:
    """What others may wait for of what was committed: what is claimable, ends, and what is read."""
    hint = NOTHING
    for asked, result in zip(transitions, results, strict=True):
        if not isinstance(result, Committed):
            continue
        is_read = result.state in _STILL
        for entry in asked.entries:
            is_read = is_read or entry.kind in READ_OUTSIDE
        if is_read:
            hint |= slot_of(asked.key.invocation_id)
        for key in result.touched:
            hint |= CLAIMABLE | slot_of(key.invocation_id)
    return hint
