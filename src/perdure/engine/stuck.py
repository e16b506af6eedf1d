"""Finds workflows that nothing can wake: of itself, or because they wait for one another.

A cycle is looked for by each workflow that has nothing else to do: it reads whether those it waits
for are suspended, and whom they wait for. Who sees all others so ends its wait in its own journal.
It looks once more after its suspension, for others may be suspended at the same moment: each
writes before it reads, so one of them sees the rest, and tells itself by a letter. What makes
progress is asked for no more than one row each time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from perdure.backends.base import InvocationRecord
from perdure.backends.letters import Letter, Sent
from perdure.core.entries import Entry, EntryKind
from perdure.core.identity import InvocationKey
from perdure.core.journal import Draft
from perdure.core.lifecycle import InvocationState
from perdure.engine.letters import CYCLE, OWN_IDS, send
from perdure.engine.outcome import invocation_body, read_body
from perdure.engine.runtime import Runtime, logger
from perdure.errors import BackendError, JournalCorrupted, WaitCycle, WorkflowStuck

MEMBERS_MAX = 100
"""Workflows that are looked at for one; a cycle of more is not found."""

_MESSAGES = frozenset({EntryKind.MESSAGE, EntryKind.UPDATE})
_KNOWN = (
    frozenset(
        {
            EntryKind.RECORD,
            EntryKind.DATA,
            EntryKind.PUBLISH,
            EntryKind.START,
            EntryKind.SEND,
            EntryKind.COMPENSATE,
            EntryKind.ANSWER,
            EntryKind.TASK,
            EntryKind.DROPPED,
            EntryKind.SLEEP,
            EntryKind.DRAWS,
            EntryKind.MEMO,
            EntryKind.FIRED,
            EntryKind.END,
            EntryKind.CANCEL,
            EntryKind.BEGAN,
            EntryKind.UNBEGUN,
            EntryKind.ATTEMPT,
            EntryKind.WATCH,
            EntryKind.DONE,
            EntryKind.RECEIVE,
        }
    )
    | _MESSAGES
)
"""Of other kinds, which a newer version may write, it is not known what they wait for. (Nobody
waits for a timer where none is set.)"""


class _Awaited(NamedTuple):
    """Who is waited for, and which of a workflow's own waits led there."""

    key: InvocationKey
    path: tuple[InvocationKey, ...]


def by_itself(key: InvocationKey) -> WorkflowStuck:
    """Why a workflow is parked that waits for nothing that could come."""
    return WorkflowStuck(
        f"Workflow {key.invocation_id!r} waits for something that nothing can bring: no timer, "
        "task or invocation is under way. Look for an asyncio lock, event, queue or future that "
        "only this workflow itself could release."
    )


def end_of_cycle(
    runtime: Runtime, key: InvocationKey, awaited: Iterable[InvocationKey], now: int
) -> Draft | None:
    """Before a suspension without a timer: the end of a wait, if all the others are suspended.

    Args:
        awaited: whose ends are all that can wake it.
    """
    try:
        path = _cycle(runtime, key, awaited)
    except BackendError as error:
        logger.warning("it was not found out whether %s waits for itself: %s", key, error)
        return None
    if path is None:
        return None
    logger.warning("%s waits for itself: %s", key, _told(path))
    body = _delivery(runtime, path)
    return Draft(EntryKind.DONE, "", 0, CYCLE, path[0].invocation_id, b"", body, b"{}", now)


def look_for_cycle(
    runtime: Runtime, record: InvocationRecord, head: int, awaited: Iterable[InvocationKey]
) -> None:
    """After a suspension without a timer: the same, for one whose others were suspended meanwhile.

    The workflow is told by a letter. A crash before it is sent leaves the cycle as it is.

    Args:
        head: length of its journal, which tells this suspension from others.
        awaited: whose ends are all that can wake it.
    """
    try:
        path = _cycle(runtime, record.key, awaited)
        if path is None:
            return
        name = path[0].invocation_id
        told = f"{OWN_IDS}cycle:{path[0].generation}:{head}:{name}"
        letter = Letter(kind=CYCLE, name=name, letter_id=told, body=_delivery(runtime, path))
        if send(runtime, record.key, letter) is Sent.ACCEPTED:
            logger.warning("%s waits for itself: %s", record.key, _told(path))
    except BackendError as error:
        logger.warning("it was not found out whether %s waits for itself: %s", record.key, error)


def draft_of(letter: Letter, now: int) -> Draft:
    """The delivery that such a letter is: the wait ends with an error."""
    return Draft(EntryKind.DONE, "", 0, CYCLE, letter.name, b"", letter.body, b"{}", now)


def _cycle(
    runtime: Runtime, me: InvocationKey, awaited: Iterable[InvocationKey]
) -> tuple[InvocationKey, ...] | None:
    """From who is waited for back to `me`; None unless every way of waking it leads back."""
    found: tuple[InvocationKey, ...] | None = None
    ahead = [_Awaited(key, (key,)) for key in awaited]
    seen: set[InvocationKey] = set()
    while ahead:
        key, path = ahead.pop()
        if key == me:
            found = path
        elif key not in seen:
            seen.add(key)
            below = _whom_it_awaits(runtime, key)
            if below is None or len(seen) > MEMBERS_MAX:
                return None
            ahead += [_Awaited(each, (*path, each)) for each in below]
    return found


def _whom_it_awaits(runtime: Runtime, key: InvocationKey) -> set[InvocationKey] | None:
    """Whose ends are all that can wake this one; None if something else can."""
    record = runtime.backend.read(*key)
    if (
        record is None
        or record.kind != "workflow"
        or record.state is not InvocationState.WAITING
        or record.wake_at is not None
    ):
        return None
    try:
        return open_waits(runtime.backend.read_journal(key)) or None
    except JournalCorrupted:
        return None  # its own attempt finds that out; whoever waits for it is not to be parked


def open_waits(entries: Sequence[Entry]) -> set[InvocationKey]:
    """Whose ends a suspended workflow without a timer waits for; empty if for something else too.

    A wait that was given up counts where its branch goes on. That errs on the safe side.
    """
    if _waits_for_messages(entries) or any(entry.kind not in _KNOWN for entry in entries):
        return set()
    waits: dict[InvocationKey, set[str]] = {}
    for entry in entries:
        if entry.kind in (EntryKind.WATCH, EntryKind.DONE):
            members = read_body(entry.body)
            key = InvocationKey(members.id, members.generation)
            if entry.kind == EntryKind.DONE:
                waits.pop(key, None)
            elif not members.error:  # else there was nothing to wait for
                waits.setdefault(key, set()).add(entry.scope)
        elif entry.kind == EntryKind.END:
            for scopes in waits.values():
                scopes.discard(entry.scope)
    return {key for key, scopes in waits.items() if scopes}


def _waits_for_messages(entries: Sequence[Entry]) -> bool:
    """Whether more messages of some name were asked for than came."""
    asked = Counter(entry.name for entry in entries if entry.kind == EntryKind.RECEIVE)
    came = Counter(entry.name for entry in entries if entry.kind in _MESSAGES)
    return bool(asked - came)


def _told(path: tuple[InvocationKey, ...]) -> str:
    return ", which waits for ".join(repr(key.invocation_id) for key in path)


def _delivery(runtime: Runtime, path: tuple[InvocationKey, ...]) -> bytes:
    error = WaitCycle(
        f"Workflow {path[-1].invocation_id!r} waits for the end of {_told(path)}. None of them "
        "could ever end, so this wait was given up. Let one of them go on without the result of "
        "the other, or wait with a timeout=."
    )
    raised = runtime.bodies.raised(error).body
    return invocation_body(path[0])[:-1] + b',"error":' + raised + b"}"
