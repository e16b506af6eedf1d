"""One PostgreSQL database as one of several servers, in open transactions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from perdure.backends.postgres.schema import ADVISORY_SPACE
from perdure.backends.postgres.store import Asked, Transaction
from perdure.backends.rows import Row, server_list_of
from perdure.backends.server import (
    FIRST_LIST,
    Ask,
    End,
    Outbox,
    ServerList,
    check_list,
    refuse_old,
)
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import TERMINAL

_SPACE = {"space": ADVISORY_SPACE}
_TERMINAL = frozenset(state.value for state in TERMINAL)

LIST_LOOK: tuple[Asked, Asked] = (("guard_start", _SPACE), ("server_list", None))
"""What a transaction that begins something asks in its first trip; then `refuse_old_list`."""


def refuse_old_list(rows: list[Row], used: int) -> None:
    """Refuse to begin anything under an older list than the one that `LIST_LOOK` found."""
    refuse_old(server_list_of(rows[0]).number if rows else FIRST_LIST, used)


def read_list(transaction: Transaction) -> ServerList | None:
    """The newest list that was published here."""
    row = transaction.row("server_list")
    return None if row is None else server_list_of(row)


def publish(transaction: Transaction, servers: ServerList) -> None:
    """Keep a list, when no start is in flight."""
    transaction.rows("guard_publish", _SPACE)
    ((has_rows,),) = transaction.rows("has_rows")
    check_list(read_list(transaction), servers, has_rows=has_rows)
    row = (servers.position, b"".join(servers.stores), servers.complete)
    transaction.change("publish", row)


def outbox(transaction: Transaction, positions: Sequence[int], limit: int) -> Outbox:
    """What is here for other servers."""
    asked = {"servers": list(positions), "limit": limit}
    asks, ends = transaction.together(("foreign_asks", asked), ("foreign_ends", asked))
    return Outbox(
        [Ask(row_id, InvocationKey(*target), server) for row_id, *target, server in asks],
        [End(row_id, InvocationKey(*target), server) for row_id, *target, server in ends],
    )


def accept_asks(transaction: Transaction, targets: Sequence[InvocationKey], position: int) -> None:
    """Note who waits. The locks keep an end from passing unseen between the look and the note."""
    asked = _columns(targets)
    seqs = [seq for (seq,) in transaction.rows("share_targets", asked)]
    transaction.later("watched_from_elsewhere", asked | {"server": position, "seqs": seqs})


def accept_ends(transaction: Transaction, targets: Sequence[InvocationKey]) -> list[InvocationKey]:
    """Tell the watchers that live."""
    asked = _columns(dict.fromkeys(targets))
    locked = transaction.rows("lock_foreign_watchers", asked)
    if not locked:
        return []
    gone = transaction.rows("unwatch_foreign", asked | {"seqs": [seq for seq, *_ in locked]})
    live = {seq: InvocationKey(*key) for seq, *key, state in locked if state not in _TERMINAL}
    told = [row for row in gone if row[0] in live]
    if told:
        seqs, ids, generations = map(list, zip(*told, strict=True))
        transaction.later("deliver", (seqs, ids, generations))
        transaction.later("wake", {"seqs": seqs})
    return list(dict.fromkeys(live[seq] for seq, *_ in told))


def sent(transaction: Transaction, outbox: Outbox) -> None:
    """Forget what others have accepted."""
    transaction.rows("asked", {"row_ids": [ask.row_id for ask in outbox.asks]})
    transaction.later("told", {"row_ids": [end.row_id for end in outbox.ends]})


def _columns(keys: Iterable[InvocationKey]) -> dict[str, Any]:
    ids, generations = zip(*keys, strict=True)
    return {"ids": list(ids), "generations": list(generations)}
