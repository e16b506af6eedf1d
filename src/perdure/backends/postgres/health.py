"""What `doctor` tells of one PostgreSQL store. Reads only, a bounded piece at a time.

Nothing here decides or repairs; each problem is one sentence with where, what, and what to do.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from perdure.backends.health import Health
from perdure.backends.postgres import schema
from perdure.backends.postgres.store import Store, Transaction
from perdure.backends.rows import entry_of
from perdure.core.entries import verify_chain
from perdure.core.identity import InvocationKey
from perdure.errors import JournalCorrupted

PROBLEMS_MAX = 100
"""Sentences per kind of problem; more than that is one problem, told often enough."""

OVERDUE_AFTER = 300_000_000
"""Microseconds (5 minutes): a lease that ended this long ago has no worker that would take it."""

_JOURNALS_PER_READ = 200


def examine(store: Store) -> Health:
    """All facts and problems of one store."""

    def look(transaction: Transaction) -> tuple[dict[str, str], list[str]]:
        _, ((now,),) = transaction.together(("plan_as_found", None), ("now", None))
        problems = [*_server_problems(transaction), *_row_problems(transaction, now)]
        return {"database": store.target.shown} | _facts(transaction), problems

    facts, problems = store.read(look)
    problems += islice(_journal_problems(store), PROBLEMS_MAX)
    return Health(backend="postgresql", facts=facts, problems=tuple(problems))


def _facts(transaction: Transaction) -> dict[str, str]:
    ((_, version, *_),) = transaction.rows("server")
    ((schema_version, min_reader, min_writer),) = transaction.rows("meta")
    ((database, tables),) = transaction.rows("sizes")
    settings: dict[str, str] = dict(transaction.rows("server_settings"))
    return {
        "server": str(version),
        "database bytes": str(database),
        "perdure bytes": str(tables),
        "schema": f"{schema_version} (readers from {min_reader}, writers from {min_writer})",
        **{name.replace("_", " "): str(setting) for name, setting in settings.items()},
        **{f"invocations {state}": str(n) for state, n in transaction.rows("counts")},
    }


def _server_problems(transaction: Transaction) -> Iterator[str]:
    yield from schema.risks(transaction.connection)


def _row_problems(transaction: Transaction, now: int) -> Iterator[str]:
    limit = {"limit": PROBLEMS_MAX}
    for id_, generation, state, reason in transaction.rows("stopped", limit):
        # The reason says what to do.
        yield f"Invocation {id_!r} (generation {generation}) is {state}: {reason}"
    asked = limit | {"before": now - OVERDUE_AFTER}
    for id_, generation, owner, until in transaction.rows("overdue", asked):
        yield (
            f"Invocation {id_!r} (generation {generation}) is running by {owner!r}, whose lease "
            f"ended {(now - until) // 1_000_000} s ago. Start a worker that knows its name."
        )
    for id_, generation in transaction.rows("lost_wake_ups", limit):
        yield f"Invocation {id_!r} (generation {generation}) waits with something unread. {_BUG}"
    for id_, generation, parent in transaction.rows("orphan_children", limit):
        yield f"Invocation {id_!r} (generation {generation}) has no parent {parent!r}. {_BUG}"
    for (seq,) in transaction.rows("entries_without_row", limit):
        yield f"Journal {seq} has entries and no invocation. {_BUG}"
    for (seq,) in transaction.rows("rows_without_call", limit):
        yield f"Row {seq} is in only one of the tables invocation and call. {_BUG}"


_BUG = "This should not be possible; keep a copy of the database and report it."


_ANOTHER_SEAL = (
    "Journal of {id!r} (generation {generation}): the entries end in another seal than the row of "
    "the workflow says. Restore the database from a backup."
)


def _journal_problems(store: Store) -> Iterator[str]:
    """Check the chain of every journal, one journal per snapshot."""
    after = 0
    while True:
        asked = {"after": after, "limit": _JOURNALS_PER_READ}
        journals = store.read(lambda transaction: transaction.rows("journals", asked))  # noqa: B023 - called at once
        if not journals:
            return
        for seq, id_, generation in journals:
            yield from _broken_chain(store, seq, InvocationKey(id_, generation))
        after = journals[-1][0]


def _broken_chain(store: Store, seq: int, key: InvocationKey) -> list[str]:
    def look(transaction: Transaction) -> list[str]:
        heads, rows = transaction.together(
            ("journal_head", {"seq": seq}), ("journal_entries", {"seq": seq})
        )
        for seed, head, head_hash in heads:
            try:
                seal = verify_chain(key, seed, map(entry_of, rows), head)
            except JournalCorrupted as error:
                return [str(error)]
            if head and seal != head_hash:
                return [_ANOTHER_SEAL.format(id=key.invocation_id, generation=key.generation)]
        return []

    return store.read(look)
