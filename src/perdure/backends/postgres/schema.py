"""Makes, recognises and migrates the schema `perdure` of one database. Forward only."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from importlib.resources import files
from typing import NamedTuple

import psycopg

from perdure.backends.postgres.sql import text
from perdure.backends.versions import NO_SCHEMA, SchemaStatus, SchemaVersion
from perdure.errors import BackendUnavailable, ForeignDatabase, InternalError, SchemaMismatch

SERVER_MIN = 140000
"""PostgreSQL 14: the oldest that is still maintained, and the oldest that we run tests for."""

ADVISORY_SPACE = 0x70726475
"""ASCII "prdu": the space of our advisory locks, told from those of other programs."""

_FILE_NAME = re.compile(r"^(?P<number>\d{4})_[a-z0-9_]+\.sql$")
_DEMAND = re.compile(r"^-- (?P<who>min_reader|min_writer): (?P<version>\d+)$", re.MULTILINE)
_RISKS = {
    "fsync": "a crash of the server can damage the database and lose what was acknowledged",
    "synchronous_commit": "a crash of the server can lose the newest acknowledged commits",
    "full_page_writes": "a crash of the server can damage the database",
}

logger = logging.getLogger("perdure.postgres")


class Migration(NamedTuple):
    """One step forward. `min_reader` and `min_writer` are what a program must know afterwards."""

    version: int
    min_reader: int
    min_writer: int
    name: str
    script: str


def load_migrations() -> tuple[Migration, ...]:
    """Every migration in order; numbers are 1, 2, 3, ... without a gap."""
    folder = files("perdure.backends.postgres") / "migrations"
    found = [
        _migration(int(match["number"]), file.name, file.read_text(encoding="utf-8"))
        for file in sorted(folder.iterdir(), key=lambda each: each.name)
        if (match := _FILE_NAME.match(file.name))
    ]
    if [each.version for each in found] != list(range(1, len(found) + 1)):
        raise InternalError(f"Migrations are numbered {[each.version for each in found]}.")
    return tuple(found)


def prepare(
    connection: psycopg.Connection, where: str, store_id: bytes, *, writes: bool, migrates: bool
) -> None:
    """Check the server and the schema, and bring the schema up to date if that is wanted.

    Raises:
        BackendUnavailable: a server that takes no writes or is too old.
        ForeignDatabase: another program has a schema of our name.
        SchemaMismatch: the schema is too new, or too old and not to be migrated.
    """
    _check_server(connection, where, writes=writes)
    migrations = load_migrations()
    found = inspect(connection, where)
    _check(found, where, len(migrations), writes=writes)
    if found.schema_version >= len(migrations):
        return
    if not writes or not migrates:
        raise SchemaMismatch(
            f"The database {where} has schema {found.schema_version} of perdure (0 means none), "
            f"this perdure needs {len(migrations)}. Run: perdure db upgrade"
        )
    migrate(connection, where, migrations, store_id)


def inspect(connection: psycopg.Connection, where: str) -> SchemaVersion:
    """What is in the database.

    Raises:
        ForeignDatabase: there is a schema `perdure` that is not ours.
    """
    row = connection.execute(text("found")).fetchone()
    has_schema, has_meta = row if row is not None else (False, False)
    if not has_schema:
        return NO_SCHEMA
    meta = connection.execute(text("meta")).fetchone() if has_meta else None
    if meta is None:
        raise ForeignDatabase(
            f"The database {where} has a schema named 'perdure' that perdure did not make. It was "
            "not touched. Rename that schema, or name another database."
        )
    return SchemaVersion(*meta)


def migrate(
    connection: psycopg.Connection,
    where: str,
    migrations: tuple[Migration, ...],
    store_id: bytes,
) -> SchemaVersion:
    """Apply what is missing, all in one transaction, one process at a time."""
    connection.execute(text("begin"))
    connection.execute(text("guard_migration"), {"space": ADVISORY_SPACE})
    found = inspect(connection, where)
    missing = migrations[found.schema_version :]
    if not missing:
        connection.execute(text("rollback"))
        return found
    if found == NO_SCHEMA:
        connection.execute(text("make_schema"))
    else:
        connection.execute(text("hold_writers"))
    for migration in missing:
        connection.execute(migration.script.encode())
    newest = missing[-1]
    row = (newest.version, newest.min_reader, newest.min_writer)
    if found == NO_SCHEMA:
        connection.execute(text("insert_meta"), (*row, store_id))
    else:
        connection.execute(text("update_meta"), row)
    connection.execute(text("commit"))
    return SchemaVersion(*row)


def status(connection: psycopg.Connection, where: str) -> SchemaStatus:
    """What is in the database, and what is missing. Nothing is made or migrated.

    Raises:
        BackendUnavailable: a server that is too old.
        ForeignDatabase: another program has a schema of our name.
    """
    _check_server(connection, where, writes=False)
    migrations = load_migrations()
    found = inspect(connection, where)
    return SchemaStatus(found, len(migrations), _script(connection, found, migrations))


def _script(
    connection: psycopg.Connection, found: SchemaVersion, migrations: tuple[Migration, ...]
) -> str:
    """What `migrate` would do, for people who run it themselves; "" if nothing is missing."""
    missing = migrations[found.schema_version :]
    if not missing:
        return ""
    newest = missing[-1]
    row = (newest.version, newest.min_reader, newest.min_writer)
    written = psycopg.ClientCursor(connection)
    lines = [
        f"-- From schema {found.schema_version} to schema {newest.version}, in one transaction.",
        _line(text("begin").decode()),
        _line(written.mogrify(text("guard_migration"), {"space": ADVISORY_SPACE})),
    ]
    if found == NO_SCHEMA:
        lines.append(_line(text("make_schema").decode()))
    else:
        lines.append(_line(text("hold_writers").decode()))
    lines += [migration.script.strip() for migration in missing]
    if found == NO_SCHEMA:
        lines.append(_line(written.mogrify(text("insert_meta"), (*row, None))))
    else:
        lines.append(_line(written.mogrify(text("update_meta"), row)))
    return "\n".join([*lines, _line(text("commit").decode())])


def _line(statement: str) -> str:
    return f"{statement};"


def risks(connection: psycopg.Connection) -> Iterator[str]:
    """Settings of the server under which an acknowledged commit can be lost, as sentences."""
    for name, setting in connection.execute(text("server_settings")).fetchall():
        if name in _RISKS and setting == "off":
            yield (
                f"The server has {name}=off: {_RISKS[name]}. Set it to on, or use this server for "
                "tests only."
            )


def standby(where: str) -> BackendUnavailable:
    """The error for a server that follows another one."""
    return BackendUnavailable(
        f"The database {where} is on a standby server, which may be behind what was acknowledged. "
        "Connect to the primary server."
    )


def _check_server(connection: psycopg.Connection, where: str, *, writes: bool) -> None:
    row = connection.execute(text("server")).fetchone()
    if row is None:
        raise InternalError("A server without a version. Please report this.")
    number, version, read_only, name = row
    if "CockroachDB" in name:
        raise BackendUnavailable(
            f"The database {where} is on {name.split(',')[0]}, which speaks the protocol of "
            "PostgreSQL, but whose advisory locks do nothing: limits of queues would not hold, and "
            "two processes could migrate at once. Use PostgreSQL."
        )
    if number < SERVER_MIN:
        raise BackendUnavailable(
            f"The database {where} is on PostgreSQL {version}; perdure needs "
            f"{SERVER_MIN // 10_000} or newer. Upgrade the server."
        )
    if read_only and writes:
        raise BackendUnavailable(
            f"The database {where} takes no writes (default_transaction_read_only is on). Connect "
            "to the primary server, or switch that setting off for this user."
        )
    for risk in risks(connection):
        logger.warning("%s: %s", where, risk)


def _check(found: SchemaVersion, where: str, known: int, *, writes: bool) -> None:
    needed = found.min_writer if writes else found.min_reader
    if needed > known:
        use = "write" if writes else "read"
        raise SchemaMismatch(
            f"The database {where} has schema {found.schema_version}, which needs a perdure that "
            f"knows schema {needed} to {use} it; this one knows {known}. Upgrade perdure."
        )


def _migration(version: int, name: str, source: str) -> Migration:
    demands = {match["who"]: int(match["version"]) for match in _DEMAND.finditer(source)}
    return Migration(version, demands["min_reader"], demands["min_writer"], name, source)
