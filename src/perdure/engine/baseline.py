"""What an audit saw, in a file, to be compared with the next audit: nothing final may change.

One line of JSON per invocation in the order of the audit, so that reading and comparing takes no
memory. A new file takes the place of the old one only when the audit has found nothing wrong.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import IO, Self

import msgspec

from perdure.backends.audit import Subject
from perdure.backends.base import InvocationRecord
from perdure.core.entries import Entry
from perdure.core.lifecycle import TERMINAL
from perdure.core.reading import UNREADABLE
from perdure.errors import ConfigurationError

MODE = 0o600
_FORMAT = 1
_SAME = (
    "app", "kind", "name", "arguments", "fingerprint", "call_id", "parent", "root", "workflow",
    "queue", "limit_key", "priority", "options", "seed", "draw_algorithm", "segment", "created_at",
)  # fmt: skip
"""What never changes in a row, from its start on."""


class _Head(msgspec.Struct, frozen=True, array_like=True):
    format: int
    store_id: str


class Line(msgspec.Struct, frozen=True, array_like=True):
    """One invocation as it was.

    Attributes:
        owner: while it ran, "" otherwise.
        entries: digest of its entries; call: of what never changes; end: of the whole row, ""
            while it lives.
    """

    number: int
    key: str
    epoch: int
    owner: str
    head: int
    entries: str
    call: str
    end: str


def line_of(number: int, subject: Subject) -> Line:
    """What is kept of one invocation."""
    record = subject.record
    return Line(
        number,
        f"{record.key.invocation_id}#{record.key.generation}",
        record.epoch,
        record.owner,
        len(subject.entries),
        _digest(subject.entries),
        _digest([getattr(record, name) for name in _SAME]),
        _digest(record) if record.state in TERMINAL else "",
    )


def _digest(value: InvocationRecord | list[object] | list[Entry]) -> str:
    return blake2b(msgspec.msgpack.encode(value), digest_size=16).hexdigest()


class Baseline:
    """The lines of the audit before, read beside the audit that goes on, and its own lines.

    Use it as a context manager around one audit; call `keep` at the end of a good one.

    Args:
        path: the file; there need not be one yet.
        store_id: of the store that is audited.

    Raises:
        ConfigurationError: the file is none of ours, or is of another store.
    """

    def __init__(self, path: Path, store_id: bytes) -> None:
        self.path = path
        self.compared = 0
        self._store_id = store_id
        self._fresh = path.with_name(f"{path.name}.{os.getpid()}")
        self._old: IO[bytes] | None = None
        self._next: Line | None = None
        self._gone: list[str] = []

    def __enter__(self) -> Self:
        """Open both files."""
        try:
            self._old = self.path.open("rb")
        except FileNotFoundError:
            pass
        except OSError as error:
            raise self._unusable(str(error.strerror)) from error
        try:
            if self._old is not None:
                self._check_head()
            self._advance()
            descriptor = os.open(self._fresh, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, MODE)
        except (OSError, ConfigurationError) as error:
            self._close_old()
            if isinstance(error, ConfigurationError):
                raise
            raise self._unusable(str(error.strerror)) from error
        self._new = os.fdopen(descriptor, "wb")
        self._write(_Head(_FORMAT, self._store_id.hex()))
        return self

    def __exit__(self, *_: object) -> None:
        """Close both; without `keep`, the old file stays as it was."""
        self._close_old()
        self._new.close()
        self._fresh.unlink(missing_ok=True)

    def changed(self, number: int, subject: Subject) -> Iterator[tuple[str, str]]:
        """What is otherwise than before: found and expected. Numbers come in rising order."""
        line = line_of(number, subject)
        self._write(line)
        while self._next is not None and self._next.number < number:
            self._gone.append(self._next.key)
            self._advance()
        old = self._next
        if old is None or old.number != number:
            return
        self._advance()
        self.compared += 1
        yield from _differences(old, line, subject)

    def gone(self) -> list[str]:
        """Keys of what was there before and is not any more, after the last `changed`."""
        while self._next is not None:
            self._gone.append(self._next.key)
            self._advance()
        return self._gone

    def keep(self) -> None:
        """Let the lines of this audit be what the next one is compared with."""
        self._new.flush()
        os.fsync(self._new.fileno())
        self._fresh.replace(self.path)

    def _close_old(self) -> None:
        if self._old is not None:
            self._old.close()

    def _write(self, line: _Head | Line) -> None:
        self._new.write(msgspec.json.encode(line) + b"\n")

    def _advance(self) -> None:
        text = b"" if self._old is None else self._old.readline()
        try:
            self._next = msgspec.json.decode(text, type=Line) if text else None
        except UNREADABLE as error:
            raise self._unusable(f"the line {text[:80]!r} cannot be read") from error

    def _check_head(self) -> None:
        assert self._old is not None
        text = self._old.readline()
        try:
            head = msgspec.json.decode(text, type=_Head)
        except UNREADABLE as error:
            raise self._unusable(f"it begins with {text[:80]!r}") from error
        if head != _Head(_FORMAT, self._store_id.hex()):
            raise self._unusable(f"it is of the store {head.store_id} in format {head.format}")

    def _unusable(self, found: str) -> ConfigurationError:
        return ConfigurationError(
            f"The baseline {str(self.path)!r} cannot be used: {found}. Expected a file that an "
            f"audit of this store ({self._store_id.hex()}) wrote, or none. Name another file."
        )


def _differences(old: Line, new: Line, subject: Subject) -> Iterator[tuple[str, str]]:
    if old.key != new.key or old.call != new.call:
        yield f"another start under the name of {old.key}", "what was started"
    if new.epoch < old.epoch:
        yield f"epoch {new.epoch}", f"epoch {old.epoch} or a later one"
    if new.epoch == old.epoch and old.owner and new.owner and new.owner != old.owner:
        yield f"epoch {new.epoch} granted to {new.owner!r} too", f"to {old.owner!r} alone"
    if new.head < old.head:
        yield f"{new.head} entries", f"{old.head} or more"
    elif _digest(subject.entries[: old.head]) != old.entries:
        yield f"other entries among the first {old.head}", "the entries that were acknowledged"
    if old.end and old.end != new.end:
        yield "an end that changed", "the end that was acknowledged"
