"""Schedules: each tick is decided once, in time, and has the run that was decided (I14)."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from perdure.api.schedule_state import WORKFLOW_TYPE, Became, Change, Decision
from perdure.api.schedules import MISSED_SECONDS, SEPARATOR
from perdure.api.ticks import name_of
from perdure.backends.base import InvocationRecord, RegisterPut
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import TERMINAL
from perdure.testing.simulation.checks.broken import Broken
from perdure.testing.simulation.plan import SECOND, Timetable

Rows = dict[InvocationKey, InvocationRecord]


class _Decided(NamedTuple):
    """What became of a tick, and the latest time that the store had shown by then."""

    became: Became
    clock: int


class Ticks:
    """What became of the ticks of the one schedule there is."""

    def __init__(self, timetable: Timetable | None) -> None:
        """None was decided."""
        self._timetable = timetable or Timetable(())
        self._clock = 0
        self._before_jump = 0
        self._first: int | None = None
        self._changes: list[int] = []
        """When it was paused, when it was resumed, and so on."""
        self._decided: dict[int, _Decided] = {}

    def shown(self, clock: int) -> None:
        """The store has shown this time."""
        self._clock = max(self._clock, clock)

    def jumped(self, before: int) -> None:
        """The clock of the store showed this before it jumped."""
        self._before_jump = max(self._before_jump, before)

    def put(self, put: RegisterPut, rows: Rows, clock: int) -> None:
        """Something was put into a register, where it was not before."""
        self.shown(clock)
        if put.workflow_type != WORKFLOW_TYPE:
            return
        match put.key.partition(":")[0]:
            case "first":
                self._first = int(put.body)
            case "change":
                self._changes.append(msgspec.json.decode(put.body, type=Change).at)
            case _:
                self._tick(put, rows)

    def _tick(self, put: RegisterPut, rows: Rows) -> None:
        assert put.counter is not None
        tick, decision = put.counter[1], msgspec.json.decode(put.body, type=Decision)
        became = decision.became
        told = f"the tick {name_of(tick)} of {put.workflow_id!r}"
        if tick > self._clock:
            raise Broken("I14", f"{told} is {became} before it is due, at {self._clock}")
        if self._first is None or tick <= self._first:
            raise Broken("I14", f"{told} is {became}, and it was before the schedule: {put}")
        if tick in self._decided:
            raise Broken("I14", f"{told} is {became}, and was decided: {self._decided[tick]}")
        if tick < max(self._decided, default=0):
            raise Broken("I14", f"{told} is {became} after later ones")
        self._decided[tick] = _Decided(became, self._clock)
        if (became == "started") != (put.child is not None):
            raise Broken("I14", f"{told} is {became}, and came with {put.child}")
        if put.child is not None:
            self._begins(put.child.invocation_id, rows)
        elif became == "missed" and tick + MISSED_SECONDS * SECOND > decision.at:
            raise Broken("I14", f"{told} is missed at {decision.at}, when it was only late")
        elif became == "skipped" and not self._may_skip(decision.at, rows):
            raise Broken("I14", f"{told} is skipped at {decision.at}, and nothing ran")

    def _may_skip(self, at: int, rows: Rows) -> bool:
        """Whether a run had not ended when somebody began to look, at this time of the store.

        (A look from before the clock jumped cannot be compared with an end after that.)
        """
        runs = [row for key, row in rows.items() if SEPARATOR in key.invocation_id]
        ran = any(row.finished_at is None or row.finished_at >= at for row in runs)
        return self._timetable.overlap == "skip" and (ran or at <= self._before_jump)

    def _begins(self, run_id: str, rows: Rows) -> None:
        if InvocationKey(run_id, 1) not in rows:
            raise Broken("I14", f"{run_id} was decided on, and is not there")
        live = [each for each in _runs(rows, run_id) if rows[each].state not in TERMINAL]
        if self._timetable.overlap == "skip" and len(live) > 1:
            raise Broken("I14", f"{run_id} was started while others ran: {live}")

    def complete(self, rows: Rows) -> None:
        """Each run was decided on once, and no tick was left out."""
        if not self._decided:
            return
        started = {name_of(tick) for tick, each in self._decided.items() if each[0] == "started"}
        found = sorted(
            key.invocation_id.partition(SEPARATOR)[2]
            for key in rows
            if SEPARATOR in key.invocation_id
        )
        if found != sorted(started):
            raise Broken("I14", f"decided on were {sorted(started)}, and there are {found}")
        self._whole()

    def _whole(self) -> None:
        """Up to the newest decision each tick has one, but for those of pauses and missed ones."""
        span = self._timetable.every * SECOND
        begun, ended = self._changes[::2], self._changes[1::2]
        before = self._first or 0
        for tick in sorted(self._decided):
            missed_until = self._decided[tick].clock - MISSED_SECONDS * SECOND
            for due in range(before - before % span + span, tick, span):
                paused = any(start < due <= end for start, end in zip(begun, ended, strict=False))
                if due > missed_until and not paused:
                    raise Broken("I14", f"{name_of(due)} was left out before {name_of(tick)}")
            before = tick


def _runs(rows: Rows, run_id: str) -> list[InvocationKey]:
    """All runs of the schedule that has this one."""
    prefix = run_id.partition(SEPARATOR)[0] + SEPARATOR
    return [key for key in rows if key.invocation_id.startswith(prefix)]
