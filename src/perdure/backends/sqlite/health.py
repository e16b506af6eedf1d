"""What `doctor` tells of one SQLite store. Reads only, a bounded piece at a time.

Nothing here decides or repairs; each problem is one sentence with where, what, and what to do.
"""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from perdure.backends.health import Health
from perdure.backends.rows import Row, entry_of
from perdure.backends.sqlite import sql
from perdure.backends.sqlite.connections import Settings
from perdure.backends.sqlite.store import Store
from perdure.backends.sqlite.writer import wal_bytes
from perdure.core.entries import verify_chain
from perdure.core.identity import InvocationKey
from perdure.errors import JournalCorrupted

PROBLEMS_MAX = 100
"""Sentences per kind of problem; more than that is one problem, told often enough."""

OVERDUE_AFTER = 300_000_000
"""Microseconds (5 minutes): a lease that ended this long ago has no worker that would take it."""

_JOURNALS_PER_READ = 200
"""Journals listed at a time, so that memory stays bounded on a store of any size."""

_FRAME_HEADER_BYTES = 24
_WAL_HEADER_BYTES = 32

_NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "fuse.sshfs", "glusterfs"}
)


def examine(store: Store, now: int) -> Health:
    """All facts and problems of one store. `now` is the backend's clock.

    A damaged file is told as that alone: what its rows say is worth nothing then.
    """
    settings = store.settings
    facts: dict[str, str] = {"path": settings.path}
    with store.read() as connection:
        problems = list(_damage(connection, settings.path))
    if problems:
        return Health(backend="sqlite", facts=facts, problems=tuple(problems))
    with store.snapshot() as connection:
        facts |= _settings_facts(connection, settings)
        facts |= {f"invocations {state}": str(n) for state, n in connection.execute(sql.COUNTS)}
        problems += _row_problems(connection, now)
    problems += islice(_journal_problems(store), PROBLEMS_MAX)
    problems += _file_problems(settings.path)
    return Health(backend="sqlite", facts=facts, problems=tuple(problems))


def in_wal_reset_range(version: tuple[int, int, int]) -> bool:
    """Whether this SQLite has the WAL-reset bug (3.7.0 to 3.51.2, mended in two older lines).

    Source: https://sqlite.org/wal.html, section 11, "The WAL-Reset Bug".
    """
    mended = (3, 44, 6) <= version < (3, 45, 0) or (3, 50, 7) <= version < (3, 51, 0)
    return (3, 7, 0) <= version < (3, 51, 3) and not mended


def file_system_of(path: str, mounts: Iterable[str]) -> str:
    """The file system type under `path`, from lines of the kernel's mount table; "" if unknown."""
    best, found = "", ""
    for line in mounts:
        _, point, kind, *_ = line.split(" ")
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, found = point, kind
    return found


def _settings_facts(connection: sqlite3.Connection, settings: Settings) -> dict[str, str]:
    (page_size,) = connection.execute("PRAGMA page_size").fetchone()
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (journal_mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    version, min_reader, min_writer = connection.execute(sql.META).fetchone()
    log = wal_bytes(settings.path)
    frames = max(0, log - _WAL_HEADER_BYTES) // (page_size + _FRAME_HEADER_BYTES)
    mended = not in_wal_reset_range(sqlite3.sqlite_version_info)
    return {
        "database bytes": str(page_size * pages),
        "wal bytes": str(log),
        "wal frames at most": str(frames),
        "sqlite": sqlite3.sqlite_version,
        "sqlite wal-reset bug": "mended" if mended else "present; never write with other tools",
        "journal mode": str(journal_mode),
        "synchronous": settings.synchronous,
        "schema": f"{version} (readers from {min_reader}, writers from {min_writer})",
    }


def _row_problems(connection: sqlite3.Connection, now: int) -> Iterator[str]:
    limit = {"limit": PROBLEMS_MAX}
    for id_, generation, state, reason in connection.execute(sql.STOPPED, limit):
        # The reason says what to do.
        yield f"Invocation {id_!r} (generation {generation}) is {state}: {reason}"
    asked = limit | {"before": now - OVERDUE_AFTER}
    for id_, generation, owner, until in connection.execute(sql.OVERDUE, asked):
        yield (
            f"Invocation {id_!r} (generation {generation}) is running by {owner!r}, whose lease "
            f"ended {(now - until) // 1_000_000} s ago. Start a worker that knows its name."
        )
    for id_, generation in connection.execute(sql.LOST_WAKE_UPS, limit):
        yield f"Invocation {id_!r} (generation {generation}) waits with something unread. {_BUG}"
    for id_, generation, parent in connection.execute(sql.ORPHAN_CHILDREN, limit):
        yield f"Invocation {id_!r} (generation {generation}) has no parent {parent!r}. {_BUG}"
    for (seq,) in connection.execute(sql.ENTRIES_WITHOUT_ROW, limit):
        yield f"Journal {seq} has entries and no invocation. {_BUG}"
    for (seq,) in connection.execute(sql.ROWS_WITHOUT_CALL, limit):
        yield f"Row {seq} is in only one of the tables invocation and call. {_BUG}"


_BUG = "This should not be possible; keep a copy of the database and report it."


def _damage(connection: sqlite3.Connection, path: str) -> Iterator[str]:
    for (found,) in connection.execute(f"PRAGMA quick_check({PROBLEMS_MAX})").fetchall():
        if found != "ok":
            yield f"The database {path!r} is damaged: {found}. Restore it from a backup."


def _journal_problems(store: Store) -> Iterator[str]:
    """Check the chain of every journal, one journal per snapshot."""
    after = 0
    while True:
        with store.read() as connection:
            asked = {"after": after, "limit": _JOURNALS_PER_READ}
            journals: list[Row] = connection.execute(sql.JOURNALS, asked).fetchall()
        if not journals:
            return
        for seq, id_, generation in journals:
            yield from _broken_chain(store, seq, InvocationKey(id_, generation))
        after = journals[-1][0]


def _broken_chain(store: Store, seq: int, key: InvocationKey) -> Iterator[str]:
    with store.snapshot() as connection:
        row = connection.execute(sql.JOURNAL_HEAD, {"seq": seq}).fetchone()
        if row is None:
            return
        seed, head, head_hash = row
        entries = map(entry_of, connection.execute(sql.JOURNAL_ENTRIES, {"seq": seq}))
        try:
            seal = verify_chain(key, seed, entries, head)
        except JournalCorrupted as error:
            yield str(error)
            return
    if head and seal != head_hash:
        yield (
            f"Journal of {key.invocation_id!r} (generation {key.generation}): the entries end in "
            "another seal than the workflow row says. Restore the database from a backup."
        )


def _file_problems(path: str) -> Iterator[str]:
    for name in (path, f"{path}-wal", f"{path}-shm", f"{path}-lock"):
        try:
            mode = stat.S_IMODE(Path(name).stat().st_mode)
        except FileNotFoundError:
            continue
        if mode & 0o077:
            yield (
                f"The file {name!r} has mode {mode:04o}; others on this host can use it. Payloads "
                f"are in it: run chmod 600 {name!r}."
            )
    try:
        with Path("/proc/mounts").open(encoding="utf-8") as mounts:
            kind = file_system_of(str(Path(path).resolve()), mounts)
    except OSError:
        return
    if kind in _NETWORK_FILE_SYSTEMS:
        yield (
            f"The database {path!r} is on a network file system ({kind}), where SQLite's locks do "
            "not hold. Move it to a local disk, or use PostgreSQL."
        )
