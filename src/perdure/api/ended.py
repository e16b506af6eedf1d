"""What `wf.as_completed` gives, in both colours. See `perdure.api.completed`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar, cast

from perdure.errors import OperationRefused

T_co = TypeVar("T_co", covariant=True)
Runs = Iterator[tuple[str | int, Callable[[], Any]]]
"""Keys, and what to call in a branch of its own."""


class Completed(Generic[T_co]):
    """A branch that has ended.

    Attributes:
        key: its name, or its position from 0; that of its item, for `wf.map_as_completed`.
    """

    __slots__ = ("_error", "_value", "key")

    def __init__(self, key: str | int, value: object, error: BaseException | None) -> None:
        """Made by `wf.as_completed`, not by users."""
        self.key = key
        self._value = value
        self._error = error

    def __repr__(self) -> str:
        """Its key and how it ended."""
        ended = "returned" if self._error is None else f"raised {type(self._error).__name__}"
        return f"<branch {self.key!r}, {ended}>"

    def result(self) -> T_co:
        """What it returned.

        Raises:
            BaseException: what it raised.
        """
        if self._error is not None:
            raise self._error
        return cast("T_co", self._value)

    def exception(self) -> BaseException | None:
        """What it raised; None if it returned."""
        return self._error


def outside_of_block(operation: str, colour: str = "") -> OperationRefused:
    """Why an `as_completed` cannot be used here."""
    return OperationRefused(
        f"{operation} was used outside of its block, or by another branch than the one that began "
        f"it, or entered twice; its branches must end with it. Write: {colour}with "
        f"{operation}(...) as ended: and loop over `ended` inside."
    )
