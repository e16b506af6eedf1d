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
    Transition,
)
from perdure.backends.letters import Letter, Sent
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import TERMINAL, InvocationState
from perdure.engine import letters
from perdure.engine.cancellation import Cancellation, ControlName
from perdure.engine.committer import until_known
from perdure.engine.effects import ControlNow, SendNow
from perdure.engine.outcome import outcome_token
from perdure.engine.runtime import Runtime
from perdure.errors import (
    Cancelled,
    CommitUnknown,
    InvocationEnded,
    InvocationNotFound,
    OperationRefused,
)

LEASE = 10_000_000
"""Microseconds until somebody else goes on, should this process die between its two steps."""
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
        _refuse_ended(record)
        end(runtime, key, InvocationState.CANCELLED, asked.reason)
        return
    if record.epoch == 0 and end(runtime, key, InvocationState.CANCELLED, asked.reason, epoch=0):
        return
    body = msgspec.json.encode(asked)
    letter = Letter(
        kind=letters.CANCEL, name="cancel", letter_id=f"{letters.OWN_IDS}cancel", body=body
    )
    if letters.send(runtime, key, letter) is Sent.ENDED:
        raise _ended(key, record)


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
    record = _found(runtime, key)
    if not end(runtime, key, InvocationState.TERMINATED, asked.reason):
        record = _found(runtime, key)
        if record.state is not InvocationState.TERMINATED:
            raise _ended(key, record)
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
    record = _found(runtime, key)
    _refuse_ended(record)
    if record.kind == "task":
        raise OperationRefused(
            f"{key.invocation_id!r} is a task ({record.name!r}), which runs as a whole. Pause the "
            "workflow, or cancel the task."
        )
    if record.state is InvocationState.PAUSED:
        return
    if record.epoch == 0 and record.wake_at is not None:
        raise OperationRefused(
            f"Workflow {key.invocation_id!r} begins later (delay=) and has done nothing yet; a "
            "pause would lose when. Cancel it, and start it again when it is wanted."
        )
    if record.state in {InvocationState.READY, InvocationState.WAITING}:
        stop = Stop(InvocationState.PAUSED, "")
        if _settle(runtime, key, stop, record.epoch):
            return
    # One for each claim: asked twice before it is made, it is one pause, and one resume ends it.
    letter_id = f"{letters.OWN_IDS}pause:{record.epoch}"
    letters.send(runtime, key, Letter(kind=letters.PAUSE, name="pause", letter_id=letter_id))


def end(
    runtime: Runtime,
    key: InvocationKey,
    state: InvocationState,
    reason: str,
    *,
    epoch: int | None = None,
) -> bool:
    """Put a live invocation into a terminal state from outside; False if it had ended.

    Args:
        epoch: only if it stands at this epoch.
    """
    text = f"Invocation {key.invocation_id!r} was {state.value}{f': {reason}' if reason else '.'}"
    outcome = runtime.bodies.raised(Cancelled(text)).body
    return _settle(runtime, key, Finish(state, outcome), epoch)


def end_with(runtime: Runtime, key: InvocationKey, finish: Finish) -> bool:
    """End a live invocation from outside with this outcome; False if it had ended with another.

    Raises:
        CommitUnknown: it may have ended so; asking again is safe.
    """
    return _settle(runtime, key, finish, None)


def _settle(
    runtime: Runtime, key: InvocationKey, disposition: Finish | Stop, epoch: int | None
) -> bool:
    """Take it and settle it. False if it has ended, or `epoch` is over."""
    owner = f"control:{runtime.env.new_id()}"
    while True:
        taken = until_known(partial(runtime.backend.seize, key, owner, LEASE, epoch))
        taken = taken or _taken_already(runtime, key, owner)
        if taken is None:
            return _is_settled(runtime, key, disposition)
        if _commit(runtime, taken, disposition):
            return True
        epoch = None if epoch is None else epoch + 1


def _taken_already(runtime: Runtime, key: InvocationKey, owner: str) -> InvocationRecord | None:
    """What an open outcome did take: asked again, its epoch was another."""
    now = runtime.backend.read(*key, locked=True)
    return now if now is not None and now.owner == owner else None


def _commit(runtime: Runtime, taken: InvocationRecord, disposition: Finish | Stop) -> bool:
    """Settle what was taken; False if it was taken away again."""
    token = runtime.env.entropy(TOKEN_BYTES)
    if isinstance(disposition, Finish):
        token = outcome_token(taken.key, taken.epoch, disposition)
    transition = Transition(
        key=taken.key, epoch=taken.epoch, head=taken.head, token=token, disposition=disposition
    )
    try:
        (result,) = runtime.backend.commit([transition])
    except CommitUnknown:
        now = runtime.backend.read(*taken.key, locked=True)
        return now is not None and now.last_token == token
    if isinstance(result, Committed):
        runtime.hub.touched(result.touched)
        runtime.hub.ended(taken.key)
        return True
    return False


def _is_settled(runtime: Runtime, key: InvocationKey, disposition: Finish | Stop) -> bool:
    """Whether what stands there now is ours: an open outcome of `_commit` may have been good."""
    now = runtime.backend.read(*key, locked=True)
    if now is None or not isinstance(disposition, Finish):
        return False
    return now.last_token == outcome_token(key, now.epoch, disposition)


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
        raise _ended(record.key, record)


def _ended(key: InvocationKey, record: InvocationRecord) -> InvocationEnded:
    return InvocationEnded(
        f"Invocation {key.invocation_id!r} has ended ({record.state}); that never changes."
    )


CONTROLS: dict[ControlName, Callable[[Runtime, InvocationKey, Cancellation], None]] = {
    "cancel": cancel,
    "terminate": terminate,
}
"""What one invocation may do to another, by name."""


def affect(runtime: Runtime, effect: SendNow | ControlNow) -> object:
    """Do to another invocation what an operation asks for; gives what it wants to know of it."""
    if isinstance(effect, SendNow):
        return letters.send(runtime, effect.key, effect.letter)
    try:
        CONTROLS[effect.what](runtime, effect.key, effect.asked)
    except (InvocationEnded, InvocationNotFound) as error:
        return error
    return None
