"""Listing and reading the files of a tree. Plain Python: nothing here knows of perdure."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LEFT_OUT = frozenset({"__pycache__", "site-packages"})
"""Names of directories that are not walked."""
OWN_FILES = "perdure.db"
"""Files that start so are perdure's, and change while we read: they are not part of the tree."""
TEXT_MAX = 16 * 1024 * 1024
"""Bytes. A larger file is fingerprinted piece by piece, but no text of it is searchable."""


@dataclass(frozen=True)
class Listed:
    """A file as the listing found it. Only what is still the same when it is read is indexed.

    Attributes:
        path: below the directory, with slashes.
        problem: why it cannot be read, if that is known already.
    """

    path: str
    size: int = 0
    mtime_ns: int = 0
    problem: str = ""

    def matches(self, found: os.stat_result) -> bool:
        """Whether the file is still what was listed."""
        same = (found.st_size, found.st_mtime_ns) == (self.size, self.mtime_ns)
        return same and stat.S_ISREG(found.st_mode)


@dataclass(frozen=True)
class Document:
    """What one reading of a file gave. With a `problem` it was skipped and the rest is empty."""

    path: str
    size: int = 0
    fingerprint: str = ""
    text: str = ""
    problem: str = ""


def walk(
    directory: Path, out: Path, after: tuple[str, ...] = (), parents: str = ""
) -> Iterator[Listed]:
    """Give the regular files below `directory`, sorted by the parts of their paths.

    Args:
        out: a directory that is left out, wherever it is.
        after: the parts of a path; what comes up to it is left out, so a walk can be continued.
        parents: the path of `directory` below the root, with a slash at its end.
    """
    try:
        with os.scandir(directory) as found:
            entries = sorted((printable(entry.name), entry) for entry in found)
    except OSError:
        yield Listed(parents.rstrip("/") or ".", problem="unreadable directory")
        return
    for name, entry in entries:
        if after and (name < after[0] or after == (name,)):
            continue
        if name != entry.name:
            yield Listed(parents + name, problem="name is not UTF-8")
        elif entry.is_dir(follow_symlinks=False):
            if name not in LEFT_OUT and Path(entry.path) != out:
                rest = after[1:] if name in after[:1] else ()
                yield from walk(Path(entry.path), out, rest, f"{parents}{name}/")
        elif entry.is_file(follow_symlinks=False) and not name.startswith(OWN_FILES):
            with contextlib.suppress(OSError):  # it may have vanished meanwhile
                facts = entry.stat(follow_symlinks=False)
                yield Listed(parents + name, facts.st_size, facts.st_mtime_ns)


def printable(name: str) -> str:
    r"""Write a file name as text that can be stored: bytes that are not UTF-8 become `\xff`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def read_file(directory: Path, listed: Listed) -> Document:
    """Read one file, once. Whatever is wrong with it becomes the `problem` of the result."""
    if listed.problem:
        return Document(listed.path, problem=listed.problem)
    path = directory / listed.path
    try:
        if not listed.matches(path.lstat()):  # before it is opened: it might be a pipe by now
            return Document(listed.path, problem="changed")
        with path.open("rb") as file:
            data = file.read(TEXT_MAX) if listed.size <= TEXT_MAX else b""
            digest = hashlib.sha256(data) if data else hashlib.file_digest(file, "sha256")
            if not listed.matches(os.fstat(file.fileno())):
                return Document(listed.path, problem="changed")
    except FileNotFoundError:
        return Document(listed.path, problem="vanished")
    except OSError:
        return Document(listed.path, problem="unreadable")
    return Document(listed.path, listed.size, digest.hexdigest(), decoded(data))


def decoded(data: bytes) -> str:
    """The text of a file; empty for a binary one (it has a zero byte). Never fails."""
    if b"\0" in data:
        return ""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def batches(
    files: list[Listed], files_max: int, bytes_max: int
) -> Iterator[tuple[int, list[Listed]]]:
    """Cut a listing into (number of the first file, batch). A file over the limit is alone."""
    first, size = 0, 0
    for number, file in enumerate(files):
        if number > first and (number - first == files_max or size + file.size > bytes_max):
            yield first, files[first:number]
            first, size = number, 0
        size += file.size
    if files:
        yield first, files[first:]
