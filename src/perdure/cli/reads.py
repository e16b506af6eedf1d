"""The commands that look: list, show, result, doctor. They need a database, never user code."""

from __future__ import annotations

import platform
import sqlite3
import sys
import time
from collections.abc import Iterator, Sequence
from importlib import metadata
from typing import Any

from perdure._version import __version__
from perdure.backends.base import Backend, InvocationQuery, InvocationRecord
from perdure.backends.endings import deadline_of
from perdure.cli.failures import CommandError, Exit, exit_code_of, exit_code_of_reason, usage
from perdure.cli.locate import Source, find_record, key_text, open_reader
from perdure.cli.output import STYLES, Cell, Output
from perdure.cli.text import clock, iso, raw, shorten, span
from perdure.cli.timeline import entry_json, read_failure, table_rows, timeline
from perdure.core.entries import Entry, verify_chain
from perdure.core.lifecycle import STOPPED, TERMINAL, InvocationState
from perdure.engine.early import left_behind
from perdure.engine.outcome import reason_of
from perdure.errors import (
    BackendError,
    DeadlinePassed,
    DeserializationError,
    InvocationNotFound,
    JournalCorrupted,
)
from perdure.values import stable_name

POLL_FIRST_SECONDS = 0.05
POLL_MAX_SECONDS = 0.5
"""How often `result --wait` looks; it starts quickly and settles down."""

LIBRARIES = ("cronsim", "cyclopts", "msgspec", "pydantic", "rich", "uuid-utils")

# --- list ---------------------------------------------------------------------------------------


def list_workflows(
    out: Output,
    source: Source,
    *,
    query: InvocationQuery,
    after: str | None,
    as_json: bool,
) -> Exit:
    """One page, newest first."""
    backend = open_reader(source)
    try:
        if after is not None:
            key = find_record(backend, after).key
            query = InvocationQuery(
                app=query.app,
                kind=query.kind,
                name=query.name,
                states=query.states,
                limit=query.limit,
                after=key,
            )
        records = backend.query(query)
    finally:
        backend.close()
    if as_json:
        out.json([record_json(record) for record in records])
    elif records:
        out.table(
            ("ID", str(query.kind).upper(), "STATUS", "ENTRIES", "CREATED (UTC)", "TOOK"),
            map(_row, records),
        )
    else:
        out.message(
            f"No {query.kind} of app {source.settings.name!r} matches in {source.url} (named by "
            f"{source.named_by}). Another database: --url; another app name: --app-name."
        )
    if len(records) == query.limit:
        out.message(f"There may be more: --after {key_text(records[-1])}")
    return Exit.OK


def _row(record: InvocationRecord) -> Sequence[Cell | str]:
    took = "" if record.finished_at is None else span(record.finished_at - record.created_at)
    return (
        key_text(record),
        record.name,
        Cell(record.state.value, STYLES.get(record.state.value, "")),
        str(record.head),
        clock(record.created_at),
        took,
    )


def record_json(record: InvocationRecord) -> dict[str, Any]:
    """An invocation as plain data, without its values."""
    return {
        "id": record.key.invocation_id,
        "generation": record.key.generation,
        "kind": record.kind,
        "name": record.name,
        "app": record.app,
        "status": record.state.value,
        "reason": record.reason or None,
        "parent": record.parent.invocation_id if record.parent else None,
        "entries": record.head,
        "attempts": record.attempts,
        "crashes": record.crashes,
        "code_version": record.code_version or None,
        "created_at": iso(record.created_at),
        "finished_at": iso(record.finished_at),
        "wake_at": iso(record.wake_at),
        "deadline": iso(deadline_of(record.options, record.created_at)),
    }


# --- show ---------------------------------------------------------------------------------------


def show(out: Output, source: Source, wanted: str, *, as_json: bool) -> Exit:
    """One invocation and its journal."""
    backend = open_reader(source)
    try:
        record, entries = _read_together(backend, wanted)
    finally:
        backend.close()
    damage = _damage(record, entries)
    start = record.base_time or record.created_at
    if as_json:
        told = record_json(record) | values_json(record)
        told["damage"] = damage or None
        told["journal"] = [entry_json(entry, start) for entry in entries]
        out.json(told)
    else:
        _show(out, record, entries, start)
    if damage:
        out.error(damage, JournalCorrupted.code)
        return Exit.DATABASE
    return Exit.OK


def _read_together(backend: Backend, wanted: str) -> tuple[InvocationRecord, list[Entry]]:
    """The row and its journal up to the head that the row names.

    They are two reads. The journal only grows, so what was appended in between is left out.
    """
    record = find_record(backend, wanted)
    return record, backend.read_journal(record.key)[: record.head]


def _damage(record: InvocationRecord, entries: Sequence[Entry]) -> str:
    try:
        verify_chain(record.key, record.seed, entries, record.head)
    except JournalCorrupted as error:
        return str(error)
    return ""


def values_json(record: InvocationRecord) -> dict[str, Any]:
    """Arguments and outcome as recorded; what is not there yet is not in it."""
    values: dict[str, Any] = {"arguments": raw(record.arguments)}
    if record.outcome is not None:
        completed = record.state is InvocationState.COMPLETED
        values["result" if completed else "error"] = raw(record.outcome)
    return values


def _show(out: Output, record: InvocationRecord, entries: Sequence[Entry], start: int) -> None:
    state = record.state.value
    pairs: list[tuple[str, str | Cell]] = [
        (record.kind, record.name),
        ("id", key_text(record)),
        ("status", Cell(state, STYLES.get(state, ""))),
        ("created", f"{iso(record.created_at)}"),
    ]
    pairs += _moments(record)
    if record.owner:
        pairs.append(("run by", record.owner))
    if record.parent is not None:
        pairs.append(("parent", record.parent.invocation_id))
    if record.crashes:
        pairs.append(("crashes", str(record.crashes)))
    if record.attempts:
        pairs.append(("failed attempts", str(record.attempts)))
    pairs.append(("arguments", shorten(_utf8(record.arguments), 400)))
    if record.outcome is not None:
        pairs.append(_outcome_pair(record, record.outcome))
    if record.reason:
        pairs.append(("reason", Cell(record.reason, "red")))
    if record.state is InvocationState.TERMINATED and (left := _left_behind(entries)):
        pairs.append(("undo", Cell("\n".join(left), "red")))
    out.pairs(pairs)
    if record.kind == "workflow":
        out.line()
        header = ("POS", "KIND", "KEY", "OPERATION", "VALUE", "AFTER", "SOURCE")
        out.table(header, table_rows(timeline(entries), start))


def _moments(record: InvocationRecord) -> Iterator[tuple[str, str]]:
    """When it ended, goes on, and is to have ended."""
    if record.finished_at is not None:
        took = span(record.finished_at - record.created_at)
        yield "finished", f"{iso(record.finished_at)} (took {took})"
    if record.wake_at is not None:
        yield "wakes at", f"{iso(record.wake_at)}"
    deadline = deadline_of(record.options, record.created_at)
    if deadline is not None:
        yield "deadline", f"{iso(deadline)}"


def _outcome_pair(record: InvocationRecord, outcome: bytes) -> tuple[str, str | Cell]:
    if record.state is InvocationState.COMPLETED:
        return "result", shorten(_utf8(outcome), 400)
    failure = read_failure(outcome)
    place = f"\nraised at {failure.place}" if failure.place else ""
    return "error", Cell("\n".join([failure.headline, *failure.notes]) + place, "red")


def _utf8(body: bytes) -> str:
    return body.decode("utf-8", "backslashreplace")


# --- result -------------------------------------------------------------------------------------


def result(
    out: Output,
    source: Source,
    wanted: str,
    *,
    wait: bool,
    timeout: float | None,
    as_json: bool,
    debug: bool,
) -> Exit:
    """The recorded result of an invocation, or why there is none."""
    if timeout is not None and not wait:
        raise usage("--timeout says how long to wait; give --wait with it.")
    backend = open_reader(source)
    try:
        record = find_record(backend, wanted)
        record, timed_out = _wait(backend, record, timeout) if wait else (record, False)
        notes = notes_of_end(record, backend)
    finally:
        backend.close()
    if as_json:
        out.json(record_json(record) | values_json(record))
    waited = timeout if timed_out else None
    return report_outcome(out, record, notes, waited=waited, print_result=not as_json, debug=debug)


def _wait(
    backend: Backend, record: InvocationRecord, timeout: float | None
) -> tuple[InvocationRecord, bool]:
    """The record once it cannot go on by itself; True if the time was up before."""
    deadline = None if timeout is None else time.monotonic() + timeout
    pause = POLL_FIRST_SECONDS
    while record.state not in TERMINAL | STOPPED:
        left = pause if deadline is None else min(pause, deadline - time.monotonic())
        if left <= 0:
            return record, True
        time.sleep(left)
        pause = min(pause * 2, POLL_MAX_SECONDS)
        found = backend.read(*record.key)
        if found is None:
            raise InvocationNotFound(f"Invocation {record.key.invocation_id!r} was removed.")
        record = found
    return record, False


def notes_of_end(record: InvocationRecord, backend: Backend) -> list[str]:
    """What was undone and what was not, of what ended before it had a result."""
    if record.state is InvocationState.CANCELLED:
        return list(read_failure(record.outcome or b"{}").notes)
    if record.state is not InvocationState.TERMINATED:
        return []
    return _left_behind(backend.read_journal(record.key)[: record.head])


def _left_behind(entries: Sequence[Entry]) -> list[str]:
    try:
        return left_behind(entries)
    except JournalCorrupted:  # the state is what was asked for; its damage is told by verify
        return []


def report_outcome(
    out: Output,
    record: InvocationRecord,
    notes: Sequence[str] = (),
    *,
    waited: float | None,
    print_result: bool,
    debug: bool,
) -> Exit:
    """Print the result to stdout, or why there is none to stderr.

    Args:
        notes: see `notes_of_end`.
        waited: seconds after which a wait was given up.
        debug: print the recorded traceback of a failure.
    """
    shown = f"{record.kind} {record.name!r} ({key_text(record)})"
    state = record.state
    if state is InvocationState.COMPLETED:
        if print_result:
            out.json(raw(record.outcome or b"null"))
        return Exit.OK
    if state is InvocationState.FAILED:
        failure = read_failure(record.outcome or b"{}")
        lines = [f"{shown} failed: {failure.headline}", *failure.notes]
        if debug and failure.traceback:
            lines.append(failure.traceback.rstrip())
        elif failure.place:
            lines.append(f"Raised at {failure.place}. (--debug shows the traceback.)")
        out.error("\n".join(lines))
        return Exit.FAILED
    if state in TERMINAL:
        why = f"{shown} was {state}, so it has no result.{_why(record)}"
        out.error("\n".join([why, *notes]))
        return Exit.FAILED
    if state in STOPPED:
        out.error(f"{shown} is {state}: {record.reason}")
        return exit_code_of_reason(record.reason)
    if waited is not None:
        out.error(f"{shown} is {state} after {waited:g} seconds of waiting. It goes on.")
    else:
        out.error(f"{shown} is {state}, it has no result yet. --wait waits for it.")
    return Exit.TIMEOUT


def _why(record: InvocationRecord) -> str:
    """What is recorded of why it was cancelled or terminated, behind a space; "" for nothing."""
    failure = read_failure(record.outcome or b"{}")
    if failure.type == stable_name(DeadlinePassed):
        return f" {failure.message}"
    try:
        reason = reason_of(record, record.outcome or b"{}")
    except DeserializationError:  # the state is what was asked for; its damage is told by verify
        return ""
    return f" Reason: {reason}" if reason else ""


# --- doctor -------------------------------------------------------------------------------------


def doctor(out: Output, source: Source, *, as_json: bool) -> Exit:
    """Settings, versions, facts and problems. It looks at every page and every journal."""
    settings = {
        name: getattr(source.settings, name) for name in source.settings.__struct_fields__
    } | {"database_url": source.url, "named_by": source.named_by}
    facts: dict[str, str] = {}
    problems: list[str] = []
    code = Exit.OK
    try:
        backend = open_reader(source)
        try:
            health = backend.health()
        finally:
            backend.close()
    except CommandError as error:
        problems.append(str(error))
        code = error.exit_code
    except BackendError as error:
        problems.append(f"{error} [{error.code}]")
        code = exit_code_of(error)
    else:
        facts = {"backend": health.backend, **health.facts}
        problems.extend(health.problems)
        code = Exit.FAILED if problems else Exit.OK
    if as_json:
        versions = _versions()
        out.json({"versions": versions, "settings": settings, "facts": facts, "problems": problems})
        return code
    out.line("Versions", "bold")
    out.pairs(_versions().items(), "  ")
    out.line("Settings", "bold")
    out.pairs(((name, str(value)) for name, value in settings.items()), "  ")
    if facts:
        out.line("Database", "bold")
        out.pairs(facts.items(), "  ")
    out.line("Problems" if problems else "No problems found.", "bold red" if problems else "green")
    out.pairs((f"{number}.", problem) for number, problem in enumerate(problems, 1))
    return code


def _versions() -> dict[str, str]:
    versions = {
        "perdure": __version__,
        "python": f"{platform.python_version()} ({sys.executable})",
        "platform": platform.platform(),
        "sqlite": sqlite3.sqlite_version,
    }
    for name in LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions
