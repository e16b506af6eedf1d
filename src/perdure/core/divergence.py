"""How a difference between journal and code is told: both sides, lines, cause, remedy."""

from __future__ import annotations

from typing import Protocol

from perdure.core.entries import Entry
from perdure.core.identity import InvocationKey

_REMEDY = (
    "The workflow is parked and its journal is untouched. If the code was changed, bring the\n"
    "old order back for workflows that are under way; if it was not, something in the workflow\n"
    "function is not deterministic (time, chance, environment, set order): draw it from wf, or\n"
    "wf.record it.\n"
    "Then let it go on with: perdure workflow resume {id}"
)


class _Asked(Protocol):
    """The part of a command that a report shows."""

    @property
    def kind(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def name(self) -> str: ...


class _Recorded(Protocol):
    """The part of an entry's meta that a report shows."""

    @property
    def draws(self) -> dict[str, int]: ...
    @property
    def line(self) -> str: ...


class _Place(Protocol):
    """The part of a scope that a report shows."""

    @property
    def path(self) -> str: ...
    @property
    def commands(self) -> int: ...


def _side(label: str, kind: str, key: str, name: str, draws: dict[str, int], line: str) -> str:
    after = ", ".join(f"{count} {kind}" for kind, count in sorted(draws.items())) or "no draws"
    return f"  {label} {kind} {name!r} as {key!r}, after {after}, at {line or 'an unknown line'}"


def _frame(key: InvocationKey, position: int, lines: list[str]) -> str:
    head = (
        f"Workflow {key.invocation_id!r} (generation {key.generation}) does not replay: "
        f"position {position} of its journal differs from what the code asks for."
    )
    return "\n".join([head, *lines, _REMEDY.format(id=key.invocation_id)])


def describe_mismatch(
    key: InvocationKey,
    entry: Entry,
    then: _Recorded,
    command: _Asked,
    draws: dict[str, int],
    line: str,
) -> str:
    """The code asks for another command than the journal holds at this place."""
    if entry.kind != command.kind or entry.name != command.name:
        cause = "another operation stands here now"
    elif then.draws != draws:
        cause = "another number of draws comes before it now"
    else:
        cause = "its place in its own sequence changed"
    return _frame(
        key,
        entry.position,
        [
            _side("recorded:", entry.kind, entry.key, entry.name, then.draws, then.line),
            _side("now:     ", command.kind, command.key, command.name, draws, line),
            f"  cause:    {cause}",
        ],
    )


def describe_arguments(
    key: InvocationKey, entry: Entry, then: str, recorded: bytes, asked: bytes, line: str
) -> str:
    """The same command is asked for with other arguments."""
    return _frame(
        key,
        entry.position,
        [
            f"  recorded: {entry.name}({_short(recorded)}), at {then or 'an unknown line'}",
            f"  now:      {entry.name}({_short(asked)}), at {line or 'an unknown line'}",
            "  cause:    other arguments are given now",
        ],
    )


def describe_surplus(key: InvocationKey, end: Entry, command: _Asked, line: str) -> str:
    """The scope ended here; the code goes on."""
    return _frame(
        key,
        end.position,
        [
            f"  recorded: the end of scope {end.scope or 'root'!r}",
            f"  now:      {command.kind} {command.name!r} as {command.key!r}, at {line}",
            "  cause:    the code asks for more operations than before",
        ],
    )


def describe_leftover(key: InvocationKey, entry: Entry, then: _Recorded, scope: _Place) -> str:
    """The code ended; the journal holds more."""
    name = scope.path or "root"
    return _frame(
        key,
        entry.position,
        [
            _side("recorded:", entry.kind, entry.key, entry.name, then.draws, then.line),
            f"  now:      the end of scope {name!r} after {scope.commands} commands",
            "  cause:    the code asks for fewer operations than before",
        ],
    )


def _short(body: bytes) -> str:
    text = body.decode("utf-8", "replace")
    return text if len(text) <= 300 else text[:300] + "..."
