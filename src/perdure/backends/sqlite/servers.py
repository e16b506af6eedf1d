"""One SQLite database as one of several servers. For tests and development: one machine has all."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from perdure.backends.rows import server_list_of
from perdure.backends.server import (
    FIRST_LIST,
    Ask,
    End,
    Outbox,
    ServerList,
    check_list,
    refuse_old,
)
from perdure.backends.sqlite import sql
from perdure.backends.sqlite.rows import json_list, key_list, key_parameters
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import TERMINAL

_TERMINAL = frozenset(state.value for state in TERMINAL)


def read_list(connection: sqlite3.Connection) -> ServerList | None:
    """The newest list that was published here."""
    row = connection.execute(sql.SERVER_LIST).fetchone()
    return None if row is None else server_list_of(row)


def publish(connection: sqlite3.Connection, servers: ServerList) -> None:
    """Keep a list, in an open write transaction; writers are in turn anyway."""
    (has_rows,) = connection.execute(sql.HAS_ROWS).fetchone()
    check_list(read_list(connection), servers, has_rows=bool(has_rows))
    row = (servers.position, b"".join(servers.stores), servers.complete)
    connection.execute(sql.PUBLISH, row)


def refuse_old_list(connection: sqlite3.Connection, used: int) -> None:
    """Refuse to begin anything, in an open write transaction, under an older list."""
    kept = read_list(connection)
    refuse_old(FIRST_LIST if kept is None else kept.number, used)


def outbox(connection: sqlite3.Connection, positions: Sequence[int], limit: int) -> Outbox:
    """What is here for other servers."""
    asked = {"servers": json_list(positions), "limit": limit}
    asks = connection.execute(sql.FOREIGN_ASKS, asked).fetchall()
    ends = connection.execute(sql.FOREIGN_ENDS, asked).fetchall()
    return Outbox(
        [Ask(row_id, InvocationKey(*target), server) for row_id, *target, server in asks],
        [End(row_id, InvocationKey(*target), server) for row_id, *target, server in ends],
    )


def accept_asks(
    connection: sqlite3.Connection, targets: Sequence[InvocationKey], position: int
) -> None:
    """Note who waits, in an open write transaction."""
    rows = [{**key_parameters(target), "server": position} for target in targets]
    connection.executemany(sql.WATCHED_FROM_ELSEWHERE, rows)


def accept_ends(
    connection: sqlite3.Connection, targets: Sequence[InvocationKey]
) -> list[InvocationKey]:
    """Tell the watchers that live, in an open write transaction."""
    asked = {"targets": key_list(dict.fromkeys(targets))}
    watchers = connection.execute(sql.FOREIGN_WATCHERS, asked).fetchall()
    connection.executemany(sql.UNWATCH_FOREIGN, map(key_parameters, targets))
    told: list[InvocationKey] = []
    for watcher, target_id, target_generation, id_, generation, state in watchers:
        if state not in _TERMINAL:
            connection.execute(sql.DELIVER, (watcher, "done", target_id, target_generation))
            connection.execute(sql.WAKE, {"seq": watcher})
            told.append(InvocationKey(id_, generation))
    return list(dict.fromkeys(told))


def sent(connection: sqlite3.Connection, outbox: Outbox) -> None:
    """Forget what others have accepted, in an open write transaction."""
    connection.executemany(sql.ASKED, [(ask.row_id,) for ask in outbox.asks])
    connection.executemany(sql.TOLD, [(end.row_id,) for end in outbox.ends])
