"""Exit codes, and how a command fails. DESIGN section 13 names the codes; scripts rely on them."""

from __future__ import annotations

from enum import IntEnum

from perdure.errors import (
    BackendError,
    ConfigurationError,
    Divergence,
    InvalidIdentifier,
    InvocationNotFound,
    PerdureError,
    RegistrationError,
    ResultTimeout,
    UnknownName,
)


class Exit(IntEnum):
    """What a command tells its caller."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    DIVERGENCE = 4
    DATABASE = 5
    TIMEOUT = 124
    INTERRUPTED = 130
    BROKEN_PIPE = 141
    TERMINATED = 143


class CommandError(Exception):
    """A command cannot go on: its message for the user, and the exit code."""

    def __init__(self, message: str, exit_code: Exit) -> None:
        """Carry both."""
        super().__init__(message)
        self.exit_code = exit_code


class Terminated(BaseException):
    """SIGTERM arrived. A BaseException, so that user code does not take it for an error."""


def usage(message: str) -> CommandError:
    """The command was spelled in a way that cannot mean anything."""
    return CommandError(message, Exit.USAGE)


_CODES: tuple[tuple[type[PerdureError], Exit], ...] = (
    (InvocationNotFound, Exit.NOT_FOUND),
    (Divergence, Exit.DIVERGENCE),
    (BackendError, Exit.DATABASE),
    (ResultTimeout, Exit.TIMEOUT),
    (ConfigurationError, Exit.USAGE),
    (RegistrationError, Exit.USAGE),
    (InvalidIdentifier, Exit.USAGE),
    (UnknownName, Exit.USAGE),
)


def exit_code_of(error: PerdureError) -> Exit:
    """The exit code that stands for an error of perdure."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), Exit.FAILED)


def exit_code_of_reason(reason: str) -> Exit:
    """The exit code for a workflow that was stopped for `reason` (`Class: message`)."""
    return Exit.DIVERGENCE if reason.startswith(f"{Divergence.__name__}: ") else Exit.FAILED
