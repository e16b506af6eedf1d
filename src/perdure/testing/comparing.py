"""Compares the journals of two runs of one workflow. Pure: entries in, findings out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from perdure.core.entries import COMMANDS, Entry, EntryKind
from perdure.core.reading import Meta
from perdure.core.scope import IDEMPOTENCY_KEY, UUID
from perdure.engine.outcome import read_body
from perdure.testing.reports import Finding, Kind
from perdure.testing.survivors import Survivors, body_id

_WHEN_FLUSHED = frozenset(
    {EntryKind.DRAWS, EntryKind.BEGAN, EntryKind.UNBEGUN, EntryKind.ATTEMPT, EntryKind.MEMO}
)
"""Entries whose place depends on crashes and failures, not on what the code asks for."""

_decode_meta = msgspec.json.Decoder(Meta).decode
_decode_draws = msgspec.json.Decoder(dict[str, tuple[int, list[object]]]).decode


def line_of(entry: Entry) -> str:
    """`file:line` of the workflow code that asked for it."""
    return _decode_meta(entry.meta).line if entry.meta else ""


def first_difference(name: str, one: Sequence[Entry], two: Sequence[Entry]) -> Finding | None:
    """What the code asked for otherwise although it was given the same up to there.

    None where it was given something else first: then it may well ask for something else.
    """
    asked = [[each for each in run if each.kind not in _WHEN_FLUSHED] for run in (one, two)]
    for then, now in zip(*asked, strict=False):
        if then.scope != now.scope:
            return None  # branches that came in another order
        if _is_end(then) or _is_end(now):
            return _ended_otherwise(name, then, now)
        if then.ordinal != now.ordinal or _is_given_otherwise(then, now):
            return None
        if _question(then) != _question(now):
            return Finding(
                Kind.UNSTABLE,
                f"workflow {name!r} asked for {_told(then)} in one run and for {_told(now)} in "
                "another one that was given the same. Something in it is not deterministic: draw "
                "it from wf, or wf.record it.",
                line_of(now) or line_of(then),
            )
        if then.body != now.body:
            return None
    return None


def _is_end(entry: Entry) -> bool:
    return entry.kind == EntryKind.END


def _is_given_otherwise(then: Entry, now: Entry) -> bool:
    """Whether other things arrived: a message before the end of a child, or after it."""
    are_arrivals = then.kind not in COMMANDS and now.kind not in COMMANDS
    return are_arrivals and (then.kind, then.name, then.key) != (now.kind, now.name, now.key)


def _question(entry: Entry) -> tuple[object, ...]:
    draws = _decode_meta(entry.meta).draws if entry.kind in COMMANDS else {}
    return entry.kind, entry.name, entry.key, entry.digest, draws


def _told(entry: Entry) -> str:
    arguments = ""
    if entry.digest and entry.body.startswith(b'{"arguments":'):
        arguments = msgspec.json.encode(msgspec.json.decode(entry.body)["arguments"]).decode()
    return f"{entry.kind} {entry.name!r} {arguments}".rstrip()[:300]


def _ended_otherwise(name: str, then: Entry, now: Entry) -> Finding | None:
    if _is_end(then) and _is_end(now):
        if then.body == now.body:
            return None
        what = "two runs that were given the same ended differently"
    else:
        more = now if _is_end(then) else then
        what = f"one run ended where another one, given the same, asked for {_told(more)}"
    return Finding(
        Kind.UNSTABLE,
        f"workflow {name!r}: {what}. Its result depends on something that is not recorded.",
        line_of(then) or line_of(now),
    )


def lines_of_bodies(survivors: Survivors) -> dict[str, str]:
    """`file:line` of the call of each task, by the id that its body sees."""
    found: dict[str, str] = {}
    for key, row in survivors.rows.items():
        for entry in survivors.journals[key]:
            if not (line := line_of(entry)):
                continue
            if entry.kind in {EntryKind.TASK, EntryKind.BEGAN, EntryKind.ATTEMPT}:
                found[body_id(row, entry)] = line
            elif entry.kind == EntryKind.START and (child := read_body(entry.body).id):
                found[child] = line
    return found


def keys_drawn(survivors: Survivors) -> set[str]:
    """Every idempotency key and uuid that workflow code drew."""
    return {
        str(value)
        for journal in survivors.journals.values()
        for entry in journal
        if entry.kind == EntryKind.DRAWS
        for kind, (_, values) in _decode_draws(entry.body).items()
        if kind in {IDEMPOTENCY_KEY, UUID}
        for value in values
    }


def unlike(one: Survivors, two: Survivors) -> Iterator[Finding]:
    """Where the workflows of two runs differ although they were given the same."""
    for key, row in one.rows.items():
        other = two.rows.get(key)
        if row.kind == "workflow" and other is not None and other.seed == row.seed:
            found = first_difference(row.name, one.journals[key], two.journals[key])
            if found is not None:
                yield found
