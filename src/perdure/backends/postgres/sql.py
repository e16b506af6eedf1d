"""The statements of this backend, by name. Their text and descriptions live in `statements/`."""

from __future__ import annotations

from importlib.resources import files

from perdure.backends.sqltext import load

STATEMENTS = load(files("perdure.backends.postgres") / "statements")


def text(name: str) -> bytes:
    """The text of one statement, constant for the life of the process, so it stays prepared."""
    return _TEXTS[name]


# As bytes: psycopg takes `str` only where a type checker sees a literal, and ours are in files.
_TEXTS = {name: statement.text.encode() for name, statement in STATEMENTS.items()}
