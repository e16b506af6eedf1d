"""Parameters of statements as SQLite takes them. No statement is run here."""

from __future__ import annotations

import json
from collections.abc import Iterable

from perdure.backends.rows import Row, entry_columns
from perdure.core.entries import Entry
from perdure.core.identity import InvocationKey


def entry_row(seq: int, entry: Entry) -> Row:
    """Parameters of `append`."""
    return ((seq << 32) | entry.position, *entry_columns(entry))


def json_list(values: Iterable[str | int]) -> str:
    """A parameter that stands for a list of any length, so that the SQL text stays constant."""
    return json.dumps(list(values))


def key_list(keys: Iterable[InvocationKey]) -> str:
    """The same for keys, each a list of id and generation."""
    return json.dumps([list(key) for key in keys])


def key_parameters(key: InvocationKey) -> dict[str, str | int]:
    """`:id` and `:generation`."""
    return {"id": key.invocation_id, "generation": key.generation}
