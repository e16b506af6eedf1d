"""Whether what clients were answered can be told as one story, one call after the other.

Clients write down each call with when it began and when its answer came (`ClientHistory`). `check`
looks for an order of the calls that keeps to those times and in which a sequential `Model` would
have given every answer. `InvocationModel` is the model of one invocation of this library.

    history = ClientHistory()
    history.call("client 1", "send", "m1=hello", lambda: ask(app, "w", "send", "m1=hello"))
    assert check(history.calls(), InvocationModel()).holds
"""

from __future__ import annotations

from perdure.testing.linearizability.checker import Model, Verdict, check
from perdure.testing.linearizability.history import Call, ClientHistory
from perdure.testing.linearizability.invocations import (
    InvocationModel,
    ask,
    receive_words,
    start,
)

__all__ = [
    "Call",
    "ClientHistory",
    "InvocationModel",
    "Model",
    "Verdict",
    "ask",
    "check",
    "receive_words",
    "start",
]
