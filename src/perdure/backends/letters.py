"""What comes for a workflow from outside of it: letters, and what became of one that was sent."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

import msgspec

from perdure.core.identity import InvocationKey


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """Something for one live invocation. Its owner delivers it, in the order of the inbox.

    Attributes:
        kind: what the owner does with it, such as "message"; see `perdure.engine.inbox`.
        name: of the message.
        letter_id: an invocation accepts one letter with this id, however often it is sent.
        body: encoded value, JSON text.
    """

    kind: str
    name: str
    letter_id: str
    body: bytes = b"null"


class Sent(StrEnum):
    """What became of a letter. Only `ACCEPTED` changed anything."""

    ACCEPTED = "accepted"
    """It is in the inbox, and will be delivered."""
    REPEATED = "repeated"
    """One with this id was accepted before, and this one is not needed."""
    ENDED = "ended"
    """The invocation has reached a terminal state: nobody would read it."""
    MISSING = "missing"
    """There is no such invocation."""


class InboxRow(NamedTuple):
    """Something others have for a workflow. Rows are read in `row_id` order.

    Attributes:
        kind: "done" (a watched invocation ended; `source` names it), or the kind of a letter.
        source: `NOBODY` for a letter, and `letter` is what was sent.
    """

    row_id: int
    kind: str
    source: InvocationKey
    letter: Letter | None = None


NOBODY = InvocationKey("", 0)
"""The source of a letter: who sent it does not matter."""
