"""The commands `schedule ...`: look at the schedules of an app, pause them, fill gaps."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated

from cyclopts import App, Parameter

from perdure.api.schedules import Schedule, ScheduleInfo
from perdure.app import Perdure
from perdure.cli.failures import Exit, usage
from perdure.cli.locate import Source, load_app, open_reader
from perdure.cli.options import APP, WHERE, Act, Read
from perdure.cli.output import Output

AppOption = Annotated[str | None, Parameter(name=["--app", "-A"], group=WHERE, help=APP)]
Name = Annotated[str, Parameter(help="The schedule's name.")]


def add_schedule(app: App, out: Output, place: int) -> None:
    """Add the commands to the command line."""
    schedule = App(name="schedule", help="Look at schedules, pause and backfill.", sort_key=place)
    app.command(schedule)

    _add_list(schedule, out)
    _add_pauses(schedule, out)
    _add_backfill(schedule, out)


def _add_list(schedule: App, out: Output) -> None:
    @schedule.command(name="list", sort_key=0)
    def list_(*, app: AppOption = None, common: Read | None = None) -> Exit:
        """List the schedules that the app declares: what was decided last, and what is next."""
        loaded, named_by = _load(app)
        infos = _read(loaded, named_by)
        if (common or Read()).json:
            out.json([_json(info) for info in infos])
        elif infos:
            header = ("SCHEDULE", "RULE", "TIME ZONE", "LAST TICK", "NEXT TICK", "STATE")
            out.table(header, [_row(info) for info in infos])
        else:
            out.message(f"The app {named_by} declares no schedules. See @app.schedule.")
        return Exit.OK


def _add_pauses(schedule: App, out: Output) -> None:
    @schedule.command(sort_key=1)
    def pause(
        name: Name, /, *, reason: str = "", app: AppOption = None, common: Act | None = None
    ) -> Exit:
        """Start nothing of a schedule until it is resumed, in any process.

        Args:
            reason: text for people.
        """
        del common
        loaded, found = _find(app, name)
        with loaded:
            changed = found.pause(reason)
        out.message(f"{name} is paused." if changed else f"{name} was paused already.")
        return Exit.OK

    @schedule.command(sort_key=2)
    def resume(name: Name, /, *, app: AppOption = None, common: Act | None = None) -> Exit:
        """Go on with the ticks from now on. Those of the pause: perdure schedule backfill."""
        del common
        loaded, found = _find(app, name)
        with loaded:
            changed = found.resume()
            upcoming = found.info().next_tick
        told = f"{name} goes on" if changed else f"{name} was not paused"
        out.message(f"{told}; next tick {_iso(upcoming)}.")
        return Exit.OK


def _add_backfill(schedule: App, out: Output) -> None:
    @schedule.command(sort_key=3)
    def backfill(
        name: Name,
        start: str,
        end: str,
        /,
        *,
        app: AppOption = None,
        common: Act | None = None,
    ) -> Exit:
        """Start the run of every tick in a span that has none yet; print the ids of all of them.

        Args:
            start: its first moment, as 2026-03-29T00:00+01:00 or 2026-03-29T00:00Z.
            end: its end, which is not part of it.
        """
        del common
        loaded, found = _find(app, name)
        span = _moment(start, "START"), _moment(end, "END")
        with loaded:
            runs = found.backfill(*span)
        for run in runs:
            out.line(run.invocation_id)
        out.message(f"{len(runs)} tick(s); each of them has its one run.")
        return Exit.OK


def _load(given: str | None) -> tuple[Perdure, str]:
    loaded = load_app(given)
    if loaded is None:
        raise usage(
            "No app is named. Schedules are declared in code: give -A MODULE:ATTR, or set "
            "PERDURE_APP, or `app` in perdure.toml or under [tool.perdure] in pyproject.toml."
        )
    return loaded


def _find(given: str | None, name: str) -> tuple[Perdure, Schedule]:
    app, named_by = _load(given)
    found = app.schedules.get(name)
    if found is None:
        known = ", ".join(sorted(app.schedules)) or "none"
        raise usage(f"The app {named_by} declares no schedule {name!r}. Its schedules: {known}.")
    return app, found


def _read(app: Perdure, named_by: str) -> list[ScheduleInfo]:
    if not app.schedules:
        return []
    backend = open_reader(Source(app.settings, named_by))
    try:
        found: Iterable[Schedule] = (app.schedules[name] for name in sorted(app.schedules))
        return [schedule.info_in(backend, app.settings.name) for schedule in found]
    finally:
        backend.close()


def _row(info: ScheduleInfo) -> tuple[str, ...]:
    last = "" if info.last_tick is None else _iso(info.last_tick)
    became = f" ({info.last_became})" if info.last_became else ""
    state = "active"
    if info.paused:
        state = f"paused: {info.reason}" if info.reason else "paused"
    return (info.name, info.rule, info.timezone, last + became, _iso(info.next_tick), state)


def _json(info: ScheduleInfo) -> dict[str, object]:
    return {
        "name": info.name,
        "function": info.function,
        "rule": info.rule,
        "timezone": info.timezone,
        "paused": info.paused,
        "reason": info.reason,
        "last_tick": _iso(info.last_tick) or None,
        "last_became": info.last_became,
        "next_tick": _iso(info.next_tick) or None,
    }


def _iso(moment: datetime | None) -> str:
    return "" if moment is None else moment.isoformat().replace("+00:00", "Z")


def _moment(text: str, what: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise usage(f"{what} {text!r}: {error}. Write it as 2026-03-29T00:00Z.") from error
    if moment.utcoffset() is None:
        raise usage(
            f"{what} {text!r} has no time zone. Write it as {text}Z for UTC, or with its offset."
        )
    return moment
