"""The statements on the tables in the user's database, by dialect. Their text is in `.sql` files.

Parameters are written `:name`, as sqlite3 and SQLAlchemy take them.
"""

from __future__ import annotations

import re
from importlib.resources import files

from perdure.backends.sqltext import parse

_FOLDER = files("perdure.transactions") / "statements"


def _load(*names: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in names:
        text = (_FOLDER / name).read_text(encoding="utf-8")
        found |= {each.name: each.text for each in parse(text, name).values()}
    return found


SQLITE = _load("outcomes.sql", "outbox.sql", "sqlite.sql")
POSTGRES = _load("outcomes.sql", "outbox.sql", "postgres.sql")

MAKING = ("make_outcomes", "make_outcomes_index", "make_outbox", "make_outbox_index")
"""What makes the tables, in this order; each does nothing if it is made."""


def for_psycopg(text: str) -> bytes:
    """The same statement with the placeholders of psycopg.

    As bytes: psycopg takes `str` only where a type checker sees a literal, and ours are in files.
    """
    return re.sub(r"(?<![:\w]):([a-z_]+)", r"%(\1)s", text.replace("%", "%%")).encode()
