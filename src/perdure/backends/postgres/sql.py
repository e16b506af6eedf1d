"""The statements of this backend, by name. Their text and descriptions live in `statements/`."""

from __future__ import annotations

import itertools
import re
from importlib.resources import files

from perdure.backends.sqltext import load

STATEMENTS = load(files("perdure.backends.postgres") / "statements")


def text(name: str) -> bytes:
    """The text of one statement, constant for the life of the process, so it stays prepared."""
    return _TEXTS[name]


# As bytes: psycopg takes `str` only where a type checker sees a literal, and ours are in files.
_TEXTS = {name: statement.text.encode() for name, statement in STATEMENTS.items()}

_NUMBERED: dict[str, bytes] = {}


def numbered(name: str) -> bytes:
    """The same text with the server's own placeholders: $1, $2, ... for each %s in turn."""
    if name not in _NUMBERED:
        count = itertools.count(1)
        _NUMBERED[name] = re.sub(rb"%s", lambda _: b"$%d" % next(count), text(name))
    return _NUMBERED[name]
