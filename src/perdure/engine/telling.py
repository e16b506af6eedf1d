"""How heartbeats get from a body to their keeper, also from a process that was made for bodies.

There the body asks through the pipe of its process, and whoever waits for it answers: it has the
lease, and keeps what the body tells.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal

import msgspec

from perdure.engine.context import TaskContext
from perdure.errors import BackendError, BackendUnavailable, PerdureError

logger = logging.getLogger("perdure.engine")


def tell(context: TaskContext) -> None:
    """Make what a body told last durable, and learn whether its attempt counts still.

    What the state backend cannot do now is done with a later heartbeat.
    """
    pulse = context.pulse
    if pulse is None or context.lost:
        return
    try:
        context.lost = pulse.tell()
    except BackendError as error:
        logger.info("a heartbeat of %s was not recorded: %s", context.invocation, error)


class Question(msgspec.Struct, frozen=True):
    """A body tells a heartbeat, with these details if there are any, or wants the newest ones."""

    kind: Literal["tell", "load"]
    details: bytes | None = None


class Answer(msgspec.Struct, frozen=True):
    """What it is told.

    Attributes:
        lost: why its attempt counts no more, or "".
        details: the newest ones, if it asked for them.
        failure: why they could not be had.
    """

    lost: str = ""
    details: bytes | None = None
    failure: str = ""


Ask = Callable[[bytes], bytes]
"""Sends a question and gives the answer, both encoded."""

_encode = msgspec.msgpack.Encoder().encode
_decode_question = msgspec.msgpack.Decoder(Question).decode
_decode_answer = msgspec.msgpack.Decoder(Answer).decode


class AskingKeeper:
    """A `Keeper` in the process of the body."""

    def __init__(self, ask: Ask) -> None:
        """Ask by this."""
        self._ask = ask

    def tell(self, details: bytes | None) -> str:
        """See `Keeper.tell`."""
        return _decode_answer(self._ask(_encode(Question("tell", details)))).lost

    def load(self) -> bytes | None:
        """See `Keeper.load`."""
        answer = _decode_answer(self._ask(_encode(Question("load"))))
        if answer.failure:
            raise BackendUnavailable(answer.failure)
        return answer.details


def refusal(lost: str) -> bytes:
    """The answer to a question that comes from nobody who may ask."""
    return _encode(Answer(lost))


def answer(context: TaskContext, question: bytes) -> bytes:
    """Answer a body, where its lease is; never raises."""
    asked = _decode_question(question)
    pulse = context.pulse
    if pulse is None:
        return refusal("nobody keeps its heartbeats")
    if asked.kind == "load":
        try:
            return _encode(Answer(details=pulse.details()))
        except PerdureError as error:
            return _encode(Answer(failure=str(error)))
    if pulse.beat(asked.details):
        tell(context)
    return _encode(Answer(context.lost))
