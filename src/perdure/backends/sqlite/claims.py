"""Finds what a claim may take, on any connection. It changes nothing; `grant` does.

Claimable rows are two ranges of one index per priority: what is ready, and what is due by now. The
walk goes from the highest priority down and stops at the limit, so its cost is the number of
distinct priorities plus the number of rows taken, however many rows wait, run or have ended.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

from perdure.backends.base import ClaimRequest
from perdure.backends.sqlite import sql
from perdure.backends.sqlite.rows import json_list

_HIGHEST = 2**63 - 1
_LOWEST = -(2**63)


class Candidate(NamedTuple):
    """A claimable row; the order of the fields is the order of claiming."""

    rank: int
    due_at: int
    seq: int


class _Walk(NamedTuple):
    """One index to walk: of the whole app, or of one tree."""

    next_priority: str
    due: str
    next_due: str
    where: dict[str, str | int]


def candidates(connection: sqlite3.Connection, request: ClaimRequest, now: int) -> list[Candidate]:
    """At most `request.limit` claimable rows in the order of claiming."""
    found = [
        candidate
        for walk in _walks(request)
        for candidate in _due(connection, walk, request.limit, now)
    ]
    if request.dead_owners:
        found += _abandoned(connection, request, now)
    return sorted(found)[: max(0, request.limit)]


def next_due(connection: sqlite3.Connection, request: ClaimRequest, now: int) -> int | None:
    """When the next row that matches the request becomes claimable by time alone, after `now`."""
    found = [
        row[0]
        for walk in _walks(request)
        for priority in _priorities(connection, walk)
        for row in connection.execute(
            walk.next_due, walk.where | {"priority": priority, "now": now}
        )
    ]
    return min(found, default=None)


def _walks(request: ClaimRequest) -> Iterator[_Walk]:
    where: dict[str, str | int] = {"app": request.app, "names": json_list(request.names)}
    if request.roots is None:
        yield _Walk(sql.NEXT_PRIORITY, sql.DUE, sql.NEXT_DUE, where)
        return
    texts = (sql.NEXT_PRIORITY_IN_TREE, sql.DUE_IN_TREE, sql.NEXT_DUE_IN_TREE)
    for root in request.roots:
        tree = where | {"root_id": root.invocation_id, "root_generation": root.generation}
        yield _Walk(*texts, tree)


def _priorities(connection: sqlite3.Connection, walk: _Walk) -> Iterator[int]:
    highest = _HIGHEST
    while True:
        row = connection.execute(walk.next_priority, walk.where | {"highest": highest}).fetchone()
        if row is None:
            return
        yield row[0]
        if row[0] == _LOWEST:
            return
        highest = row[0] - 1


def _due(connection: sqlite3.Connection, walk: _Walk, limit: int, now: int) -> Iterator[Candidate]:
    """Candidates of one walk; among them the first `limit` of all."""
    for priority in _priorities(connection, walk):
        if limit <= 0:
            return
        found = [
            Candidate(-priority, due_at, seq)
            for timed, latest in ((0, _HIGHEST), (1, now))
            for due_at, seq in connection.execute(
                walk.due,
                walk.where | {"priority": priority, "timed": timed, "now": latest, "limit": limit},
            )
        ]
        limit -= len(found)
        yield from found


def _abandoned(
    connection: sqlite3.Connection, request: ClaimRequest, now: int
) -> Iterator[Candidate]:
    asked = {
        "app": request.app,
        "now": now,
        "names": json_list(request.names),
        "owners": json_list(request.dead_owners),
    }
    for priority, seq, *root in connection.execute(sql.ABANDONED, asked).fetchall():
        if request.roots is None or tuple(root) in request.roots:
            yield Candidate(-priority, now, seq)
