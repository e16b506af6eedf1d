"""The SQL of the benchmarks, by name, in the form of perdure's own statement files."""

from __future__ import annotations

from pathlib import Path

from perdure.backends.sqltext import parse

_FOLDER = Path(__file__).parent / "sql"


def statements(dialect: str) -> dict[str, str]:
    """The statements of one database."""
    file = _FOLDER / f"{dialect}.sql"
    return {name: each.text for name, each in parse(file.read_text("utf-8"), file.name).items()}
