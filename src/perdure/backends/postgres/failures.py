"""What an error of PostgreSQL means for a caller. It decides and raises nothing by itself."""

from __future__ import annotations

import re

import psycopg
from psycopg import errors

from perdure.errors import (
    BackendFull,
    BackendUnavailable,
    CommitUnknown,
    InternalError,
    PerdureError,
    SchemaMismatch,
)

_PASSWORD = re.compile(
    r"(password\s*=\s*)('(?:[^'\\]|\\.)*'|\S+)|(//[^/@:\s]*:)[^/@\s]*(@)", re.IGNORECASE
)

_REPEATED = (
    errors.DeadlockDetected,
    errors.SerializationFailure,
    errors.UniqueViolation,
)
"""The whole transaction is tried again: it was the victim of a deadlock, or another transaction
inserted an id between our look and our insert, which the next look sees."""

_DENIED = (
    errors.InsufficientPrivilege,
    errors.ReadOnlySqlTransaction,
    errors.InvalidAuthorizationSpecification,
    errors.InvalidCatalogName,
    errors.TooManyConnections,
)

_TOO_OLD = "PD001"
"""The state with which our own trigger refuses a program that is too old to write (migration 9)."""


def is_worth_repeating(error: psycopg.Error) -> bool:
    """Whether the same transaction, begun again, has a chance."""
    return isinstance(error, _REPEATED)


def masked(text: str) -> str:
    """A text that the server or the driver wrote, without a password."""
    return _PASSWORD.sub(
        lambda found: f"{found[1]}***" if found[1] else f"{found[3]}***{found[4]}", text
    ).strip()


def translate(error: psycopg.Error, where: str) -> PerdureError:
    """The error for a caller; nothing of the transaction was kept."""
    said = f"PostgreSQL said {_name(error)}: {_first_line(error)}"
    if error.sqlstate == _TOO_OLD:
        return SchemaMismatch(f"The database {where} {_first_line(error)}. Upgrade perdure.")
    if isinstance(error, errors.DiskFull):
        return BackendFull(
            f"No space is left for the database {where}. Nothing was recorded. {said}. Free space "
            "on the server's disk and go on."
        )
    if isinstance(error, errors.LockNotAvailable | errors.QueryCanceled):
        return BackendUnavailable(
            f"The database {where} did not answer in time. Nothing was recorded. {said}. Look for "
            "a session that holds locks (pg_stat_activity), and at the server's load."
        )
    if isinstance(error, _DENIED):
        return BackendUnavailable(
            f"The database {where} cannot be used. Nothing was recorded. {said}. {_advice(error)}"
        )
    return _translate_rest(error, where, said)


def _translate_rest(error: psycopg.Error, where: str, said: str) -> PerdureError:
    if isinstance(error, _REPEATED):
        return BackendUnavailable(
            f"The database {where} is so busy that a transaction was the victim of others again "
            f"and again. Nothing was recorded. {said}. Try again."
        )
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return BackendUnavailable(
            f"The connection to the database {where} was lost. Nothing was recorded. {said}. "
            "Check that the server runs and can be reached; work goes on by itself when it does."
        )
    return InternalError(
        f"A statement on the database {where} failed; nothing was recorded. {said}. Please report "
        "this with the traceback."
    )


def translate_connect(error: psycopg.Error, where: str) -> PerdureError:
    """The error for a caller who could not even connect."""
    return BackendUnavailable(
        f"The database {where} cannot be reached or does not let us in: {_one_line(error)}. "
        "Check host, port, user, password and database name, and that the server runs."
    )


def translate_commit(error: psycopg.Error, where: str) -> PerdureError:
    """The error for a caller whose COMMIT was under way when the connection was lost."""
    return CommitUnknown(
        f"The connection to the database {where} was lost during a commit, which may or may not "
        f"have happened. PostgreSQL said {_name(error)}: {_first_line(error)}. The caller reads "
        "back before it goes on."
    )


def _advice(error: psycopg.Error) -> str:
    if isinstance(error, errors.InsufficientPrivilege):
        return (
            "To make or upgrade the schema takes CREATE on the database (or its owner runs "
            "perdure db upgrade). To work with it takes USAGE on the schema perdure; SELECT, "
            "INSERT, UPDATE, DELETE on its tables; USAGE on its sequences."
        )
    return "Check the URL, the user's rights, and that this is the primary server."


def _first_line(error: psycopg.Error) -> str:
    """What was wrong, without the statement that the server quotes."""
    return masked(error.diag.message_primary or str(error).partition("\n")[0]).rstrip(".?")


def _one_line(error: psycopg.Error) -> str:
    """All that was said, as one line: with several hosts every try has one. No hints of libpq."""
    said = [line for line in str(error).splitlines() if not line.startswith("\t")]
    return masked(" ".join(" ".join(said).split())).rstrip(".")


def _name(error: psycopg.Error) -> str:
    return error.sqlstate or type(error).__name__
