"""Reads named statements out of `.sql` files. It knows no database and runs nothing.

A file is a sequence of blocks. Each block is a name, a description, and one statement:

    -- name: read_latest
    -- The newest generation of an id.
    SELECT ...;

A block without a description is refused: the description is the documentation of the statement.
"""

from __future__ import annotations

import re
from importlib.resources.abc import Traversable
from typing import NamedTuple

from perdure.errors import InternalError

_NAME = re.compile(r"^-- name: *(?P<name>[a-z][a-z0-9_]*) *$", re.MULTILINE)
_COMMENT = "--"


class Statement(NamedTuple):
    """One named statement. `text` has no trailing semicolon and no description."""

    name: str
    description: str
    text: str


def parse(source: str, where: str) -> dict[str, Statement]:
    """The statements of one file, by name, in file order.

    Raises:
        InternalError: a name twice, no description, no text, or text before the first name.
    """
    pieces = _NAME.split(source)
    if pieces[0].strip() and not _only_comments(pieces[0]):
        raise InternalError(f"{where}: SQL before the first '-- name:' line. Give it a name.")
    found: dict[str, Statement] = {}
    for name, block in zip(pieces[1::2], pieces[2::2], strict=True):
        statement = _statement(name, block, where)
        if name in found:
            raise InternalError(f"{where}: two statements are named {name!r}. Rename one.")
        found[name] = statement
    return found


def load(folder: Traversable) -> dict[str, Statement]:
    """The statements of every `.sql` file in `folder`; names are unique over all of them."""
    found: dict[str, Statement] = {}
    for file in sorted(folder.iterdir(), key=lambda each: each.name):
        if file.name.endswith(".sql"):
            statements = parse(file.read_text(encoding="utf-8"), file.name)
            if doubled := found.keys() & statements.keys():
                raise InternalError(f"{file.name}: {sorted(doubled)} are named elsewhere too.")
            found |= statements
    return found


def _statement(name: str, block: str, where: str) -> Statement:
    lines = block.strip().splitlines()
    split = next((at for at, line in enumerate(lines) if not line.startswith(_COMMENT)), len(lines))
    description = " ".join(line.removeprefix(_COMMENT).strip() for line in lines[:split])
    text = "\n".join(lines[split:]).strip().removesuffix(";")
    if not description or not text:
        raise InternalError(f"{where}: {name!r} needs a description and a statement.")
    return Statement(name, description, text)


def _only_comments(text: str) -> bool:
    return all(not line.strip() or line.startswith(_COMMENT) for line in text.splitlines())
