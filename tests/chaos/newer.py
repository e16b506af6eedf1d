"""The program as a later version would be: it knows one more migration of the schema."""

from __future__ import annotations

from typing import Literal

from perdure.backends.postgres import schema as postgres
from perdure.backends.sqlite import schema as sqlite

Newer = Literal["", "beside older ones", "alone"]
"""Whether a worker is of a later version, and whether its migration lets older programs write."""


def become(newer: Newer) -> None:
    """Know one more migration from here on. It changes a table under whoever uses it."""
    if not newer:
        return
    ours = sqlite.load_migrations()
    number, before = len(ours) + 1, ours[-1]
    writers = number if newer == "alone" else before.min_writer
    column = "ALTER TABLE invocation ADD COLUMN later INTEGER"
    in_file = (*ours, sqlite.Migration(number, before.min_reader, writers, (column,)))
    sqlite.load_migrations = lambda: in_file

    theirs = postgres.load_migrations()
    number, last = len(theirs) + 1, theirs[-1]
    writers = number if newer == "alone" else last.min_writer
    column = "ALTER TABLE perdure.invocation ADD COLUMN later integer;"
    one_more = postgres.Migration(number, last.min_reader, writers, "later", column)
    on_server = (*theirs, one_more)
    postgres.load_migrations = lambda: on_server
