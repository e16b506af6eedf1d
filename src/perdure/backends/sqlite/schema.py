"""Makes, recognises and migrates the schema of one database. Forward only; it reads no user data.

The caller holds the lock file, so that two processes which open a new file at once do it in turn.
"""

from __future__ import annotations

import re
import sqlite3
from importlib.resources import files
from typing import NamedTuple

from perdure.backends.versions import NO_SCHEMA, SchemaVersion
from perdure.errors import ForeignDatabase, InternalError, SchemaMismatch

APPLICATION_ID = 0x70726475
"""ASCII "prdu" in the file's header: how a perdure database is told from any other."""

_FILE_NAME = re.compile(r"^(?P<number>\d{4})_[a-z0-9_]+\.sql$")
_DEMAND = re.compile(r"^-- (?P<who>min_reader|min_writer): (?P<version>\d+)$", re.MULTILINE)


class Migration(NamedTuple):
    """One step forward. `min_reader` and `min_writer` are what a program must know afterwards."""

    version: int
    min_reader: int
    min_writer: int
    statements: tuple[str, ...]


def load_migrations() -> tuple[Migration, ...]:
    """Every migration in order; numbers are 1, 2, 3, ... without a gap."""
    folder = files("perdure.backends.sqlite") / "migrations"
    found = [
        _migration(int(match["number"]), file.read_text(encoding="utf-8"))
        for file in sorted(folder.iterdir(), key=lambda each: each.name)
        if (match := _FILE_NAME.match(file.name))
    ]
    if [each.version for each in found] != list(range(1, len(found) + 1)):
        raise InternalError(f"Migrations are numbered {[each.version for each in found]}.")
    return tuple(found)


def split_statements(script: str) -> tuple[str, ...]:
    """The statements of a script, triggers kept whole."""
    found: list[str] = []
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if line.rstrip().endswith(";") and sqlite3.complete_statement(pending):
            found.append(pending.strip())
            pending = ""
    return tuple(found)


def inspect(connection: sqlite3.Connection, path: str) -> SchemaVersion:
    """What is in the file.

    Raises:
        ForeignDatabase: it belongs to another program.
        sqlite3.DatabaseError: it is not an SQLite file, or damaged.
    """
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema LIMIT 5")]
    if application_id == APPLICATION_ID and "meta" in tables:
        for row in connection.execute("SELECT schema_version, min_reader, min_writer FROM meta"):
            if not all(isinstance(number, int) for number in row):
                raise ForeignDatabase(
                    f"The file {path!r} is damaged: its schema is {row!r}, and versions are "
                    "numbers. Restore it from a backup."
                )
            return SchemaVersion(*row)
    if application_id == 0 and not tables:
        return NO_SCHEMA
    raise ForeignDatabase(
        f"The file {path!r} is an SQLite database of another program (application_id "
        f"{application_id}, tables {', '.join(tables) or 'none'}). It was not touched. Name "
        "another file; perdure makes it when it is not there."
    )


def check_readable(found: SchemaVersion, path: str, known: int) -> None:
    """Refuse a schema that this version must not read, or that is older than it can read.

    Raises:
        SchemaMismatch: with what was found and what to do.
    """
    if found.min_reader > known:
        raise SchemaMismatch(
            f"The database {path!r} has schema {found.schema_version}, which needs a perdure that "
            f"knows schema {found.min_reader} to read it; this one knows {known}. Upgrade perdure."
        )
    if found.schema_version < known:
        raise SchemaMismatch(
            f"The database {path!r} has schema {found.schema_version}, this perdure reads "
            f"{known}. Run: perdure db upgrade, or open it once to write."
        )


def check_writable(found: SchemaVersion, path: str, known: int) -> None:
    """Refuse a schema that this version must not write.

    Raises:
        SchemaMismatch: with what was found and what to do.
    """
    if found.min_writer > known:
        raise SchemaMismatch(
            f"The database {path!r} has schema {found.schema_version}, which needs a perdure that "
            f"knows schema {found.min_writer} to write it; this one knows {known}. Upgrade "
            "perdure, or open it with read_only=True."
        )


def migrate(
    connection: sqlite3.Connection,
    found: SchemaVersion,
    migrations: tuple[Migration, ...],
    store_id: bytes,
) -> None:
    """Apply the missing migrations, all in one transaction. `store_id` is used for a new file."""
    missing = migrations[found.schema_version :]
    if not missing:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for migration in missing:
            for statement in migration.statements:
                connection.execute(statement)
        newest = missing[-1]
        row = (newest.version, newest.min_reader, newest.min_writer)
        if found == NO_SCHEMA:
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute("INSERT INTO meta VALUES (1, ?, ?, ?, ?)", (*row, store_id))
        else:
            connection.execute(
                "UPDATE meta SET schema_version = ?, min_reader = ?, min_writer = ?", row
            )
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def script(found: SchemaVersion, migrations: tuple[Migration, ...]) -> str:
    """What `migrate` would do, for people who run it themselves; "" if nothing is missing."""
    missing = migrations[found.schema_version :]
    if not missing:
        return ""
    version, min_reader, min_writer, _ = missing[-1]
    # Only numbers of ours are put into a text, which is for people and not run by us.
    if found == NO_SCHEMA:
        begins = ["PRAGMA journal_mode = WAL;"]
        row = f"(1, {version}, {min_reader}, {min_writer}, randomblob(16))"
        ends = [f"PRAGMA application_id = {APPLICATION_ID};", f"INSERT INTO meta VALUES {row};"]  # noqa: S608 - see above
    else:
        begins = []
        row = f"({version}, {min_reader}, {min_writer})"
        ends = [f"UPDATE meta SET (schema_version, min_reader, min_writer) = {row};"]  # noqa: S608 - see above
    lines = [
        f"-- From schema {found.schema_version} to schema {version}. Run it while nothing uses the",
        "-- file, and stop at the first error: sqlite3 -bail FILE < THIS",
        *begins,
        "BEGIN IMMEDIATE;",
        *(statement for migration in missing for statement in migration.statements),
        *ends,
        "COMMIT;",
    ]
    return "\n".join(lines)


def _migration(version: int, source: str) -> Migration:
    demands = {match["who"]: int(match["version"]) for match in _DEMAND.finditer(source)}
    return Migration(
        version, demands["min_reader"], demands["min_writer"], split_statements(source)
    )
