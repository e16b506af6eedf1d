"""Cancelling, terminating and pausing invocations from outside of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import msgspec

from perdure.backends.base import (
    Committed,
    Finish,
    InvocationQuery,
    InvocationRecord,
    Stop,
)
from perdure.backends.endings import deadline_of
from perdure.backends.letters import Letter, Sent
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import RESUMABLE, TERMINAL, InvocationState
from perdure.engine import letters
from perdure.engine.cancellation import Cancellation, ControlName, at_deadline
from perdure.engine.committer import until_known
from perdure.engine.outcome import ended_as, outcome_token
from perdure.engine.runtime import Runtime
from perdure.errors import (
    Cancelled,
    InvocationEnded,
    InvocationNotFound,
    OperationRefused,
)

PAGE = 100
LIVE = tuple(state for state in InvocationState if state not in TERMINAL)
TOKEN_BYTES = 16


def cancel(runtime: Runtime, key: InvocationKey, asked: Cancellation) -> None:
    """Ask a workflow to end, or end a task. What has been asked before changes nothing more.

    A workflow that nobody has begun ends at once, for there is nothing to clean up.

    Raises:
        InvocationEnded, InvocationNotFound: there is nothing to cancel.
    """
    record = _found(runtime, key)
    if record.state is InvocationState.CANCELLED:
        return
    if record.kind == "task":
        _end_or_refuse(runtime, record, InvocationState.CANCELLED, asked.reason)
        return
    ended = InvocationState.CANCELLED
    if record.epoch == 0 and end(runtime, record, ended, asked.reason, as_it_is=True):
        return
    body = msgspec.json.encode(asked)
    letter = Letter(
        kind=letters.CANCEL, name="cancel", letter_id=f"{letters.OWN_IDS}cancel", body=body
    )
    if letters.send(runtime, key, letter) is Sent.ENDED:
        _refuse_unless(runtime, key, InvocationState.CANCELLED)


def cancel_children(runtime: Runtime, key: InvocationKey, asked: Cancellation) -> None:
    """Cancel what `key` has started and what has not ended."""
    for child in live_children(runtime, key):
        try:
            cancel(runtime, child, asked)
        except InvocationEnded:
            continue


def terminate(runtime: Runtime, key: InvocationKey, asked: Cancellation) -> None:
    """End it here and now; its code learns nothing of it, and nothing it gives is recorded.

    Asked again after a crash, it goes on with the children.

    Raises:
        InvocationEnded: it has ended in another way.
        InvocationNotFound: there is none.
    """
    _end_or_refuse(runtime, _found(runtime, key), InvocationState.TERMINATED, asked.reason)
    if asked.children:
        for child in live_children(runtime, key):
            try:
                terminate(runtime, child, asked)
            except InvocationEnded:
                continue


def pause(runtime: Runtime, key: InvocationKey) -> None:
    """Stop a workflow until it is resumed: at once if nobody runs it, else when no body runs.

    Raises:
        InvocationEnded, InvocationNotFound: there is nothing to pause.
        OperationRefused: it is a task.
    """
    while not _paused(runtime, _found(runtime, key)):
        continue  # it was claimed meanwhile, or settled


def _paused(runtime: Runtime, record: InvocationRecord) -> bool:
    """Pause it, or ask it to; False if it stands otherwise by now."""
    key = record.key
    _refuse_ended(record)
    if record.kind == "task":
        raise OperationRefused(
            f"{key.invocation_id!r} is a task ({record.name!r}), which runs as a whole. Pause the "
            "workflow, or cancel the task."
        )
    if record.state is InvocationState.PAUSED:
        return True
    if record.epoch == 0 and record.wake_at is not None:
        raise OperationRefused(
            f"Workflow {key.invocation_id!r} begins later (delay=) and has done nothing yet; a "
            "pause would lose when. Cancel it, and start it again when it is wanted."
        )
    if record.state in {InvocationState.READY, InvocationState.WAITING}:
        return _settle(runtime, record, Stop(InvocationState.PAUSED, ""), as_it_is=True)
    # One for each claim: asked twice before it is made, it is one pause, and one resume ends it.
    letter_id = f"{letters.OWN_IDS}pause:{record.epoch}"
    letter = Letter(kind=letters.PAUSE, name="pause", letter_id=letter_id)
    return letters.send(runtime, key, letter) is not Sent.ENDED


def resume(runtime: Runtime, key: InvocationKey) -> bool:
    """Let go on what was paused or stopped; False if it was not, or another was first.

    Raises:
        CommitUnknown: it may go on; asking again is safe.
    """
    record = runtime.backend.read(*key)
    if record is None or record.state not in RESUMABLE:
        return False
    tries = 0

    def try_it() -> bool:
        nonlocal tries
        tries += 1
        return runtime.backend.resume(key)

    # After an unknown outcome it may well have been an earlier try of ours that was first.
    resumed = until_known(try_it) or tries > 1
    if resumed:
        runtime.hub.touched((key,))
    return resumed


def end(
    runtime: Runtime,
    record: InvocationRecord,
    state: InvocationState,
    reason: str,
    *,
    as_it_is: bool = False,
) -> bool:
    """Put a live invocation into a terminal state from outside; False if it had ended.

    Args:
        as_it_is: only if nobody has claimed or settled it since `record` was read.
    """
    text = ended_as(record.key, state, reason)
    finish = Finish(state, runtime.bodies.raised(Cancelled(text)).body)
    return _settle(runtime, record, finish, as_it_is=as_it_is)


def _end_or_refuse(
    runtime: Runtime, record: InvocationRecord, state: InvocationState, reason: str
) -> None:
    if not end(runtime, record, state, reason):
        _refuse_unless(runtime, record.key, state)


def _refuse_unless(runtime: Runtime, key: InvocationKey, state: InvocationState) -> None:
    """Refuse what has ended, unless it ended as it was asked to."""
    record = _found(runtime, key)
    if record.state is not state:
        raise _ended(record)


def end_with(runtime: Runtime, record: InvocationRecord, finish: Finish) -> bool:
    """End a live invocation from outside with this outcome; False if it had ended with another.

    Raises:
        CommitUnknown: it may have ended so; asking again is safe.
    """
    return _settle(runtime, record, finish)


def end_late(runtime: Runtime, record: InvocationRecord) -> bool:
    """Cancel a workflow that nobody has begun, for its deadline; False if somebody has by now."""
    deadline = deadline_of(record.options, record.created_at)
    signal = at_deadline(deadline or record.created_at).signal()
    finish = Finish(InvocationState.CANCELLED, runtime.bodies.raised(signal).body)
    return _settle(runtime, record, finish, as_it_is=True)


def _settle(
    runtime: Runtime,
    record: InvocationRecord,
    disposition: Finish | Stop,
    *,
    as_it_is: bool = False,
) -> bool:
    """Take it from whoever has it and settle it, in one transaction; False as `end` says."""
    key, now = record.key, record
    while now.state not in TERMINAL:
        token = _token(runtime, now, disposition)
        seize = partial(runtime.backend.seize, key, now.epoch, token, disposition)
        result = until_known(seize)
        if isinstance(result, Committed):
            runtime.hub.touched(result.touched)
            runtime.hub.ended(key)
            return True
        found = runtime.backend.read(*key, locked=True)
        if found is not None and found.last_token == token:  # an open outcome was good
            runtime.hub.touched((key,))
            return True
        if found is None or as_it_is:
            return False
        now = found
    return False


def _token(runtime: Runtime, now: InvocationRecord, disposition: Finish | Stop) -> bytes:
    if isinstance(disposition, Finish):
        return outcome_token(now.key, now.epoch + 1, disposition)
    return runtime.env.entropy(TOKEN_BYTES)


def live_children(runtime: Runtime, key: InvocationKey) -> list[InvocationKey]:
    """What `key` has started and what has not ended, newest first."""
    app, found = runtime.app_name, list[InvocationKey]()
    while True:
        after = found[-1] if found else None
        query = InvocationQuery(app=app, parent=key, states=LIVE, limit=PAGE, after=after)
        page = runtime.backend.query(query)
        found += [record.key for record in page]
        if len(page) < PAGE:
            return found


def _found(runtime: Runtime, key: InvocationKey) -> InvocationRecord:
    record = runtime.backend.read(*key)
    if record is None:
        raise InvocationNotFound(
            f"There is no invocation {key.invocation_id!r} (generation {key.generation}) in this "
            "state backend. Is it the right database, and was it started?"
        )
    return record


def _refuse_ended(record: InvocationRecord) -> None:
    if record.state in TERMINAL:
        raise _ended(record)


def _ended(record: InvocationRecord) -> InvocationEnded:
    return InvocationEnded(
        f"Invocation {record.key.invocation_id!r} has ended ({record.state}); that never changes."
    )


CONTROLS: dict[ControlName, Callable[[Runtime, InvocationKey, Cancellation], None]] = {
    "cancel": cancel,
    "terminate": terminate,
}
"""What one invocation may do to another, by name."""
