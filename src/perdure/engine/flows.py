"""Every operation of a workflow, written once, as a generator that yields what it wants done.

No operation here knows a clock, a thread, a loop or a store; `perdure.engine.drive` does what they
ask, for sync and async workflows alike. The rhythm is always the same: count and compare with the
journal, do what is new, stage what must be remembered, wait for one's turn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, cast

import msgspec

from perdure.backends.base import InvocationRecord, NewInvocation
from perdure.core.divergence import describe_arguments
from perdure.core.draws import derive_id
from perdure.core.entries import Entry, EntryKind
from perdure.core.identity import InvocationKey
from perdure.core.journal import Command, Draft, Journal
from perdure.core.scope import Scope
from perdure.engine.conflicts import conflict
from perdure.engine.effects import (
    Call,
    Compute,
    Find,
    Flow,
    Flush,
    Now,
    RunBody,
    StartNow,
    Wait,
    WaitAny,
)
from perdure.engine.outcome import (
    Body,
    Outcome,
    Raised,
    Returned,
    due_body,
    invocation_body,
    outcome_body,
    read_body,
)
from perdure.errors import Divergence, InternalError, ResultTimeout

MICROSECONDS = 1_000_000


class Place(Protocol):
    """What an operation knows of where it stands: a `WorkflowContext`, seen from here."""

    @property
    def key(self) -> InvocationKey: ...
    @property
    def journal(self) -> Journal: ...
    @property
    def scope(self) -> Scope: ...
    @property
    def template(self) -> NewInvocation: ...
    def line(self) -> str:
        """`file:line` of the workflow code that asks."""
        ...

    @property
    def is_async(self) -> bool:
        """Whether several branches may wait at a time."""
        ...

    @property
    def careful(self) -> bool:
        """Whether each body is preceded by a durable start entry (after a crash)."""
        ...

    @property
    def is_spread(self) -> bool:
        """Whether there are several servers, so that a child may live on another one."""
        ...

    def beside(self, made: str) -> str:
        """The id of a child that lives where this workflow does."""
        ...

    @property
    def halted(self) -> bool: ...
    def rebuilt(self, body: bytes) -> BaseException: ...
    def raised(self, error: BaseException) -> Raised: ...
    def add_child(self, new: NewInvocation) -> None: ...
    def add_watch(self, key: InvocationKey) -> None: ...
    def add_data(self, name: str, body: bytes) -> None: ...
    def progressed(self) -> None:
        """A task ended after a crash; forget the crashes."""
        ...


DecodeResult = Callable[[bytes], object]


def _begin(place: Place, kind: EntryKind, prefix: str, name: str) -> Command:
    return place.journal.begin(place.scope, kind, prefix, name, place.line)


def _name_of(call: Call, ahead: Entry | None) -> str:
    """The name of a called function; one of its aliases in the journal is itself."""
    if ahead is not None and ahead.name in call.function.names:
        return ahead.name
    return call.function.name


def _stage(
    place: Place,
    command: Command,
    body: bytes,
    at: int,
    digest: bytes = b"",
    *,
    observed: bool = False,
) -> None:
    draft = Draft(
        command.kind,
        command.scope.path,
        command.ordinal,
        command.key,
        command.name,
        digest,
        body,
        command.meta,
        at,
    )
    place.journal.stage(draft, observed=observed)


def _note(place: Place, command: Command, kind: EntryKind, body: bytes, at: int) -> None:
    scope, ordinal = command.place
    place.journal.stage(
        Draft(kind, scope, ordinal, command.key, command.name, b"", body, b"{}", at)
    )


def _recorded_outcome(place: Place, members: Body, decode: DecodeResult) -> Outcome:
    if members.error:
        error = bytes(members.error)
        return Raised(error, place.rebuilt(error))
    result = bytes(members.result)
    return Returned(result, decode(result))


def _check_arguments(place: Place, entry: Entry, call: Call, recorded: bytes) -> None:
    """Equal bytes or digests, or equal after defaults that the record does not know."""
    if recorded == call.arguments or entry.digest == call.digest:
        return
    if call.function.same_arguments(recorded, call.arguments):
        return
    then = place.journal.line_of(entry)
    raise Divergence(
        describe_arguments(place.key, entry, then, recorded, call.arguments, place.line())
    )


# --- recorded values ----------------------------------------------------------------------------


def record(
    place: Place,
    name: str,
    run: Callable[[], object],
    encode: Callable[[object], tuple[bytes, object]],
    decode: DecodeResult,
) -> Flow[Outcome]:
    """Record what `run` returned or raised, once; it never runs again once that is durable.

    It may run again after a crash before that, so it must not have effects that matter.
    """
    command = _begin(place, EntryKind.RECORD, name, name)
    if (entry := command.recorded) is not None:
        place.scope.event(entry.at)
        return _recorded_outcome(place, read_body(entry.body), decode)
    outcome: Outcome = yield Compute(run, encode)
    at: int = yield Now()
    _stage(place, command, outcome_body(outcome), at, observed=True)
    place.scope.event(at)
    if isinstance(outcome, Raised):
        return Raised(outcome.body, place.rebuilt(outcome.body))
    return outcome


def set_data(place: Place, name: str, body: bytes, digest: bytes) -> Flow[Outcome]:
    """Publish a value of the workflow's data with the next commit."""
    command = _begin(place, EntryKind.DATA, "data", name)
    if (entry := command.recorded) is not None:
        if entry.digest != digest:
            then = place.journal.line_of(entry)
            raise Divergence(
                describe_arguments(place.key, entry, then, entry.body, body, place.line())
            )
        place.scope.event(entry.at)
    else:
        at: int = yield Now()
        _stage(place, command, body, at, digest, observed=True)
        place.add_data(name, body)
        place.scope.event(at)
    return Returned(b"null", None)


# --- direct task calls --------------------------------------------------------------------------


def call_task(place: Place, call: Call, queued: NewInvocation | None = None) -> Flow[Outcome]:
    """Run a task, record its outcome, and give it; on replay, give the record.

    Args:
        queued: what to start, for a task that names a queue or a key: it is started there and
            waited for. Else the body runs in this worker.

    At least once: a crash between the body and its record runs the body again. After its outcome is
    durable it never runs again. What is recorded decides, so a task may get or lose its queue while
    workflows that called it are under way.
    """
    ahead = place.journal.ahead(place.scope)
    on_queue = queued is not None if ahead is None else ahead.kind == EntryKind.START
    if on_queue:
        return (yield from _call_on_queue(place, call, queued))
    command = _begin(place, EntryKind.TASK, "task", _name_of(call, ahead))
    entry = command.recorded
    if entry is None:
        return (yield from _call_here(place, command, call))
    members = read_body(entry.body)
    _check_arguments(place, entry, call, bytes(members.arguments))
    # A sync workflow has nobody else to wake, so what comes next needs no waiting. Branches of an
    # async one have to go on in the order of the journal.
    if place.is_async or not place.journal.take(entry):
        wait = Wait(place=command.place)
        yield WaitAny((wait,))
        entry = _delivered(wait)
    place.scope.event(entry.at)
    return _recorded_outcome(place, members, call.function.decode_result)


def _call_on_queue(place: Place, call: Call, queued: NewInvocation | None) -> Flow[Outcome]:
    started: Outcome = yield from start(place, call, queued or place.template)
    if isinstance(started, Raised):
        return started
    key = cast("InvocationKey", started.value)
    return (yield from result(place, key, call.function.decode_result, None))


def _call_here(place: Place, command: Command, call: Call) -> Flow[Outcome]:
    """Run the body of a call that is not recorded, and wait until its outcome is."""
    try:
        fresh: Outcome = yield from _attempts(place, command, call)
    except BaseException:
        _drop(place, command, call)
        raise
    wait = Wait(place=command.place)
    yield WaitAny((wait,))
    delivery = _delivered(wait)
    place.scope.event(delivery.at)
    if isinstance(fresh, Returned):
        return fresh
    return _recorded_outcome(place, read_body(delivery.body), call.function.decode_result)


def _drop(place: Place, command: Command, call: Call) -> None:
    """The workflow itself cancelled the call (asyncio.timeout, Task.cancel) while it ran.

    The command keeps its place, or the next one of this scope would be taken for it on replay.
    """
    if not place.halted:
        command.kind = EntryKind.DROPPED
        body = b'{"arguments":' + call.arguments + b"}"
        _stage(place, command, body, place.scope.clock, call.digest)


def _attempts(place: Place, command: Command, call: Call) -> Flow[Outcome]:
    """Run attempts until one succeeds or the policy gives up; stages the final entry."""
    failed = [note for note in command.notes if note.kind == EntryKind.ATTEMPT]
    invocation_id = derive_id(place.journal.seed, "task", command.scope.path, str(command.ordinal))
    pause = read_body(failed[-1].body).due if failed else 0
    number = len(failed)
    while True:
        number += 1
        if pause:
            yield WaitAny((Wait(due=pause),))
        if place.careful:
            at: int = yield Now()
            _note(place, command, EntryKind.BEGAN, b"{}", at)
        if place.careful or place.journal.observed:
            yield Flush()
        outcome: Outcome = yield RunBody(call, invocation_id, place.scope.clock)
        at = yield Now()
        delay = _retry_delay(place, command, call, outcome, number)
        if delay is None:
            break
        pause = at + delay
        _note(place, command, EntryKind.ATTEMPT, due_body(pause, outcome.body), at)
        yield Flush()
    if place.careful:
        place.progressed()
    _stage(place, command, outcome_body(outcome, call.arguments), at, call.digest)
    return outcome


def _retry_delay(
    place: Place, command: Command, call: Call, outcome: Outcome, number: int
) -> int | None:
    """Microseconds before the next attempt, or None when this outcome is final."""
    if isinstance(outcome, Returned) or outcome.final:
        return None
    chance_id = derive_id(place.journal.seed, "retry", command.key, str(number))
    chance = int(chance_id, 16) / 2.0**128
    delay = call.function.retry.delay_after(number, chance)
    return None if delay is None else int(delay * MICROSECONDS)


def _delivered(wait: Wait) -> Entry:
    if wait.delivery is None:
        raise InternalError("A wait ended without its delivery. Please report this.")
    return wait.delivery


# --- starting other invocations -----------------------------------------------------------------


def start(place: Place, call: Call, wanted: NewInvocation) -> Flow[Outcome]:
    """Start an invocation for any worker; gives its key as (id, generation).

    Args:
        wanted: what to start. An empty `invocation_id` gets one derived from this place.

    The child, the entry and its queue row are one transaction. A user-given id that exists with
    the same input is linked to; with other input the recorded outcome is a `StartConflict`.
    """
    name = _name_of(call, place.journal.ahead(place.scope))
    command = _begin(place, EntryKind.START, "start", name)
    if (entry := command.recorded) is not None:
        members = read_body(entry.body)
        _check_arguments(place, entry, call, bytes(members.arguments))
        place.scope.event(entry.at)
        if members.error:
            error = bytes(members.error)
            return Raised(error, place.rebuilt(error))
        key = InvocationKey(members.id, members.generation)
        return Returned(entry.body, key)
    given = wanted.invocation_id
    if given:
        yield Flush()
    scope, ordinal = command.place
    derived = derive_id(place.journal.seed, "start", scope, str(ordinal))
    invocation_id = given or place.beside(derived)
    new = msgspec.structs.replace(wanted, invocation_id=invocation_id)
    at: int = yield Now()
    outcome = yield from _insert_or_link(place, command, call, new, at, given=bool(given))
    place.scope.event(at)
    return outcome


def _insert_or_link(
    place: Place, command: Command, call: Call, new: NewInvocation, at: int, *, given: bool
) -> Flow[Outcome]:
    """Insert the child, or link to what has its id; the backend decides a race between the two."""
    key = InvocationKey(new.invocation_id, 1)
    existing: InvocationRecord | None = None
    if given and place.is_spread:
        # It may live on another server, so it is started before this is recorded. Everything
        # before it is durable: whoever repeats this asks for the same start and finds it.
        existing = yield StartNow(new)
    elif given:
        existing = yield Find(new.invocation_id)
    while True:
        outcome: Outcome
        if existing is None:
            outcome = Returned(b"", key)
            body = invocation_body(key, call.arguments)
            place.add_child(new)
        elif existing.app != new.app:
            outcome = place.raised(conflict(existing, new))
            body = outcome_body(outcome, call.arguments)
        elif existing.name in call.function.names and (
            existing.fingerprint == new.fingerprint
            or call.function.same_arguments(existing.arguments, new.arguments)
        ):
            key = existing.key
            outcome = Returned(b"", key)
            body = invocation_body(key, call.arguments)
        else:
            outcome = place.raised(conflict(existing, new))
            body = outcome_body(outcome, call.arguments)
        _stage(place, command, body, at, call.digest)
        if (yield Flush()):
            return outcome
        place.journal.unstage()
        existing = yield Find(new.invocation_id)


def execute_task(place: Place, call: Call, wanted: NewInvocation) -> Flow[Outcome]:
    """One invocation per `call_id` within the workflow, whichever branch asks first."""
    memo_key = f"task_invocation:{call.call_id}"
    journal = place.journal
    child = journal.memos.get(memo_key)
    if child is None:
        child = yield from _memo_of_older_signature(place, call)
    if child is None:
        child = place.beside(derive_id(journal.seed, "memo", call.call_id))
        at: int = yield Now()
        draft = Draft(
            EntryKind.MEMO,
            "",
            0,
            memo_key,
            call.function.name,
            call.digest,
            msgspec.json.encode(child),
            b"{}",
            at,
        )
        journal.stage(draft)
        place.add_child(msgspec.structs.replace(wanted, invocation_id=child))
        if not (yield Flush()):
            raise InternalError(f"The derived id of {memo_key!r} is taken. Please report this.")
    journal.memos[memo_key] = child
    journal.unclaimed_memos.pop(memo_key, None)
    return Returned(b"", InvocationKey(child, 1))


def _memo_of_older_signature(place: Place, call: Call) -> Flow[str | None]:
    """A recorded call that is this one but for parameters that are new and at their default.

    Only memos of earlier runs that nobody has asked for in this one can be meant; unless the
    signature changed there are next to none of them when a call is new.
    """
    unclaimed = place.journal.unclaimed_memos
    for key, entry in list(unclaimed.items()):
        if entry.name not in call.function.names:
            continue
        child: str = msgspec.json.decode(entry.body)
        record: InvocationRecord | None = yield Find(child)
        if record is not None and call.function.same_arguments(record.arguments, call.arguments):
            unclaimed.pop(key, None)
            return child
    return None


# --- waiting ------------------------------------------------------------------------------------


def result(
    place: Place, key: InvocationKey, decode: DecodeResult, timeout: int | None
) -> Flow[Outcome]:
    """Wait for another invocation's end, at most `timeout` microseconds. Durable on both sides."""
    name = f"{key.invocation_id}#{key.generation}"
    command = _begin(place, EntryKind.WATCH, "result", name)
    ended = Wait(source=key)
    if command.recorded is None:
        # No event for the workflow clock, for it is not durable before the next task body.
        at: int = yield Now()
        _stage(place, command, invocation_body(key), at)
        place.add_watch(key)
    limit = None if timeout is None else (yield from timer(place, timeout))
    yield WaitAny((ended,) if limit is None else (ended, limit))
    if ended.satisfied or limit is None:
        delivery = _delivered(ended)
        place.scope.event(delivery.at)
        return _recorded_outcome(place, read_body(delivery.body), decode)
    place.scope.event(_delivered(limit).at)
    seconds = (timeout or 0) / MICROSECONDS
    return place.raised(
        ResultTimeout(
            f"Invocation {key.invocation_id!r} did not end within {seconds} seconds. It goes on; "
            "ask again, or give it more time."
        )
    )


def sleep(place: Place, duration: int) -> Flow[Outcome]:
    """Wait `duration` microseconds by the state backend's clock; holds nothing meanwhile."""
    wait = yield from timer(place, duration)
    yield WaitAny((wait,))
    place.scope.event(_delivered(wait).at)
    return Returned(b"null", None)


def timer(place: Place, duration: int) -> Flow[Wait]:
    """Set a durable timer and give what to wait for; it does not wait."""
    digest = duration.to_bytes(8, "big")
    command = _begin(place, EntryKind.SLEEP, "sleep", "sleep")
    if (entry := command.recorded) is not None:
        if entry.digest != digest:
            then = place.journal.line_of(entry)
            was, now = (
                str(int.from_bytes(d, "big") / 1e6).encode() for d in (entry.digest, digest)
            )
            raise Divergence(describe_arguments(place.key, entry, then, was, now, place.line()))
        due = read_body(entry.body).due
    else:
        # No event for the workflow clock, for it is not durable before the next task body.
        at: int = yield Now()
        due = at + duration
        _stage(place, command, due_body(due), at, digest)
    return Wait(place=command.place, due=due)
