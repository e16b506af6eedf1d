"""What is durable of one schedule, as values of the register. Each write is one transaction.

Nothing is ever overwritten: `tick:<tick>` says what became of a tick, `change:<n>` is the n-th
pause or resume, `first` is when the schedule was seen first; two counters tell how far both are.
"""

from __future__ import annotations

import functools
from typing import Literal

import msgspec

from perdure.api.ticks import name_of
from perdure.backends.base import Backend, NewInvocation, RegisterPut, RegisterResult
from perdure.core.reading import UNREADABLE
from perdure.engine.committer import until_known
from perdure.errors import JournalCorrupted

WORKFLOW_TYPE = "perdure.schedule"
"""The register's identity of a schedule is this and the schedule's name."""
_FIRST, _HANDLED, _CHANGES = "first", "counter:tick", "counter:change"

Became = Literal["started", "skipped", "missed"]


class Decision(msgspec.Struct, frozen=True):
    """What became of a tick, and when that was decided (microseconds)."""

    became: Became
    at: int


class Change(msgspec.Struct, frozen=True):
    """A pause or a resume, when (microseconds), and why."""

    paused: bool
    at: int
    reason: str = ""


NEVER_CHANGED = Change(paused=False, at=0)
_decode_change = msgspec.json.Decoder(Change).decode
_decode_decision = msgspec.json.Decoder(Decision).decode
_decode_number = msgspec.json.Decoder(int).decode


class ScheduleState:
    """The register of one schedule. Holds nothing itself."""

    def __init__(self, backend: Backend, app: str, name: str) -> None:
        """Bind to a schedule."""
        self._backend = backend
        self._identity = (app, WORKFLOW_TYPE, name)

    def open_spans(self, now: int) -> list[tuple[int, int]]:
        """Where undecided ticks are looked for, as `after < tick <= until`, oldest first.

        That is from the newest decided tick to now, without the pauses in between; nothing while
        the schedule is paused. The first look at a new schedule settles all that was before it.
        """
        number = self._changes()
        if number and self._change(number).paused:
            return []
        first = self._get(_FIRST) or self._put(_FIRST, str(now).encode())
        settled = max(self.handled() or 0, _number(_FIRST, first))
        spans: list[tuple[int, int]] = []
        until = now
        while until > settled and number:  # pauses and resumes take turns, the first is a pause
            spans.append((max(settled, self._change(number).at), until))
            until = self._change(number - 1).at
            number -= 2
        if until > settled:
            spans.append((settled, until))
        return spans[::-1]

    def handled(self) -> int | None:
        """The newest tick that was decided, or None."""
        body = self._get(_HANDLED)
        return None if body is None else _number(_HANDLED, body)

    def became(self, tick: int) -> Became | None:
        """What became of a tick, as far as it was decided by itself."""
        body = self._get(f"tick:{name_of(tick)}")
        try:
            return None if body is None else _decode_decision(body).became
        except UNREADABLE as error:
            raise _unreadable(f"tick:{name_of(tick)}", body, error) from error

    def decide(self, tick: int, became: Became, at: int, new: NewInvocation | None = None) -> bool:
        """Say what became of a tick, and start its run with it. False if somebody said so before.

        After an open outcome that was good, it is False as well: then the run is started, and
        whoever claims it sees it.
        """
        put = self._new_put(
            f"tick:{name_of(tick)}",
            msgspec.json.encode(Decision(became, at)),
            (_HANDLED, tick),
            new,
        )
        return self._store(put).won

    def last_change(self) -> Change:
        """The latest pause or resume."""
        number = self._changes()
        return self._change(number) if number else NEVER_CHANGED

    def change(self, *, paused: bool, reason: str) -> bool:
        """Pause or resume; False if it is so already."""
        while True:
            number = self._changes()
            if self.last_change().paused == paused:
                return False
            body = msgspec.json.encode(Change(paused, self._backend.now(), reason))
            put = self._new_put(f"change:{number + 1}", body, (_CHANGES, number + 1))
            if self._store(put).body == body:
                return True

    def _change(self, number: int) -> Change:
        body = self._get(f"change:{number}")
        try:
            return _decode_change(body or b"")
        except UNREADABLE as error:
            raise _unreadable(f"change:{number}", body, error) from error

    def _changes(self) -> int:
        return _number(_CHANGES, self._get(_CHANGES) or b"0")

    def _get(self, key: str) -> bytes | None:
        return self._backend.register_get(*self._identity, key)

    def _put(self, key: str, body: bytes) -> bytes:
        return self._store(self._new_put(key, body)).body

    def _store(self, put: RegisterPut) -> RegisterResult:
        return until_known(functools.partial(self._backend.register_put, put))

    def _new_put(
        self,
        key: str,
        body: bytes,
        counter: tuple[str, int] | None = None,
        child: NewInvocation | None = None,
    ) -> RegisterPut:
        app, workflow_type, workflow_id = self._identity
        return RegisterPut(
            app=app,
            workflow_type=workflow_type,
            workflow_id=workflow_id,
            key=key,
            body=body,
            counter=counter,
            child=child,
        )


def _number(key: str, body: bytes) -> int:
    try:
        return _decode_number(body)
    except UNREADABLE as error:
        raise _unreadable(key, body, error) from error


def _unreadable(key: str, body: bytes | None, error: Exception) -> JournalCorrupted:
    return JournalCorrupted(
        f"{key!r} of a schedule cannot be read ({error}): {(body or b'')[:200]!r}. Restore a "
        "backup."
    )
