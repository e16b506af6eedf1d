"""Every operation of a workflow, written once, as a generator that yields what it wants done.

No operation here knows a clock, a thread, a loop or a store; `perdure.engine.drive` does what they
ask, for sync and async workflows alike. The rhythm is always the same: count and compare with the
journal, do what is new, stage what must be remembered, wait for one's turn.
"""

from __future__ import annotations

from perdure.engine.flows.controls import control
from perdure.engine.flows.invocations import execute_task, start
from perdure.engine.flows.messages import (
    TIMED_OUT,
    answer,
    receive,
    receive_update,
    send,
    timed_out,
)
from perdure.engine.flows.place import MICROSECONDS, DecodeResult, Place
from perdure.engine.flows.records import publish, record, set_data
from perdure.engine.flows.tasks import call_task
from perdure.engine.flows.topics import count_emits, emit, not_emitted, receive_emit
from perdure.engine.flows.undoing import compensate, forget, undo_all
from perdure.engine.flows.waits import deadline, result, sleep, sleep_until, timer

__all__ = [
    "MICROSECONDS",
    "TIMED_OUT",
    "DecodeResult",
    "Place",
    "answer",
    "call_task",
    "compensate",
    "control",
    "count_emits",
    "deadline",
    "emit",
    "execute_task",
    "forget",
    "not_emitted",
    "publish",
    "receive",
    "receive_emit",
    "receive_update",
    "record",
    "result",
    "send",
    "set_data",
    "sleep",
    "sleep_until",
    "start",
    "timed_out",
    "timer",
    "undo_all",
]
