"""What a state backend says of itself."""

from __future__ import annotations

import msgspec


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """What `doctor` shows of a backend: facts, settings, and problems as sentences for people."""

    backend: str
    facts: dict[str, str]
    problems: tuple[str, ...]
