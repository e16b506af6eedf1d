"""Finds what a claim may take, on any connection. It changes nothing; `grant` does.

Claimable rows are two ranges of one index per queue and priority: what is ready, and what is due by
now. The walk goes queue by queue, from the highest priority down, and leaves a queue whose limits
are used up. So its cost is the number of queues and distinct priorities plus the number of rows
taken, however many rows wait, run, have ended, or stand behind a full queue. Rows whose key is in
use are walked over in the index, one by one.
"""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from perdure.backends.admission import Admission, Usage, limits_of
from perdure.backends.base import ClaimRequest
from perdure.backends.sqlite import sql
from perdure.backends.sqlite.rows import json_list

_HIGHEST = 2**63 - 1
_LOWEST = -(2**63)

PAGE = 16
"""Rows that are looked at with the first statement, at least; a claim wants about so many."""

PAGE_MAX = 4_096
"""Rows of one page at most, so that a walk over keys in use takes little memory."""


class Candidate(NamedTuple):
    """A claimable row; the order of the fields is the order of claiming."""

    rank: int
    due_at: int
    seq: int
    queue: str
    limit_key: str


class _Walk(NamedTuple):
    """One index to walk: of the whole app, or of one tree."""

    next_queue: str
    next_priority: str
    due: str
    next_due: str
    where: dict[str, str | int]


def candidates(connection: sqlite3.Connection, request: ClaimRequest, now: int) -> list[Candidate]:
    """At most `request.limit` rows that may be claimed, in the order of claiming."""
    if request.limit <= 0:
        return []
    admission = _admission(connection, request, now)
    ranges: list[Iterable[Candidate]] = [
        _due(connection, walk, queue, admission, request.limit, now)
        for walk in _walks(request)
        for queue in _queues(connection, walk, request)
        if admission.slots(queue) > 0
    ]
    if request.dead_owners:
        ranges.append(sorted(_abandoned(connection, request, now)))
    return list(_admitted(ranges, admission, request.limit))


def next_due(connection: sqlite3.Connection, request: ClaimRequest, now: int) -> int | None:
    """When the next row that matches the request becomes claimable by time alone, after `now`."""
    found = [
        row[0]
        for walk in _walks(request)
        for queue in _queues(connection, walk, request)
        for priority in _priorities(connection, walk, queue)
        for row in connection.execute(
            walk.next_due, walk.where | {"queue": queue, "priority": priority, "now": now}
        )
    ]
    return min(found, default=None)


def _admission(connection: sqlite3.Connection, request: ClaimRequest, now: int) -> Admission:
    where = {
        "app": request.app,
        "owner": request.owner,
        "now": now,
        "dead_owners": json_list(request.dead_owners),
    }

    def usage(queue: str) -> Usage:
        asked = where | {"queue": queue}
        running, mine = connection.execute(sql.QUEUE_USAGE, asked).fetchone()
        rate, recent = limits_of(request, queue).rate, 0
        if rate is not None:
            since = asked | {"since": now - rate.period}
            (recent,) = connection.execute(sql.RECENT_CLAIMS, since).fetchone()
        return Usage(running, mine, recent)

    def running_with_key(queue: str, limit_key: str) -> int:
        asked = where | {"queue": queue, "limit_key": limit_key}
        (running,) = connection.execute(sql.KEY_USAGE, asked).fetchone()
        return int(running)

    return Admission(request, usage, running_with_key)


def _admitted(
    ranges: list[Iterable[Candidate]], admission: Admission, limit: int
) -> Iterator[Candidate]:
    """The candidates of all ranges in order, without those that a limit keeps back."""
    for candidate in heapq.merge(*ranges):
        if admission.admit(candidate.queue, candidate.limit_key):
            yield candidate
            limit -= 1
            if limit == 0:
                return


def _walks(request: ClaimRequest) -> Iterator[_Walk]:
    where: dict[str, str | int] = {"app": request.app, "names": json_list(request.names)}
    if request.roots is None:
        yield _Walk(sql.NEXT_QUEUE, sql.NEXT_PRIORITY, sql.DUE, sql.NEXT_DUE, where)
        return
    texts = (
        sql.NEXT_QUEUE_IN_TREE,
        sql.NEXT_PRIORITY_IN_TREE,
        sql.DUE_IN_TREE,
        sql.NEXT_DUE_IN_TREE,
    )
    for root in request.roots:
        tree = where | {"root_id": root.invocation_id, "root_generation": root.generation}
        yield _Walk(*texts, tree)


def _queues(connection: sqlite3.Connection, walk: _Walk, request: ClaimRequest) -> Iterator[str]:
    after = ""
    while True:
        row = connection.execute(walk.next_queue, walk.where | {"after": after}).fetchone()
        if row is None:
            return
        after = row[0]
        if request.queues is None or after in request.queues:
            yield after


def _priorities(connection: sqlite3.Connection, walk: _Walk, queue: str) -> Iterator[int]:
    highest = _HIGHEST
    while True:
        asked = walk.where | {"queue": queue, "highest": highest}
        row = connection.execute(walk.next_priority, asked).fetchone()
        if row is None:
            return
        yield row[0]
        if row[0] == _LOWEST:
            return
        highest = row[0] - 1


def _due(
    connection: sqlite3.Connection,
    walk: _Walk,
    queue: str,
    admission: Admission,
    limit: int,
    now: int,
) -> Iterator[Candidate]:
    """What is claimable in one queue, in order, until the queue is full.

    Each row is looked up when the one before it was admitted or not.
    """
    for priority in _priorities(connection, walk, queue):
        where = walk.where | {"queue": queue, "priority": priority, "limit": max(limit, PAGE)}
        ready = where | {"timed": 0, "now": _HIGHEST}
        timed = where | {"timed": 1, "now": now}
        pages = (_pages(connection, walk.due, each, admission) for each in (ready, timed))
        for due_at, seq, limit_key in heapq.merge(*pages):
            yield Candidate(-priority, due_at, seq, queue, limit_key)
            if admission.slots(queue) <= 0:
                return


def _pages(
    connection: sqlite3.Connection,
    text: str,
    where: dict[str, str | int],
    admission: Admission,
) -> Iterator[tuple[int, int, str]]:
    """The rows of one range, read page by page, so that no statement is left open.

    Rows whose key is known to be in use are left out, so that they cost no more than a look at the
    index. Pages grow, because each one brings the list of these keys along, and begins with all
    rows that are equally due.
    """
    queue, limit = str(where["queue"]), int(where["limit"])
    after_due, after_seq = _LOWEST, _LOWEST
    while True:
        asked = {"after_due": after_due, "after_seq": after_seq, "limit": limit}
        full_keys = {"full_keys": json_list(admission.full_keys(queue))}
        page = connection.execute(text, where | asked | full_keys).fetchall()
        yield from page
        if len(page) < limit:
            return
        after_due, after_seq, _ = page[-1]
        limit = max(limit, min(2 * limit, PAGE_MAX))


def _abandoned(
    connection: sqlite3.Connection, request: ClaimRequest, now: int
) -> Iterator[Candidate]:
    asked = {
        "app": request.app,
        "now": now,
        "names": json_list(request.names),
        "owners": json_list(request.dead_owners),
    }
    for priority, seq, queue, limit_key, *root in connection.execute(sql.ABANDONED, asked):
        if request.roots is None or tuple(root) in request.roots:
            yield Candidate(-priority, now, seq, queue, limit_key)
