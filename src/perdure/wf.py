"""The operations that workflow code uses: `from perdure import wf`.

Inside a workflow they are deterministic or recorded; inside a task the ones that make sense there
work too. Outside of both they raise `NotInWorkflow`.
"""

from __future__ import annotations

from datetime import datetime
from typing import ParamSpec, TypeVar

from perdure.api.answering import receive_update, receive_update_async
from perdure.api.compensation import compensate, forget_compensations
from perdure.api.completed import (
    as_completed,
    as_completed_async,
    map_as_completed,
    map_as_completed_async,
)
from perdure.api.completing import complete_later, completion_token
from perdure.api.concurrency import (
    Selected,
    gather,
    gather_async,
    map_async,
    select,
    select_async,
)
from perdure.api.concurrency import map_ as map  # noqa: A004 - the name users know it by
from perdure.api.deadlines import timeout
from perdure.api.ended import Completed
from perdure.api.endings import deadline
from perdure.api.executor import DeterministicExecutor
from perdure.api.functions import Registered
from perdure.api.heartbeats import heartbeat, heartbeat_async, last_heartbeat
from perdure.api.invocation import DistributedInvocation
from perdure.api.operations import (
    context_here,
    get_data,
    invocation,
    now,
    publish,
    record,
    require_context,
    set_data,
    sleep,
    sleep_until,
    token,
)
from perdure.api.randomness import WorkflowRandom
from perdure.api.receiving import receive, receive_async
from perdure.api.threads import threads
from perdure.api.topics import Listener, listen, receive_topic, receive_topic_async
from perdure.api.topics import emit_in_context as emit
from perdure.errors import AttemptLost, Cancelled

P = ParamSpec("P")
R = TypeVar("R")

__all__ = [
    "AttemptLost",
    "Cancelled",
    "Completed",
    "Listener",
    "Selected",
    "as_completed",
    "as_completed_async",
    "compensate",
    "complete_later",
    "completion_token",
    "deadline",
    "emit",
    "execute_task",
    "executor",
    "forget_compensations",
    "gather",
    "gather_async",
    "get_data",
    "heartbeat",
    "heartbeat_async",
    "idempotency_key",
    "invocation",
    "last_heartbeat",
    "listen",
    "map",
    "map_as_completed",
    "map_as_completed_async",
    "map_async",
    "now",
    "publish",
    "random",
    "receive",
    "receive_async",
    "receive_topic",
    "receive_topic_async",
    "receive_update",
    "receive_update_async",
    "record",
    "select",
    "select_async",
    "set_data",
    "sleep",
    "sleep_until",
    "threads",
    "timeout",
    "token",
    "utc_now",
    "uuid",
]


def executor() -> DeterministicExecutor:
    """The deterministic executor of the running workflow or task."""
    return DeterministicExecutor.of_context(require_context("wf.executor"))


def _next_float() -> float:
    return DeterministicExecutor.of_context(context_here("wf.random")).random()


def _next_bits(width: int) -> int:
    return DeterministicExecutor.of_context(context_here("wf.random")).bits(width)


random = WorkflowRandom(_next_float, _next_bits)
"""`wf.random()` is a float in [0, 1); `wf.random.choice(...)` and the like work too."""


def uuid() -> str:
    """A UUID in version-4 layout, as text; the same on every replay. Not a secret."""
    return DeterministicExecutor.of_context(context_here("wf.uuid")).uuid()


def utc_now() -> datetime:
    """Read the workflow clock: aware UTC, strictly increasing, the same on every replay.

    One second later than the reading before, and never before a durable event of the workflow.
    For the real time use `wf.now()`.
    """
    return DeterministicExecutor.of_context(context_here("wf.utc_now")).utc_now()


def idempotency_key() -> str:
    """A key for one intended outside effect: 32 hexadecimal characters, the same on every replay.

    In a workflow each call gives the next key; in a task there is one for all its attempts.
    """
    return DeterministicExecutor.of_context(context_here("wf.idempotency_key")).idempotency_key()


def execute_task(
    task: Registered[P, R], *args: P.args, **kwargs: P.kwargs
) -> DistributedInvocation[R]:
    """The one invocation of this call within the workflow: equal arguments, same invocation."""
    context = require_context("wf.execute_task")
    return DeterministicExecutor.of_context(context).execute_task(task, *args, **kwargs)
