"""The sequential model of one invocation, the workflow it is of, and how a client asks it.

The workflow receives so many words, one after the other, and gives them as its result. The model
knows all that a client may see of it; what the workflow and its workers do by themselves is what
may happen between two calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple

from perdure.api.receiving import receive
from perdure.app import Perdure
from perdure.core.lifecycle import InvocationState
from perdure.errors import (
    InvocationCancelled,
    InvocationEnded,
    InvocationNotFound,
    ResultTimeout,
    StartConflict,
)
from perdure.testing.linearizability.history import Call

MESSAGE = "word"
"""Name of the message that the workflow receives."""
PATIENCE = 0.01
"""Seconds that a client waits for a result, unless it is told otherwise."""

Phase = Literal["absent", "live", "paused", "completed", "cancelled", "terminated"]
_ENDS = frozenset({"completed", "cancelled", "terminated"})
_SHOWN: dict[InvocationState, Phase] = {
    InvocationState.PAUSED: "paused",
    InvocationState.COMPLETED: "completed",
    InvocationState.CANCELLED: "cancelled",
    InvocationState.TERMINATED: "terminated",
}


def receive_words(wanted: int) -> list[str]:
    """The body of the workflow: register it as `app.workflow(receive_words)`."""
    return [receive(MESSAGE, str) for _ in range(wanted)]


# --- clients ------------------------------------------------------------------------------------


def start(app: Perdure, name: str, id_: str, wanted: str) -> str:
    """Ask for the start of `id_`; what the model calls "start", given `wanted`."""
    try:
        app.named(name).options(id=id_).start(int(wanted))
    except StartConflict:
        return "conflict"
    return "ok"


def ask(app: Perdure, id_: str, name: str, given: str = "") -> str:
    """Ask one thing of an invocation, and say in the words of the model what was answered.

    Args:
        name: "send" (given "id=word"), "cancel", "terminate", "pause", "resume", "status" or
            "result" (given seconds to wait, or "").
    """
    try:
        return _ASKED[name](app.invocation(id_), given)
    except InvocationNotFound:
        return "missing"
    except InvocationEnded:
        return "ended"


def _send(invocation: Any, given: str) -> str:
    id_, _, word = given.partition("=")
    invocation.send(MESSAGE, word, id=id_)
    return "ok"


def _result(invocation: Any, given: str) -> str:
    try:
        return " ".join(invocation.result(float(given or PATIENCE)))
    except ResultTimeout:
        return "timeout"
    except InvocationCancelled:
        return "no result"


def _done(act: Callable[[Any], object]) -> Callable[[Any, str], str]:
    def ask_it(invocation: Any, given: str) -> str:
        del given
        act(invocation)
        return "ok"

    return ask_it


_ASKED: dict[str, Callable[[Any, str], str]] = {
    "send": _send,
    "cancel": _done(lambda invocation: invocation.cancel()),
    "terminate": _done(lambda invocation: invocation.terminate()),
    "pause": _done(lambda invocation: invocation.pause()),
    "resume": lambda invocation, _: "yes" if invocation.resume() else "no",
    "status": lambda invocation, _: _SHOWN.get(invocation.status, "live"),
    "result": _result,
}


# --- the model ----------------------------------------------------------------------------------


class State(NamedTuple):
    """One invocation as its clients may know it.

    Attributes:
        wanted: words that it was started for.
        ids: of the messages that were accepted.
        words: in the order in which they were accepted.
        before_cancel: how many words came before the first request to cancel; None without one.
        pausing: whether it was asked to pause, and has not looked yet.
    """

    phase: Phase = "absent"
    wanted: str = ""
    ids: frozenset[str] = frozenset()
    words: tuple[str, ...] = ()
    before_cancel: int | None = None
    pausing: bool = False

    @property
    def result(self) -> tuple[str, ...] | None:
        """What it may end with by now, or None."""
        heard = self.words if self.before_cancel is None else self.words[: self.before_cancel]
        wanted = int(self.wanted)
        return heard[:wanted] if len(heard) >= wanted else None


class InvocationModel:
    """What one invocation of `receive_words` answers."""

    def first(self) -> State:
        """Nobody has started it."""
        return State()

    def by_itself(self, state: State) -> Iterable[State]:
        """It comes to its end, or notices that it shall pause."""
        if state.phase != "live":
            return
        if state.result is not None:
            yield state._replace(phase="completed", pausing=False)
        if state.before_cancel is not None:
            yield state._replace(phase="cancelled", pausing=False)
        if state.pausing:
            yield state._replace(phase="paused", pausing=False)

    def after(self, state: State, call: Call) -> Iterable[State]:
        """See `Model.after`."""
        if call.name == "start":
            found = _start(state, call.given)
        elif state.phase == "absent":
            found = [("missing", state)]
        else:
            found = _ANSWERS[call.name](state, call)
        return [after for answer, after in found if call.answer in {None, answer}]


_Answers = list[tuple[str, State]]
"""What may be answered, each with the state after it."""


def _start(state: State, wanted: str) -> _Answers:
    if state.phase == "absent":
        return [("ok", State("live", wanted))]
    return [("ok" if state.wanted == wanted else "conflict", state)]


def _sent(state: State, call: Call) -> _Answers:
    id_, _, word = call.given.partition("=")
    if id_ in state.ids:
        return [("ok", state)]
    if state.phase in _ENDS:
        return [("ended", state)]
    return [("ok", state._replace(ids=state.ids | {id_}, words=(*state.words, word)))]


def _cancelled(state: State, _: Call) -> _Answers:
    if state.phase == "cancelled":
        return [("ok", state)]
    if state.phase in _ENDS:
        return [("ended" if state.before_cancel is None else "ok", state)]
    asked = state
    if state.before_cancel is None:
        asked = state._replace(before_cancel=len(state.words))
    at_once = asked._replace(phase="cancelled", pausing=False)  # if nobody has begun it
    return [("ok", asked), ("ok", at_once)]


def _terminated(state: State, _: Call) -> _Answers:
    if state.phase in {"completed", "cancelled"}:
        return [("ended", state)]
    return [("ok", state._replace(phase="terminated", pausing=False))]


def _paused(state: State, _: Call) -> _Answers:
    if state.phase in _ENDS:
        return [("ended", state)]
    if state.phase == "paused":
        return [("ok", state)]
    return [
        ("ok", state._replace(phase="paused", pausing=False)),
        ("ok", state._replace(pausing=True)),
    ]


def _resumed(state: State, _: Call) -> _Answers:
    if state.phase == "paused":
        return [("yes", state._replace(phase="live"))]
    return [("no", state)]


def _status(state: State, _: Call) -> _Answers:
    return [(state.phase, state)]


def _ended(state: State, _: Call) -> _Answers:
    if state.phase == "completed":
        return [(" ".join(state.result or ()), state)]
    return [("no result" if state.phase in _ENDS else "timeout", state)]


_ANSWERS: dict[str, Callable[[State, Call], _Answers]] = {
    "send": _sent,
    "cancel": _cancelled,
    "terminate": _terminated,
    "pause": _paused,
    "resume": _resumed,
    "status": _status,
    "result": _ended,
}
