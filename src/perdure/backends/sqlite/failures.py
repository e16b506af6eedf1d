"""What an error of SQLite means for a caller. It decides and raises nothing by itself."""

from __future__ import annotations

import sqlite3

from perdure.errors import (
    BackendFull,
    BackendUnavailable,
    CommitUnknown,
    ForeignDatabase,
    InternalError,
    PerdureError,
)

_PRIMARY = 0xFF
"""The low byte of an extended result code is the primary one."""

_LOCKED = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})
_DENIED = frozenset(
    {
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_AUTH,
        sqlite3.SQLITE_IOERR,
    }
)
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT})
_CERTAIN_AT_COMMIT = _LOCKED | {sqlite3.SQLITE_FULL}
"""A commit that failed with these did not happen: the lock was not had, or the frame that would
have made it valid could not be written. After any other failure (a failed fsync, say) the frames
may be there and may yet be recovered."""


FAILURES = (sqlite3.Error, UnicodeDecodeError)
"""What a statement may raise. Text that is no UTF-8 in the file is an error of either kind: the
module stumbles over it in a value, or in what SQLite says of it."""
_Failure = sqlite3.Error | UnicodeDecodeError
_NO_TEXT = "Could not decode to UTF-8"


def primary_code(error: _Failure) -> int:
    """The primary result code, or 0 for errors that the Python module raises by itself."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & _PRIMARY


def translate(error: _Failure, path: str) -> PerdureError:
    """The error for a caller; nothing of the transaction was kept."""
    code = primary_code(error)
    said = f"SQLite said {_name(error)}: {error}"
    if code in _LOCKED:
        return BackendUnavailable(
            f"The database {path!r} is locked by a program that does not queue on its lock file, "
            f"such as the sqlite3 shell in a transaction. {said}. End that program's transaction."
        )
    if code == sqlite3.SQLITE_FULL:
        return BackendFull(
            f"No space is left for the database {path!r}. Nothing was recorded. {said}. Free space "
            "on its file system (the -wal file beside it needs space too) and go on."
        )
    if code in _DAMAGED or isinstance(error, UnicodeDecodeError) or _NO_TEXT in str(error):
        return ForeignDatabase(
            f"The file {path!r} is not a perdure database, or it is damaged. {said}. Name another "
            "file, or restore this one from a backup together with its -wal file."
        )
    if code in _DENIED:
        return BackendUnavailable(
            f"The database {path!r} cannot be opened, read or written. {said}. Check that the "
            "file, the -wal and -shm files beside it and its directory exist and are writable for "
            "this user, and the disk's health."
        )
    return InternalError(
        f"A statement on the database {path!r} failed; nothing was recorded. {said}. Please "
        "report this with the traceback."
    )


def translate_commit(error: sqlite3.Error, path: str) -> PerdureError:
    """The error for a caller whose COMMIT failed: certain, or `CommitUnknown`."""
    if primary_code(error) in _CERTAIN_AT_COMMIT:
        return translate(error, path)
    return CommitUnknown(
        f"A commit to the database {path!r} failed half way and may or may not have happened. "
        f"SQLite said {_name(error)}: {error}. The caller reads back before it goes on; if this "
        "repeats, check the disk."
    )


def _name(error: _Failure) -> str:
    name: str = getattr(error, "sqlite_errorname", type(error).__name__)
    return name
