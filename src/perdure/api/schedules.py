"""Schedules: which function is started at which moments, and what became of the ticks.

A tick is decided by one put-if-absent of the register, which carries the start of its run: any
number of processes may decide the same tick, and one of them does.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, cast
from zoneinfo import ZoneInfo

import msgspec

from perdure.api import ticks as tick_rules
from perdure.api.checks import prose
from perdure.api.client import Client
from perdure.api.functions import Registered
from perdure.api.invocation import DistributedInvocation
from perdure.api.moments import aware, from_datetime, to_datetime
from perdure.api.outside import refuse_undurable
from perdure.api.schedule_state import Became, ScheduleState
from perdure.api.ticks import Cron, Every, Ticks, name_of, read_zone
from perdure.backends.base import Backend, InvocationQuery
from perdure.core.identity import InvocationKey, validate_identifier
from perdure.core.lifecycle import TERMINAL, InvocationState
from perdure.core.retry import seconds
from perdure.engine import flows
from perdure.errors import ConfigurationError, InvalidIdentifier, RegistrationError, UnknownName

logger = logging.getLogger("perdure.schedules")

CatchUp = Literal["last", "all", "none"]
Overlap = Literal["allow", "skip"]
ScheduleArguments = Mapping[str, Any] | Callable[[datetime], Mapping[str, Any]]
"""The arguments of each run by name, or a function of the tick that gives them."""

MISSED_SECONDS = 60
"""A tick that nobody decided for so long is missed; until then it is only late."""
CATCH_UP_LIMIT = 100
"""Missed ticks that are started at most, the newest ones."""
BACKFILL_MAX = 10_000
"""Runs of one backfill."""
SEPARATOR = "@"
"""Between the name of a schedule and the tick, in the id of a run."""
LIVE = tuple(state for state in InvocationState if state not in TERMINAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a schedule does where things do not go smoothly. See `Perdure.schedule`.

    Attributes:
        jitter: microseconds by which a run begins later than its tick, at most.
    """

    catch_up: CatchUp = "last"
    catch_up_limit: int = CATCH_UP_LIMIT
    overlap: Overlap = "allow"
    jitter: int = 0


class ScheduleInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule as it stands: what was decided last, and what is next."""

    name: str
    function: str
    rule: str
    timezone: str
    paused: bool
    reason: str
    last_tick: datetime | None
    last_became: Became | None
    next_tick: datetime | None


class Schedule:
    """A declared schedule: `app.schedules["name"]`. Its durable state is in the state backend."""

    def __init__(
        self,
        name: str,
        ticks: Ticks,
        timezone: ZoneInfo,
        target: tuple[Registered[..., Any], ScheduleArguments],
        policy: Policy,
        client: Client,
    ) -> None:
        """Made by `@app.schedule`, not by users."""
        self.name = name
        self.ticks = ticks
        self.policy = policy
        self.timezone, self._zone = timezone.key, timezone
        self.function, self._arguments = target
        self._client = client

    def _state(self) -> ScheduleState:
        runtime = self._client.runtime
        return ScheduleState(runtime.backend, runtime.app_name, self.name)

    # --- deciding -------------------------------------------------------------------------------

    def run_due(self) -> list[InvocationKey]:
        """Decide every tick that is due and undecided; gives the runs that this call started.

        Each tick is one transaction: its run, what became of it, and how far the schedule is. A
        crash in between leaves the rest to the next call, here or elsewhere.
        """
        runtime = self._client.runtime
        now, state = runtime.backend.now(), self._state()
        due, newest_missed = self._due(state.open_spans(now), now)
        if not due and newest_missed is not None:
            state.decide(newest_missed, "missed", now)
        started: list[InvocationKey] = []
        for tick in due:
            if self.policy.overlap == "skip" and (running := self._running(runtime.backend)):
                logger.info("%s is skipped: %s runs still", self.run_id(tick), running)
                state.decide(tick, "skipped", now)
                continue
            new = self._new(tick, max(0, tick + self._delay(tick) - now))
            if state.decide(tick, "started", now, new):
                started.append(InvocationKey(new.invocation_id, 1))
        if started:
            runtime.hub.touched(tuple(started))
        return started

    def _due(self, spans: list[tuple[int, int]], now: int) -> tuple[list[int], int | None]:
        """The ticks to start, oldest first, and the newest of the missed ones, if any."""
        policy, ticks = self.policy, self.ticks
        border = now - MISSED_SECONDS * flows.MICROSECONDS
        on_time: list[int] = []
        missed: list[int] = []
        for after, until in reversed(spans):
            on_time[:0] = tick_rules.between(ticks, max(after, border), until)
            wanted = policy.catch_up_limit + 1 - len(missed)
            if wanted > 0:
                missed[:0] = tick_rules.latest(ticks, after, min(until, border), wanted)
        if not missed:
            return on_time, None
        caught_up = {
            "all": missed[-policy.catch_up_limit :],
            "last": [] if on_time else missed[-1:],
            "none": [],
        }[policy.catch_up]
        if len(caught_up) < len(missed):
            logger.warning(
                "schedule %r: of the ticks from %s to %s, which nobody decided in time, %d are "
                "started (catch_up=%r).",
                self.name,
                name_of(missed[0]),
                name_of(missed[-1]),
                len(caught_up),
                policy.catch_up,
            )
        return caught_up + on_time, missed[-1]

    def _running(self, backend: Backend) -> InvocationKey | None:
        """A run of this schedule that has not ended, if any."""
        query = InvocationQuery(
            app=self._client.runtime.app_name,
            states=LIVE,
            id_prefix=self.name + SEPARATOR,
            limit=1,
        )
        return next((record.key for record in backend.query(query)), None)

    def _delay(self, tick: int) -> int:
        """The jitter of a tick in microseconds: the same in every process."""
        if not self.policy.jitter:
            return 0
        digest = hashlib.blake2b(self.run_id(tick).encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") * (self.policy.jitter + 1) >> 64

    def run_id(self, tick: int) -> str:
        """The id of the run of a tick, and so what makes it one run."""
        return f"{self.name}{SEPARATOR}{name_of(tick)}"

    def _new(self, tick: int, delay: int) -> Any:
        given = self._arguments
        named = given(to_datetime(tick).astimezone(self._zone)) if callable(given) else given
        call = self.function.definition.call((), named)
        new = self.function.new_outside(call)
        return msgspec.structs.replace(new, invocation_id=self.run_id(tick), delay=delay)

    def next_tick(self, after: int) -> int | None:
        """The first tick after a moment, in microseconds."""
        return next(self.ticks.after(after), None)

    # --- for users ------------------------------------------------------------------------------

    def pause(self, reason: str = "") -> bool:
        """Start nothing until `resume`, in any process; False if it is paused already.

        Durable when this returns. A tick that is being decided at that moment may still be started.

        Args:
            reason: text for people.

        Raises:
            ConfigurationError: the reason is no text.
        """
        refuse_undurable("schedule.pause(...)")
        return self._state().change(paused=True, reason=prose(reason, "reason"))

    def resume(self) -> bool:
        """Go on with the ticks from now on; False if it is not paused.

        The ticks of the pause are not missed and are not caught up with; `backfill` starts them.
        One that was due before the pause, and that nobody had decided yet, is late or missed.
        """
        refuse_undurable("schedule.resume()")
        return self._state().change(paused=False, reason="")

    def backfill(self, start: datetime, end: datetime) -> list[DistributedInvocation[Any]]:
        """Start the run of every tick in `start <= tick < end` that has none, and give all of them.

        Whether it was missed, skipped or paused: each tick has one run. They begin at once, without
        jitter and whatever the overlap policy says. Repeated after a crash it goes on.

        Raises:
            ConfigurationError: `end` lies in the future or before `start`, or there are more than
                10,000 ticks.
        """
        refuse_undurable("schedule.backfill(...)")
        first, last = (from_datetime(aware(each, "backfill")) - 1 for each in (start, end))
        if first > last:
            raise ConfigurationError(
                f"backfill({start!r}, {end!r}) ends before it starts. Give the earlier one first."
            )
        if last >= self._client.runtime.backend.now():
            raise ConfigurationError(
                f"backfill(..., {end!r}) ends in the future, whose ticks come by themselves. End "
                "it at the present."
            )
        if first < -1:
            raise ConfigurationError(
                f"backfill({start!r}, ...) begins before 1970, where no tick is."
            )
        wanted: list[int] = []
        for tick in tick_rules.between(self.ticks, first, last):
            wanted.append(tick)
            if len(wanted) > BACKFILL_MAX:
                raise ConfigurationError(
                    f"backfill({start!r}, {end!r}) has more than {BACKFILL_MAX:,} ticks. Nothing "
                    "was started. Take a shorter span, and then the next one."
                )
        return [self._start(tick) for tick in wanted]

    def _start(self, tick: int) -> DistributedInvocation[Any]:
        found = self._client.find(self.run_id(tick))
        key = self._client.start(self._new(tick, 0), "return") if found is None else found.key
        return DistributedInvocation(self._client, key, self.function.definition)

    def info(self) -> ScheduleInfo:
        """How it stands. Reads only."""
        refuse_undurable("schedule.info()")
        runtime = self._client.runtime
        return self.info_in(runtime.backend, runtime.app_name)

    def info_in(self, backend: Backend, app_name: str) -> ScheduleInfo:
        """How it stands in a state backend that need not be the app's own one."""
        state = ScheduleState(backend, app_name, self.name)
        change, handled = state.last_change(), state.handled()
        upcoming = None if change.paused else self.next_tick(backend.now())
        return ScheduleInfo(
            name=self.name,
            function=self.function.name,
            rule=self.ticks.text,
            timezone=self.timezone,
            paused=change.paused,
            reason=change.reason,
            last_tick=None if handled is None else to_datetime(handled),
            last_became=None if handled is None else state.became(handled),
            next_tick=None if upcoming is None else to_datetime(upcoming),
        )

    def __repr__(self) -> str:
        """Name and rule."""
        return f"<Schedule {self.name!r} of {self.function.name!r}: {self.ticks.text}>"


class Schedules(Mapping[str, Schedule]):
    """The declared schedules of an app, by name. Filled while modules are imported."""

    def __init__(self, client: Client) -> None:
        """Start with none."""
        self._client = client
        self._by_name: dict[str, Schedule] = {}

    def declare(
        self,
        target: object,
        rule: str | timedelta,
        timezone: str | ZoneInfo,
        name: str | None,
        arguments: ScheduleArguments,
        policy: Policy,
    ) -> Schedule:
        """Add a schedule. See `Perdure.schedule`."""
        if not isinstance(target, Registered):
            raise RegistrationError(
                f"@app.schedule got {target!r}, which is no workflow and no task. Write it above "
                "@app.workflow (or @app.task), or call app.schedule(...)(the_workflow)."
            )
        function = cast("Registered[..., Any]", target)
        zone = read_zone(timezone)
        ticks = Cron(rule, zone) if isinstance(rule, str) else Every(rule)
        chosen = _check_name(function.name if name is None else name)
        schedule = Schedule(chosen, ticks, zone, (function, arguments), policy, self._client)
        if not callable(arguments):
            _check_arguments(function, arguments)
        if self._by_name.setdefault(chosen, schedule) is not schedule:
            raise RegistrationError(
                f"There are two schedules of the name {chosen!r}, which names their runs. Give one "
                "of them another: @app.schedule(..., name='...')."
            )
        return schedule

    def run_due(self) -> list[DistributedInvocation[Any]]:
        """Decide, here and now, every tick that is due and undecided; gives the runs it started.

        For scripts and tests. `perdure worker`, `app.start_worker` and `app.start_scheduler` do it
        at each tick.
        """
        refuse_undurable("app.schedules.run_due()")
        return [
            DistributedInvocation(self._client, key, schedule.function.definition)
            for schedule in self._by_name.values()
            for key in schedule.run_due()
        ]

    def __getitem__(self, name: str) -> Schedule:
        """The schedule of this name.

        Raises:
            UnknownName: (a KeyError) there is none.
        """
        found = self._by_name.get(name)
        if found is None:
            raise UnknownName(
                f"There is no schedule {name!r} in this process. Declared here: "
                f"{', '.join(sorted(self._by_name)) or 'none'}. Import the module that declares it."
            )
        return found

    def __iter__(self) -> Iterator[str]:
        """All names."""
        return iter(self._by_name)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._by_name)


def make_policy(
    catch_up: CatchUp, catch_up_limit: int, overlap: Overlap, jitter: float | timedelta
) -> Policy:
    """A policy of what callers without a type checker may have given, too.

    Raises:
        ConfigurationError: a word that is not known, or a number that makes no sense.
    """
    words: tuple[tuple[str, object, tuple[str, ...]], ...] = (
        ("catch_up", catch_up, ("last", "all", "none")),
        ("overlap", overlap, ("allow", "skip")),
    )
    for what, given, known in words:
        if given not in known:
            raise ConfigurationError(f"{what}={given!r}: expected one of {', '.join(known)}.")
    if not _is_count(catch_up_limit):
        raise ConfigurationError(
            f"catch_up_limit={catch_up_limit!r}: expected 1 to {BACKFILL_MAX:,}. For none at all: "
            'catch_up="none".'
        )
    longest = int(seconds(jitter, "jitter") * flows.MICROSECONDS)
    return Policy(catch_up=catch_up, catch_up_limit=catch_up_limit, overlap=overlap, jitter=longest)


def _is_count(given: object) -> bool:
    return isinstance(given, int) and not isinstance(given, bool) and 1 <= given <= BACKFILL_MAX


def _check_arguments(function: Registered[..., Any], arguments: object) -> None:
    try:
        # What is no mapping is refused as a call with it would be.
        function.definition.binder.bind((), dict(**cast("Mapping[str, Any]", arguments)))
    except TypeError as error:
        raise ConfigurationError(
            f"A schedule cannot call {function.name!r}: {error}. Give what it needs by name, such "
            'as @app.schedule(..., arguments={"region": "eu"}), or a function of the tick: '
            'arguments=lambda tick: {"day": tick.date()}.'
        ) from error


def _check_name(name: str) -> str:
    validate_identifier(name, "the name of a schedule")
    if SEPARATOR in name:
        raise InvalidIdentifier(
            f"the name of a schedule {name!r} has {SEPARATOR!r}, which stands between it and the "
            "tick in the ids of its runs. Use another character."
        )
    validate_identifier(f"{name}{SEPARATOR}{name_of(1)}", "the id of a run of this schedule")
    return name
