"""Who a workflow or an invocation is. Pure values; nothing here knows where they are stored."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from perdure.errors import InvalidIdentifier

ID_LENGTH_MAX = 255
"""Characters in an id, name or key; the limit of the identifier columns in every state backend."""

GENERATION_MAX = (1 << 63) - 1
"""The limit of whole numbers in every state backend."""

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class InvocationKey(NamedTuple):
    """One life of one id: the id and its generation, which starts at 1."""

    invocation_id: str
    generation: int

    def __str__(self) -> str:
        """As the command line takes it: the id, and its generation if it is not the first."""
        return (
            self.invocation_id
            if self.generation == 1
            else f"{self.invocation_id}#{self.generation}"
        )


def validate_identifier(value: object, what: str, length_max: int = ID_LENGTH_MAX) -> str:
    """Return `value` when it can name something in a state backend.

    Raises:
        InvalidIdentifier: not a str, empty, over `length_max` characters, or holding control,
            bidirectional or surrogate characters (they would make two ids look alike or break a
            log line).
    """
    if not isinstance(value, str):
        raise InvalidIdentifier(
            f"{what} must be a str, got {type(value).__name__}. Pass a text such as 'order-42'."
        )
    if not value:
        raise InvalidIdentifier(
            f"{what} is empty. Pass a text such as 'order-42', or leave it out."
        )
    if len(value) > length_max:
        raise InvalidIdentifier(
            f"{what} has {len(value)} characters, at most {length_max} are allowed. "
            f"It starts with {value[:40]!r}. Use a shorter id, or a hash of the long one."
        )
    if found := _CONTROL.search(value):
        raise InvalidIdentifier(
            f"{what} {value[:80]!r} has the control character {found.group()!r} at index "
            f"{found.start()}. Use printable characters only."
        )
    return value


def read_key(plain: Sequence[object]) -> InvocationKey:
    """A key from a pair that somebody else wrote.

    Raises:
        InvalidIdentifier: it is none that a state backend could hold.
    """
    id_, generation = plain
    if type(generation) is not int or not 1 <= generation <= GENERATION_MAX:
        raise InvalidIdentifier(
            f"generation is {generation!r:.40}. Expected a whole number from 1 to "
            f"{GENERATION_MAX:,}."
        )
    return InvocationKey(validate_identifier(id_, "id"), generation)


@dataclass(frozen=True, slots=True)
class WorkflowIdentity:
    """The immutable identity of a workflow: everything it derives starts here.

    Args:
        workflow_id: unique within the app; the idempotency key of the workflow.
        workflow_type: the registered name of the workflow function.
        parent_workflow_id: id of the workflow that started this one, or None for a top-level one.
    """

    workflow_id: str
    workflow_type: str
    parent_workflow_id: str | None = None

    def __post_init__(self) -> None:
        """Refuse ids and names that no state backend could hold."""
        validate_identifier(self.workflow_id, "workflow_id")
        validate_identifier(self.workflow_type, "workflow_type")
        if self.parent_workflow_id is not None:
            validate_identifier(self.parent_workflow_id, "parent_workflow_id")

    @property
    def is_subworkflow(self) -> bool:
        """True when another workflow started this one."""
        return self.parent_workflow_id is not None
