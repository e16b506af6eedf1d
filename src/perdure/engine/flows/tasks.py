"""A direct task call: its attempts here, or its start on a queue."""

from __future__ import annotations

from typing import cast

from perdure.backends.base import NewInvocation
from perdure.core.entries import Entry, EntryKind
from perdure.core.identity import InvocationKey
from perdure.core.journal import Command
from perdure.engine.effects import Call, Flow, Wait, WaitAny
from perdure.engine.flows.attempts import attempts
from perdure.engine.flows.invocations import start
from perdure.engine.flows.place import (
    Place,
    check_arguments,
    delivered,
    name_of,
    recorded_outcome,
    stage,
)
from perdure.engine.flows.waits import result
from perdure.engine.outcome import Outcome, Raised, Returned, read_body
from perdure.errors import Divergence


def call_task(
    place: Place,
    call: Call,
    queued: NewInvocation | None = None,
    about: tuple[str, int] | None = None,
) -> Flow[Outcome]:
    """Run a task, record its outcome, and give it; on replay, give the record.

    Args:
        about: the place of the call that this one asks about.
        queued: what to start, for a task that names a queue or a key: it is started there and
            waited for. Else the body runs in this worker.

    At least once: a crash between the body and its record runs the body again. After its outcome is
    durable it never runs again. What is recorded decides, so a task may get or lose its queue while
    workflows that called it are under way. The outcome of a pure task may be given before it is
    durable: it is before a body that is not pure starts, and before anything leaves the workflow.

    At most once, for a task that asks for it: each body is announced on record first, and if there
    is no outcome of the last one, that is the outcome. If the task names another one that can find
    out, this is called next, and what it gives is given.
    """
    ahead = place.journal.ahead(place.scope)
    on_queue = queued is not None if ahead is None else ahead.kind == EntryKind.START
    if on_queue:
        return _call_on_queue(place, call, queued)
    if ahead is None:
        return _call_afresh(place, call, about)
    return _call_again(place, call, ahead)


def _call_again(place: Place, call: Call, entry: Entry) -> Flow[Outcome]:
    """Give what is recorded of a call that ended, when its turn comes."""
    journal = place.journal
    name = call.function.name if entry.name == call.function.name else name_of(call, entry)
    command = journal.begin(place.scope, EntryKind.TASK, "task", name, place.line)
    members = read_body(entry.body)
    arguments = bytes(members.arguments)
    if arguments != call.arguments:
        check_arguments(place, entry, call, arguments)
    # Without branches there is nobody else to wake, so what comes next needs no waiting. Branches
    # have to go on in the order of the journal.
    if place.branching or not journal.take(entry):
        wait = Wait(place=command.place)
        yield WaitAny((wait,))
        entry = delivered(wait)
    place.scope.event(entry.at)
    if members.asks:
        return (yield from _ask(place, call, command, members.asks))
    return recorded_outcome(place, members, call.function.decode_result)


def _call_on_queue(place: Place, call: Call, queued: NewInvocation | None) -> Flow[Outcome]:
    started: Outcome = yield from start(place, call, queued or place.template)
    if isinstance(started, Raised):
        return started
    key = cast("InvocationKey", started.value)
    return (yield from result(place, key, call.function.decode_result, None))


def _call_afresh(place: Place, call: Call, about: tuple[str, int] | None) -> Flow[Outcome]:
    """Run the body of a call that is not recorded, and wait until its outcome is."""
    name = call.function.name
    command = place.journal.begin(place.scope, EntryKind.TASK, "task", name, place.line)
    try:
        fresh: Outcome = yield from attempts(place, command, call, about)
    except BaseException:
        _drop(place, command, call)
        raise
    wait = Wait(place=command.place)
    yield WaitAny((wait,))
    delivery = delivered(wait)
    place.scope.event(delivery.at)
    if isinstance(fresh, Returned):
        return fresh
    members = read_body(delivery.body)
    if members.asks:
        return (yield from _ask(place, call, command, members.asks))
    return recorded_outcome(place, members, call.function.decode_result)


def _ask(place: Place, call: Call, command: Command, name: str) -> Flow[Outcome]:
    """Call the task that finds out what became of a call, in its place."""
    asking = call.function.asking(call.arguments)
    if asking is None:
        raise Divergence(
            f"Workflow {place.key.invocation_id!r}: it is not known what became of task "
            f"{command.name!r} (as {command.key!r}), and on record its on_uncertain= is {name!r}; "
            "now it has none. The workflow is parked and its journal is untouched. Bring it back."
        )
    return (yield from call_task(place, asking, about=command.place))


def _drop(place: Place, command: Command, call: Call) -> None:
    """The workflow itself cancelled the call (asyncio.timeout, Task.cancel) while it ran.

    The command keeps its place, or the next one of this scope would be taken for it on replay.
    """
    if not place.halted:
        command.kind = EntryKind.DROPPED
        body = b'{"arguments":' + call.arguments + b"}"
        stage(place, command, body, place.scope.clock, call.digest)
