"""Schedules: ticks that are decided twice, too early, too late, or by halves (class H)."""

from __future__ import annotations

from typing import Any

import pytest

from perdure.api import schedule_state
from perdure.api.schedule_state import Became, ScheduleState
from perdure.api.schedules import SEPARATOR, Schedule
from perdure.api.ticks import name_of
from perdure.backends.base import Backend, InvocationQuery, NewInvocation
from perdure.core.identity import InvocationKey
from perdure.worker import scheduling
from tests.zoo import bug

Patch = pytest.MonkeyPatch


@bug("H2", "A schedule that failed once is not looked at again for a minute")
def failed_schedules_rest(patch: Patch) -> None:
    patch.setattr(scheduling, "LOOK_SECONDS", 60.0)
    patch.setattr(scheduling, "RETRY_SECONDS", 60.0)


@bug("H2", "What is due while nobody looks is forgotten: each look begins with the present")
def only_the_present_counts(patch: Patch) -> None:
    spans = ScheduleState.open_spans

    def from_now(self: ScheduleState, now: int) -> list[tuple[int, int]]:
        return [(max(after, now - 1_500_000), until) for after, until in spans(self, now)]

    patch.setattr(ScheduleState, "open_spans", from_now)


@bug("H5", "What was due before a pause is forgotten with what was due in it")
def pauses_settle_what_was_before(patch: Patch) -> None:
    spans = ScheduleState.open_spans
    patch.setattr(ScheduleState, "open_spans", lambda self, now: spans(self, now)[-1:])


@bug("H3", "Ticks are due a little before their time")
def ticks_come_early(patch: Patch) -> None:
    due = Schedule._due

    def early(self: Schedule, spans: list[tuple[int, int]], now: int) -> Any:
        return due(self, [(after, until + 500_000) for after, until in spans], now)

    patch.setattr(Schedule, "_due", early)


@bug("H4", "A tick is noted first, and its run is started after that")
def runs_follow_their_ticks(patch: Patch) -> None:
    decide = ScheduleState.decide

    def in_two_steps(
        self: ScheduleState, tick: int, became: Became, at: int, new: NewInvocation | None = None
    ) -> bool:
        won = decide(self, tick, became, at)
        if won and new is not None:
            self._backend.start(new, "return")
        return won

    patch.setattr(ScheduleState, "decide", in_two_steps)


@bug("H4", "A tick is known by the moment of the decision, so each scheduler has its own")
def ticks_are_named_by_the_look(patch: Patch) -> None:
    decide = ScheduleState.decide

    def at_the_look(
        self: ScheduleState, tick: int, became: Became, at: int, new: NewInvocation | None = None
    ) -> bool:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(schedule_state, "name_of", lambda tick: f"{name_of(tick)}/{at}")
            return decide(self, tick, became, at, new)

    patch.setattr(ScheduleState, "decide", at_the_look)


@bug("H4", "A run is started beside one that has not ended, although it is to be skipped")
def overlap_is_not_looked_for(patch: Patch) -> None:
    patch.setattr(Schedule, "_running", lambda self, backend: None)


@bug("H5", "A look begins with the newest tick, so one that crashes leaves the older ones out")
def the_newest_tick_comes_first(patch: Patch) -> None:
    due = Schedule._due

    def newest_first(self: Schedule, spans: list[tuple[int, int]], now: int) -> Any:
        found, missed = due(self, spans, now)
        return found[::-1], missed

    patch.setattr(Schedule, "_due", newest_first)


@bug("H1", "A tick is skipped because a run was there, although it has ended")
def ended_runs_count_as_live(patch: Patch) -> None:
    def any_run(self: Schedule, backend: Backend) -> InvocationKey | None:
        app, prefix = self._client.runtime.app_name, self.name + SEPARATOR
        found = backend.query(InvocationQuery(app=app, id_prefix=prefix, limit=1))
        return next((record.key for record in found), None)

    patch.setattr(Schedule, "_running", any_run)


@bug("H5", "A tick that is only late counts as missed")
def late_ticks_count_as_missed(patch: Patch) -> None:
    decide = ScheduleState.decide

    def missed(
        self: ScheduleState, tick: int, became: Became, at: int, new: NewInvocation | None = None
    ) -> bool:
        if at - tick < 500_000:
            return decide(self, tick, became, at, new)
        return decide(self, tick, "missed", at)

    patch.setattr(ScheduleState, "decide", missed)
