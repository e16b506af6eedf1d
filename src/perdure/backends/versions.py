"""What a database says of its schema, and what that means for this perdure. It opens nothing."""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol, runtime_checkable


class SchemaVersion(NamedTuple):
    """The handshake as it is stored; all 0 where there is no schema yet.

    Attributes:
        min_reader: the oldest perdure that may read, by the number of the schema it knows.
        min_writer: the oldest perdure that may write.
    """

    schema_version: int
    min_reader: int
    min_writer: int


NO_SCHEMA = SchemaVersion(0, 0, 0)

Fit = Literal["missing", "old", "fits", "newer", "too new to write", "too new to read"]


class SchemaStatus(NamedTuple):
    """One database beside this perdure.

    Attributes:
        found: what the database says.
        known: the newest schema that this perdure knows.
        script: the SQL that would bring the database there, for people; "" if nothing is missing.
    """

    found: SchemaVersion
    known: int
    script: str

    @property
    def fit(self) -> Fit:
        """Whether this perdure can use the database as it is."""
        found, known = self.found, self.known
        if found == NO_SCHEMA:
            return "missing"
        if found.min_reader > known:
            return "too new to read"
        if found.min_writer > known:
            return "too new to write"
        if found.schema_version < known:
            return "old"
        return "fits" if found.schema_version == known else "newer"


@runtime_checkable
class HasSchema(Protocol):
    """A state backend that keeps a schema outside of this process."""

    def schema_status(self) -> SchemaStatus:
        """What is there and what is missing. Nothing is made, migrated or written.

        Raises:
            BackendError: it cannot be read, or belongs to another program.
        """
        ...
