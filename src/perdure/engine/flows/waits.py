"""Operations that wait for time or for another invocation."""

from __future__ import annotations

from collections.abc import Callable

from perdure.core.divergence import describe_arguments
from perdure.core.entries import EntryKind
from perdure.core.identity import InvocationKey
from perdure.engine.effects import Flow, Flush, Now, Wait, WaitAny
from perdure.engine.flows.place import (
    MICROSECONDS,
    DecodeResult,
    Place,
    begin,
    delivered,
    recorded_outcome,
    stage,
)
from perdure.engine.outcome import Outcome, Returned, due_body, invocation_body, read_body
from perdure.errors import Divergence, ResultTimeout


def result(
    place: Place, key: InvocationKey, decode: DecodeResult, timeout: int | None
) -> Flow[Outcome]:
    """Wait for another invocation's end, at most `timeout` microseconds. Durable on both sides."""
    name = f"{key.invocation_id}#{key.generation}"
    command = begin(place, EntryKind.WATCH, "result", name)
    ended = Wait(source=key)
    if command.recorded is None:
        # No event for the workflow clock, for it is not durable before the next task body.
        at: int = yield Now()
        stage(place, command, invocation_body(key), at)
        place.add_watch(key)
    limit = None if timeout is None else (yield from timer(place, timeout))
    yield WaitAny((ended,) if limit is None else (ended, limit))
    if ended.satisfied or limit is None:
        delivery = delivered(ended)
        place.scope.event(delivery.at)
        return recorded_outcome(place, read_body(delivery.body), decode)
    place.scope.event(delivered(limit).at)
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
    place.scope.event(delivered(wait).at)
    return Returned(b"null", None)


def sleep_until(place: Place, due: int) -> Flow[Outcome]:
    """Wait for a moment of the state backend's clock; one that is past has come already."""
    wait = yield from _set_timer(place, "sleep_until", due, lambda _: due)
    yield WaitAny((wait,))
    place.scope.event(delivered(wait).at)
    return Returned(b"null", None)


def deadline(place: Place, duration: int) -> Flow[Outcome]:
    """Set the timer of a deadline and give its `Wait`. It is durable: a crash begins no new one."""
    wait = yield from _set_timer(place, "timeout", duration, lambda now: now + duration)
    yield Flush()
    return Returned(b"null", wait)


def timer(place: Place, duration: int) -> Flow[Wait]:
    """Set a durable timer and give what to wait for; it does not wait."""
    return (yield from _set_timer(place, "sleep", duration, lambda now: now + duration))


def _set_timer(place: Place, name: str, asked: int, due_at: Callable[[int], int]) -> Flow[Wait]:
    """Record a timer, or find it; `asked` is what a replay must ask for again."""
    digest = asked.to_bytes(8, "big", signed=True)
    command = begin(place, EntryKind.SLEEP, "sleep", name)
    if (entry := command.recorded) is not None:
        if entry.digest != digest:
            then = place.journal.line_of(entry)
            was, now = (
                str(int.from_bytes(d, "big", signed=True) / MICROSECONDS).encode()
                for d in (entry.digest, digest)
            )
            raise Divergence(describe_arguments(place.key, entry, then, was, now, place.line()))
        due = read_body(entry.body).due
    else:
        # No event for the workflow clock, for it is not durable before the next task body.
        at: int = yield Now()
        due = due_at(at)
        stage(place, command, due_body(due), at, digest)
    return Wait(place=command.place, due=due)
