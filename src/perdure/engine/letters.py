"""The kinds of letters, and why one is refused."""

from __future__ import annotations

from perdure.backends.base import InvocationRecord
from perdure.backends.letters import Letter, Sent
from perdure.core.identity import InvocationKey
from perdure.engine.committer import until_known
from perdure.engine.runtime import Runtime
from perdure.errors import (
    InvocationEnded,
    InvocationNotFound,
    OperationRefused,
    PerdureError,
    Superseded,
)

OWN_IDS = "perdure:"
"""How the ids of letters begin that are not a user's."""
MESSAGE = "message"
"""A letter that `wf.receive` takes."""
UPDATE = "update"
"""A letter that `wf.receive_update` takes and answers."""
CANCEL = "cancel"
"""A letter that makes what waits raise `Cancelled`; its body is a `Cancellation`."""
PAUSE = "pause"
"""A letter that stops the workflow until it is resumed; it is no part of the journal."""

CYCLE = "cycle"
"""A letter that ends a wait which could never end; its name is whom it waits for."""


def send(runtime: Runtime, key: InvocationKey, letter: Letter) -> Sent:
    """Send a letter in a transaction of its own, until its outcome is known.

    Raises:
        CommitUnknown: it may be sent; sending it again with the same id is safe.
        BackendError: nothing was sent.
    """
    sent = until_known(lambda: runtime.backend.send(key, letter))
    if sent is Sent.ACCEPTED:
        runtime.hub.touched((key,))
    return sent


def refusal(
    key: InvocationKey, found: InvocationRecord | None, letter: Letter, sent: Sent | None = None
) -> PerdureError | None:
    """Why a letter does not reach `key`; None if it may be sent, or was.

    Args:
        found: the latest record of the id.
        sent: what became of it, once it was sent.
    """
    if found is None or found.key.generation < key.generation or sent is Sent.MISSING:
        return InvocationNotFound(
            f"There is no invocation {key.invocation_id!r} (generation {key.generation}) to send "
            f"{letter.name!r} to. Is it the right database, and was it started?"
        )
    if found.key != key and sent is Sent.ENDED:  # asked first: it may have been accepted before
        return Superseded(
            f"{letter.name!r} was for generation {key.generation} of {key.invocation_id!r}; the "
            f"latest is {found.key.generation}. Get a new handle by its id."
        )
    if found.kind != "workflow":
        return OperationRefused(
            f"{letter.name!r} was sent to {key.invocation_id!r}, which is a task ({found.name!r}). "
            "Only workflows receive messages."
        )
    if sent is Sent.ENDED:
        return InvocationEnded(
            f"Workflow {key.invocation_id!r} has ended ({found.state}), so nobody would read "
            f"{letter.name!r}. Nothing was sent."
        )
    return None
