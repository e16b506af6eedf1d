"""Topics. The n-th emit to one is a task that nobody runs, and that the emit ends from outside.

So an emit is one commit, which tells all that wait for it, on this server and through the relay on
others; it has one place in the order of its topic, and stays there. Listeners wait for the result
of a task. No emit is made before all that have lower numbers are there.
"""

from __future__ import annotations

import contextlib
from functools import partial
from hashlib import blake2b

import msgspec

from perdure.backends.base import (
    Finish,
    InvocationRecord,
    NewInvocation,
    RegisterPut,
    StartClaim,
    Started,
    Suspend,
    Transition,
)
from perdure.core.identity import ID_LENGTH_MAX, InvocationKey
from perdure.core.lifecycle import TERMINAL, InvocationState
from perdure.core.reading import UNREADABLE
from perdure.engine.committer import until_known
from perdure.engine.conflicts import conflict
from perdure.engine.control import end_with
from perdure.engine.effects import EmitNow, Emitted
from perdure.engine.env import TOKEN_BYTES
from perdure.engine.outcome import recorded_outcome
from perdure.engine.runtime import Runtime
from perdure.errors import CommitUnknown, InternalError, JournalCorrupted
from perdure.values import fingerprint

TOPIC = "perdure:topic"
"""The registered name of these tasks, which no function has; and the type of a topic's register."""
QUEUE = "perdure:topics"
"""Theirs alone, so that no limit counts them."""
LEASE = 10_000_000
"""Microseconds, of a claim whose holder never runs anything."""
DIGITS_MAX = 10
"""Of the number of an emit."""
SEEN_MAX = 10_000
"""Topics of which a process remembers how far they were; it looks anew for others."""


class Held(msgspec.Struct, frozen=True):
    """The outcome of such a task: which emit it is, and its value."""

    id: str
    value: msgspec.Raw


_read = msgspec.json.Decoder(Held).decode


def read_held(body: bytes) -> Held:
    """An emit from its recorded form.

    Raises:
        JournalCorrupted: it cannot be read.
    """
    try:
        return _read(body)
    except UNREADABLE as error:
        raise JournalCorrupted(
            f"An emit cannot be read ({error}): {body[:200]!r}. Restore a backup."
        ) from error


def read_number(body: bytes) -> int:
    """The number of an emit from the register.

    Raises:
        JournalCorrupted: it is none.
    """
    if not body.isdigit() or len(body) > DIGITS_MAX or not int(body):
        raise JournalCorrupted(
            f"The number of an emit cannot be read: {body[:40]!r}. Restore a backup."
        )
    return int(body)


def longest(runtime: Runtime) -> int:
    """How many characters the name of a topic may have: it and the app's are parts of an id."""
    return ID_LENGTH_MAX - len(f"{TOPIC}:{runtime.app_name}::") - DIGITS_MAX


def emit(runtime: Runtime, effect: EmitNow, *, repeats: bool = True) -> Emitted:
    """Emit a value, once for its id.

    Args:
        repeats: somebody may do the same again, so the id is remembered.

    Raises:
        StartConflict: an id that is needed was taken by something else.
        CommitUnknown: it may be emitted; doing it again with its id is safe.
    """
    topic, emit_id = effect.topic, effect.emit_id
    body = msgspec.json.encode(Held(emit_id, msgspec.Raw(effect.body)))
    if effect.once:
        return Emitted(1, _put(runtime, topic, 1, body) == emit_id)
    tries = 0
    while True:
        tries += 1
        if repeats:
            number = _number_of(runtime, topic, emit_id, tries)
        else:
            number = count(runtime, topic) + 1
        if _put(runtime, topic, number, body) == emit_id:
            return Emitted(number, accepted=True)


def count(runtime: Runtime, topic: str) -> int:
    """How many emits a topic has. They are dense, so a few looks find the end."""
    known, step = runtime.emits_seen.get(topic, 0), 1
    if known and not _is_there(runtime, topic, known):
        known = 0  # the database is an older one than was seen before
    while _is_there(runtime, topic, known + step):
        known, step = known + step, step * 2
    while step > 1:
        step //= 2
        if _is_there(runtime, topic, known + step):
            known += step
    if len(runtime.emits_seen) >= SEEN_MAX:
        runtime.emits_seen.clear()
    runtime.emits_seen[topic] = known
    return known


def open_emit(runtime: Runtime, topic: str, number: int) -> InvocationKey:
    """The key of an emit, which can be waited for from now on, whether it is there or not.

    Raises:
        StartConflict: its id was taken by something else.
    """
    new = _emit_of(runtime, topic, number)
    found, created = _found_or_started(runtime, new)
    if created:
        waits = Transition(
            key=found.key,
            epoch=found.epoch,
            head=0,
            token=runtime.env.entropy(TOKEN_BYTES),
            disposition=Suspend(),
        )
        # Refused, it was emitted meanwhile. Not done, it is claimed by nobody, which is as good.
        with contextlib.suppress(CommitUnknown):
            runtime.backend.commit([waits])
    return found.key


def _emit_of(runtime: Runtime, topic: str, number: int) -> NewInvocation:
    arguments = msgspec.json.encode({"topic": topic, "number": number})
    digest = fingerprint(arguments)
    return NewInvocation(
        invocation_id=f"{TOPIC}:{runtime.app_name}:{topic}:{number}",
        app=runtime.app_name,
        kind="task",
        name=TOPIC,
        arguments=arguments,
        fingerprint=digest,
        call_id=f"{TOPIC}:{digest.hex()}",
        queue=QUEUE,
    )


def _check(found: InvocationRecord, new: NewInvocation) -> None:
    """Refuse what is no emit.

    Raises:
        StartConflict: its id was taken by something else.
    """
    if (found.app, found.name, found.fingerprint) != (new.app, new.name, new.fingerprint):
        raise conflict(found, new)


def _found_or_started(runtime: Runtime, new: NewInvocation) -> Started:
    """Its row. One that is new is claimed, for nobody: nobody else knows what to do with it."""
    found = runtime.backend.read(new.invocation_id)
    if found is None:
        owner, token = f"topic:{runtime.env.new_id()}", runtime.env.entropy(TOKEN_BYTES)
        claim = StartClaim(owner=owner, lease=LEASE, token=token)
        started = until_known(partial(runtime.backend.start, new, "return", claim))
    else:
        started = Started(found, created=False)
    _check(started.record, new)
    return started


def _is_there(runtime: Runtime, topic: str, number: int) -> bool:
    new = _emit_of(runtime, topic, number)
    found = runtime.backend.read(new.invocation_id)
    if found is None:
        return False
    _check(found, new)
    return found.state in TERMINAL


def _put(runtime: Runtime, topic: str, number: int, body: bytes) -> str:
    """Make this the emit of that number, if it has none. The id of the one that it is."""
    record: InvocationRecord | None
    record, _ = _found_or_started(runtime, _emit_of(runtime, topic, number))
    key = record.key
    if record.state not in TERMINAL:
        end_with(runtime, record, Finish(InvocationState.COMPLETED, body))
        record = runtime.backend.read(*key, locked=True)
    if record is None or record.state not in TERMINAL:
        raise InternalError(f"Emit {key.invocation_id!r} has not ended. Please report this.")
    if record.state is not InvocationState.COMPLETED:
        return ""  # somebody cancelled it; the number is used up
    return read_held(recorded_outcome(record) or b"").id


def _number_of(runtime: Runtime, topic: str, emit_id: str, tries: int) -> int:
    """The number that this emit tries to get at this try: whoever repeats it tries the same."""
    digest = blake2b(emit_id.encode(), digest_size=16).hexdigest()
    app, key = runtime.app_name, f"emit:{digest}:{tries}"
    found = runtime.backend.register_get(app, TOPIC, topic, key)
    if found is None:
        wanted = str(count(runtime, topic) + 1).encode()
        put = RegisterPut(app=app, workflow_type=TOPIC, workflow_id=topic, key=key, body=wanted)
        found = until_known(lambda: runtime.backend.register_put(put)).body
    return read_number(found)
