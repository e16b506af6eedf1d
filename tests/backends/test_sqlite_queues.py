"""Queues in SQLite: a database from before there were any, and what a claim costs behind limits."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

import pytest

from perdure.backends.base import InvocationQuery
from perdure.backends.limits import QueueLimits, Rate
from perdure.backends.sqlite import schema
from perdure.backends.sqlite.claims import candidates
from perdure.backends.sqlite.rows import entry_row
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import TERMINAL, InvocationState
from perdure.testing.contract.world import APP, LEASE, SECOND, sealed

OLD_COLUMNS = (
    "seq, invocation_id, generation, app, kind, name, parent_id, parent_generation, root_id,"
    " root_generation, priority, state, epoch, owner, lease_until, wake_at, ready_since, head,"
    " head_hash, last_token, attempts, crashes, base_time, created_at, finished_at, reason, outcome"
)
QUEUES = ("", "gpu")
READY, RUNNING = InvocationState.READY, InvocationState.RUNNING


def make_first_schema(path, now):
    """A database as the first version left it, with a row in every state in two queues."""
    connection = sqlite3.connect(path, isolation_level=None)
    schema.migrate(
        connection, schema.inspect(connection, str(path)), schema.load_migrations()[:1], bytes(16)
    )
    for queue in QUEUES:
        for state in InvocationState:
            insert(connection, queue, state, now)
    before = everything(connection)
    connection.close()
    return before


def insert(connection, queue, state, now):
    ended = state in TERMINAL
    running = state is InvocationState.RUNNING
    id_ = f"{state.value}-{queue}"
    (seq,) = connection.execute(
        "INSERT INTO invocation (invocation_id, generation, app, kind, name, root_id,"
        " root_generation, queue, priority, state, epoch, owner, lease_until, wake_at,"
        " ready_since, head, head_hash, last_token, attempts, crashes, created_at, finished_at,"
        " reason, outcome) VALUES (?, 1, 'app', 'workflow', 'shop.order', ?, 1, ?, 0, ?, 1, ?, ?,"
        " ?, ?, 1, x'aa', x'bb', 2, 0, 1, ?, ?, ?) RETURNING seq",
        (
            id_,
            id_,
            queue,
            state.value,
            "old-worker" if running else "",
            now + SECOND if running else None,
            now + 2 * SECOND if state is InvocationState.WAITING else None,
            now,
            7 if ended else None,
            "why" if state in (InvocationState.PARKED, InvocationState.DEAD) else "",
            b"1" if ended else None,
        ),
    ).fetchone()
    connection.execute(
        "INSERT INTO call VALUES (?, x'5b5d', zeroblob(16), 'c', NULL, NULL, x'7b7d', '',"
        " zeroblob(32), 1, 0)",
        (seq,),
    )
    entry = entry_row(seq, sealed(0, b"kept", 1, bytes(16), now, b""))
    connection.execute(
        "INSERT INTO entry (id, kind, scope, ordinal, key, name, digest, body, meta, at, epoch,"
        f" token, checksum, codec, key_id) VALUES ({', '.join('?' * len(entry))})",
        entry,
    )


def everything(connection):
    return [
        connection.execute(f"SELECT {columns} FROM {table} ORDER BY 1").fetchall()
        for columns, table in ((OLD_COLUMNS, "invocation"), ("*", "call"), ("*", "entry"))
    ]


def test_rows_of_the_first_schema_change_in_their_queue_alone(path, clock, world, open_backend):
    before = make_first_schema(path, clock.at)
    backend = open_backend()
    for queue in QUEUES:
        for state in InvocationState:
            key = InvocationKey(f"{state.value}-{queue}", 1)
            row = backend.read(*key)
            assert (row.queue, row.limit_key) == (queue or "default", "")
            assert (row.state, row.arguments, row.attempts) == (state, b"[]", 2)
            assert [entry.body for entry in backend.read_journal(key)] == [b"kept"]
    backend.close()
    with sqlite3.connect(path) as connection:
        assert everything(connection) == before
        with pytest.raises(sqlite3.IntegrityError, match="never changes"):
            connection.execute("UPDATE invocation SET state = 'ready' WHERE state = 'completed'")
    connection.close()


def test_claims_go_on_in_a_database_of_the_first_schema(path, clock, world, open_backend):
    make_first_schema(path, clock.at)
    open_backend()
    limits = {name: QueueLimits(concurrency=1) for name in ("default", "gpu")}
    assert world.claimed(limits=limits) == []
    assert world.claimed(limits={"gpu": limits["gpu"]}) == ["ready-"]
    clock.advance(SECOND)
    assert world.claimed(limits={"gpu": limits["gpu"]}) == ["ready-gpu", "running-"]
    clock.advance(LEASE)
    limits["gpu"] = QueueLimits(concurrency=2)
    assert world.claimed(limits=limits) == ["running-gpu", "waiting-", "waiting-gpu"]


class Cost(NamedTuple):
    """Of finding what a claim may take: steps of SQLite's machine, and statements."""

    steps: int
    statements: int
    found: int


def cost_of_claim(world, **changes):
    steps = 0
    texts: list[str] = []

    def count():
        nonlocal steps
        steps += 1
        return 0

    connection = world.backend._store._writer.connection
    connection.set_progress_handler(count, 1)
    connection.set_trace_callback(texts.append)
    found = candidates(connection, world.request(**changes), world.clock.at)
    connection.set_trace_callback(None)
    connection.set_progress_handler(None, 1)
    return Cost(steps, len(texts), len(found))


def fill(world, numbers, **changes):
    for number in numbers:
        world.start(f"i{number}", queue="gpu", **changes)


@pytest.mark.parametrize(
    ("limits", "taken"),
    [
        (QueueLimits(concurrency=3), 2),
        (QueueLimits(concurrency=1), 0),
        (QueueLimits(worker_concurrency=2), 1),
        (QueueLimits(rate=Rate(3, SECOND)), 3),
    ],
    ids=["fills up", "full", "full for this worker", "rate used up"],
)
@pytest.mark.parametrize("in_tree", [False, True])
def test_rows_behind_a_full_queue_cost_a_claim_nothing(world, limits, taken, in_tree):
    top = world.running("top", queue="gpu").key
    asked = {"limits": {"gpu": limits}, "limit": 10, "roots": frozenset({top}) if in_tree else None}
    fill(world, range(150), root=top)
    few = cost_of_claim(world, **asked)
    fill(world, range(150, 900), root=top)
    assert cost_of_claim(world, **asked) == few
    assert few.found == taken


@pytest.mark.parametrize("step", [0, 1], ids=["equally due", "one after the other"])
@pytest.mark.parametrize("in_tree", [False, True])
def test_rows_behind_a_key_in_use_are_looked_at_once(world, step, in_tree):
    top = world.running("top", queue="gpu", limit_key="x").key
    asked = {"limit": 10, "roots": frozenset({top}) if in_tree else None}

    def cost(numbers):
        for number in numbers:
            fill(world, [number], root=top, limit_key="xy"[number % 2])
            world.clock.advance(step)
        return cost_of_claim(world, **asked)

    first, second, third = cost(range(200)), cost(range(200, 800)), cost(range(800, 1_400))
    assert (first.found, second.found, third.found) == (1, 1, 1)
    assert first.statements == third.statements
    assert third.steps - second.steps == pytest.approx(second.steps - first.steps, rel=0.05)


def test_many_keys_in_use_cost_as_much_as_they_are(world):
    def cost(numbers):
        for number in numbers:
            fill(world, [number], limit_key=f"key {number}")
        assert len(world.claimed(limit=10_000)) == len(numbers)
        for number in numbers:
            world.start(f"again-{number}", queue="gpu", limit_key=f"key {number}")
        found = cost_of_claim(world, limit=10)
        assert found.found == 0
        return found.steps

    few = cost(range(200))
    many = cost(range(200, 1_600))
    assert many < 12 * few


def test_a_look_for_what_is_ready_does_not_walk_over_what_has_ended(world):
    """Each worker looks every minute, and what has ended only grows."""
    queries = [InvocationQuery(app=APP, states=(each,)) for each in (READY, RUNNING)]
    costs: list[int] = []

    def count():
        costs[-1] += 1
        return 0

    for ended in (10, 300):
        for number in range(ended):
            world.start(f"{ended}-{number}")
        for record in world.claim(limit=ended).records:
            world.finish(record)
        (reader,) = world.backend._store._readers.everyone()
        costs.append(0)
        reader.set_progress_handler(count, 1)
        assert [world.backend.query(query) for query in queries] == [[], []]
        reader.set_progress_handler(None, 1)
    assert costs[1] <= costs[0]
