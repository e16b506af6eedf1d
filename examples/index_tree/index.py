"""The searchable index: one SQLite database with FTS5. Nothing here knows of perdure.

Every write states what the rows of certain files are, whatever was there before, in one
transaction. So a write that is repeated after a crash changes nothing.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from files import Document

FREQUENT, LARGEST = 20, 10
"""How many words and files the report lists."""
WORD = re.compile(r"\w+")

SCHEMA = (
    "DROP TABLE IF EXISTS run",
    "DROP TABLE IF EXISTS vocabulary",
    "DROP TABLE IF EXISTS pages",
    "DROP TABLE IF EXISTS files",
    "CREATE TABLE run (name TEXT NOT NULL)",  # whose index this is
    """CREATE TABLE files (
        number INTEGER PRIMARY KEY,   -- place in the listing; the rowid in pages, too
        path TEXT NOT NULL, bytes INTEGER NOT NULL, words INTEGER NOT NULL,
        fingerprint TEXT NOT NULL,    -- SHA-256
        problem TEXT NOT NULL         -- why the file was skipped, or ''
    )""",
    """CREATE VIRTUAL TABLE pages USING fts5(text, tokenize = "unicode61 tokenchars '_'")""",
    "CREATE VIRTUAL TABLE vocabulary USING fts5vocab(pages, row)",
)


class IndexProblem(Exception):
    """The index cannot be made or used; the message says what to do."""


@dataclass(frozen=True)
class Report:
    """What there is to say about an indexed tree.

    Attributes:
        fingerprint: SHA-256 of what `sha256sum` prints for the files, in the order of the listing.
        skipped: path and reason.
    """

    directory: str
    files: int
    bytes: int
    words: int
    fingerprint: str
    skipped: list[tuple[str, str]]
    frequent_words: list[tuple[str, int]]
    largest_files: list[tuple[str, int]]


def require_fts5() -> None:
    """Raise `IndexProblem` if this Python's SQLite cannot do full-text search."""
    with closing(sqlite3.connect(":memory:")) as connection:
        try:
            connection.execute("CREATE VIRTUAL TABLE probe USING fts5(text)")
        except sqlite3.OperationalError as error:
            raise IndexProblem(
                f"SQLite {sqlite3.sqlite_version} of this Python has no FTS5, which the index "
                "needs. Use a Python whose SQLite was built with SQLITE_ENABLE_FTS5."
            ) from error


@contextmanager
def transaction(path: Path) -> Generator[sqlite3.Connection]:
    """Give one transaction of the index: all of it is stored, or nothing."""
    with closing(sqlite3.connect(path, timeout=60, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield connection
        connection.execute("COMMIT")  # closed without it, all is rolled back


def belongs(path: Path, run: str) -> bool:
    """Whether there is an index, and it was made for this run and not for another one since."""
    if not path.exists():  # SQLite would make an empty one
        return False
    with closing(sqlite3.connect(path, timeout=60)) as connection, suppress(sqlite3.DatabaseError):
        return bool(connection.execute("SELECT name FROM run").fetchone() == (run,))
    return False


@contextmanager
def transaction_of(run: str, path: Path) -> Generator[sqlite3.Connection]:
    """Give one transaction of the index of this run.

    Raises:
        IndexProblem: the index is gone, or another run has replaced it.
    """
    if not belongs(path, run):
        raise IndexProblem(
            f"{path} is gone, or another run has replaced it (give each directory an --out of its "
            "own). Run the command again, and it starts over."
        )
    with transaction(path) as connection:
        yield connection


def create(run: str, path: Path) -> None:
    """Make an empty index for this run, also where there is one."""
    with transaction(path) as connection:
        for statement in SCHEMA:
            connection.execute(statement)
        connection.execute("INSERT INTO run VALUES (?)", (run,))


def store(run: str, path: Path, first: int, documents: list[Document]) -> None:
    """Let the files numbered from `first` on be these documents."""
    with transaction_of(run, path) as connection:
        for number, doc in enumerate(documents, first):
            words = len(WORD.findall(doc.text))
            connection.execute(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)",
                (number, doc.path, doc.size, words, doc.fingerprint, doc.problem),
            )
            connection.execute("DELETE FROM pages WHERE rowid = ?", (number,))
            if words:
                connection.execute(
                    "INSERT INTO pages (rowid, text) VALUES (?, ?)", (number, doc.text)
                )


def summarise(run: str, path: Path, directory: str) -> Report:
    """Read the report out of a complete index."""
    with transaction_of(run, path) as connection:
        query = connection.execute
        digest = hashlib.sha256()
        for row in query("SELECT fingerprint, path FROM files WHERE problem = '' ORDER BY number"):
            digest.update("{}  {}\n".format(*row).encode())
        files, size, words = query(
            "SELECT count(*), coalesce(sum(bytes), 0), coalesce(sum(words), 0)"
            " FROM files WHERE problem = ''"
        ).fetchone()
        return Report(
            directory=directory,
            files=files,
            bytes=size,
            words=words,
            fingerprint=digest.hexdigest(),
            skipped=query(
                "SELECT path, problem FROM files WHERE problem <> '' ORDER BY number"
            ).fetchall(),
            frequent_words=query(
                "SELECT term, cnt FROM vocabulary WHERE term NOT GLOB '[0-9]*'"
                f" ORDER BY cnt DESC, term LIMIT {FREQUENT}"
            ).fetchall(),
            largest_files=query(
                "SELECT path, bytes FROM files WHERE problem = ''"
                f" ORDER BY bytes DESC, path LIMIT {LARGEST}"
            ).fetchall(),
        )


def search(path: Path, words: str, limit: int = 10) -> list[tuple[str, str]]:
    """Path and an excerpt of the best files that hold all these words."""
    query = " ".join(f'"{word}"' for word in WORD.findall(words))
    if not query:
        raise IndexProblem(f"There is no word in {words!r} to search for.")
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(
            "SELECT path, snippet(pages, 0, '[', ']', ' ... ', 12)"
            " FROM pages JOIN files ON files.number = pages.rowid"
            " WHERE pages MATCH ? ORDER BY rank, number LIMIT ?",
            (query, limit),
        ).fetchall()
