"""What callers without a type checker may have given, refused before it becomes durable."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from perdure.core.retry import Retry
from perdure.errors import ConfigurationError


def prose(given: object, what: str) -> str:
    """Text for people.

    Raises:
        ConfigurationError: it is no text, or holds what UTF-8 cannot.
    """
    if not isinstance(given, str):
        raise ConfigurationError(
            f"{what}={given!r}: expected text for people, got {type(given).__name__}. Write "
            f"{what}=str(...)."
        )
    try:
        given.encode()
    except UnicodeEncodeError as error:
        raise ConfigurationError(
            f"{what}={given!r}: a lone surrogate at index {error.start} is no text. Write "
            "text.encode(errors='replace').decode()."
        ) from error
    return given


def flag(given: object, what: str) -> bool:
    """Yes or no. A word like "no" would count as yes.

    Raises:
        ConfigurationError: it is neither True nor False.
    """
    if not isinstance(given, bool):
        raise ConfigurationError(f"{what}={given!r}: expected True or False.")
    return given


def several(given: object, what: str, example: str) -> tuple[Any, ...]:
    """What is given as a list or the like. A text is none: it would be taken letter by letter.

    Raises:
        ConfigurationError: it is no list.
    """
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ConfigurationError(f"{what}={given!r}: expected a list, such as {what}={example}.")
    return tuple(given)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - of whatever


def policy(given: object) -> Retry | None:
    """The policy for failed attempts, if there is one.

    Raises:
        ConfigurationError: it is something else, such as a number.
    """
    if given is not None and not isinstance(given, Retry):
        raise ConfigurationError(
            f"retry={given!r}: expected a policy, such as retry=Retry(attempts=5)."
        )
    return given


def count(given: object, what: str, most: int | None = None) -> int:
    """A whole number from 1.

    Raises:
        ConfigurationError: it is none, or more than `most`.
    """
    if (
        not isinstance(given, int)
        or isinstance(given, bool)
        or given < 1
        or (most is not None and given > most)
    ):
        raise ConfigurationError(
            f"{what}={given!r}: expected a whole number from 1{f' to {most:,}' if most else ''}."
        )
    return given
