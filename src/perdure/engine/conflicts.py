"""What is said of an id that belongs to something else. Pure."""

from __future__ import annotations

import msgspec

from perdure.backends.base import InvocationRecord, NewInvocation
from perdure.errors import StartConflict

SHOWN_MAX = 120
"""Characters of an argument that a conflict shows."""


def conflict(existing: InvocationRecord, new: NewInvocation) -> StartConflict:
    """The error for an id that is taken by something else; it names what differs."""
    key = existing.key
    if existing.app != new.app:
        what = f"as {existing.name!r} by the app {existing.app!r}, which shares this database"
    elif existing.name != new.name:
        what = f"as {existing.name!r}, and now {new.name!r} is asked for"
    else:
        what = f"as {existing.name!r} with other input ({_difference(existing, new)})"
    return StartConflict(
        f"Invocation {key.invocation_id!r} (generation {key.generation}) was started before "
        f"{what}. Nothing was started. For another piece of work use another id; to get the one "
        f"that exists, whatever its input, use .get({key.invocation_id!r})."
    )


def _difference(existing: InvocationRecord, new: NewInvocation) -> str:
    """Which arguments differ, as they are recorded."""
    decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
    old, asked = decode(existing.arguments), decode(new.arguments)
    names = [name for name in {**old, **asked} if old.get(name) != asked.get(name)]
    return "; ".join(
        f"{name}: {_shown(old.get(name))} recorded, {_shown(asked.get(name))} now" for name in names
    )


def _shown(value: msgspec.Raw | None) -> str:
    if value is None:
        return "nothing"
    text = bytes(value).decode("utf-8", "replace")
    return text if len(text) <= SHOWN_MAX else text[:SHOWN_MAX] + "..."
