"""Contract of every method under many threads: one winner, nothing lost, nothing half done."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import pytest

from perdure.backends.base import (
    ClaimBatch,
    Committed,
    Finish,
    InvocationRecord,
    Refusal,
    RegisterPut,
    Stop,
    Suspend,
)
from perdure.backends.limits import QueueLimits
from perdure.core.entries import verify_chain
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import InvocationState
from perdure.testing.contract.case import ContractCase
from perdure.testing.contract.world import APP, World, bodies_of

THREADS = 8
ROUNDS = 12

DONE = Finish(state=InvocationState.COMPLETED, outcome=b"null")

T = TypeVar("T")
R = TypeVar("R")


def race(action: Callable[[T], R], arguments: Sequence[T]) -> list[R]:
    """Run `action` on all arguments at once, each on a thread of its own; results in order."""
    barrier = threading.Barrier(len(arguments))

    def go(argument: T) -> R:
        barrier.wait()
        return action(argument)

    with ThreadPoolExecutor(len(arguments)) as pool:
        return list(pool.map(go, arguments))


class RaceContract(ContractCase):
    """Threads of one process, through one backend object."""

    def test_a_limited_queue_is_never_overbooked(self, world: World) -> None:
        limits = {"gpu": QueueLimits(concurrency=3, key_concurrency=2)}
        for number in range(THREADS * 2):
            world.start(f"i{number}", queue="gpu", limit_key=str(number % 2))
        claims = race(
            lambda owner: world.claim(owner=owner, limits=limits, limit=2),
            [f"w{number}" for number in range(THREADS)],
        )
        taken = [record for batch in claims for record in batch.records]
        assert len(taken) == 3
        assert max(Counter(record.limit_key for record in taken).values()) == 2

    def test_a_limited_queue_is_never_overbooked_while_places_come_back(self, world: World) -> None:
        limits = {"gpu": QueueLimits(concurrency=3)}
        ids = [f"i{number}" for number in range(THREADS * 5)]
        for id_ in ids:
            world.start(id_, queue="gpu")

        def work(owner: str) -> tuple[list[str], int]:
            done: list[str] = []
            most = 0
            while left := world.backend.queues(APP):
                most = max(most, left[0].running)
                records = world.claim(owner=owner, limits=limits, limit=2).records
                if records:
                    most = max(most, world.backend.queues(APP)[0].running)
                for record in records:
                    world.finish(record)
                    done.append(record.key.invocation_id)
            return done, most

        results = race(work, [f"w{number}" for number in range(THREADS)])
        assert sorted(id_ for done, _ in results for id_ in done) == sorted(ids)
        assert max(most for _, most in results) <= 3

    def test_one_start_creates(self, world: World) -> None:
        for number in range(ROUNDS):
            new = [world.new(f"i{number}")] * THREADS
            started = race(lambda one: world.backend.start(one, "return"), new)
            assert sum(each.created for each in started) == 1
            assert len({each.record.key for each in started}) == 1
            assert len({each.record.seed for each in started}) == 1

    def test_each_row_is_claimed_once(self, world: World) -> None:
        ids = [f"i{number}" for number in range(THREADS * 5)]
        for id_ in ids:
            world.start(id_)

        def drain(owner: str) -> list[InvocationRecord]:
            mine: list[InvocationRecord] = []
            while batch := world.claim(owner=owner, limit=2).records:
                mine += batch
            return mine

        owners = [f"w{number}" for number in range(THREADS)]
        claimed = race(drain, owners)
        for owner, records in zip(owners, claimed, strict=True):
            assert {record.owner for record in records} <= {owner}
        taken = Counter(record.key.invocation_id for records in claimed for record in records)
        assert taken == Counter(ids)

    def test_one_of_many_commits_on_one_head_wins(self, world: World) -> None:
        record = world.running()
        for number in range(ROUNDS):
            asked = [world.transition(record, b"%d" % thread) for thread in range(THREADS)]
            results = race(lambda one: world.backend.commit([one])[0], asked)
            assert results.count(Refusal.WRONG_HEAD) == THREADS - 1
            (won,) = (
                one
                for one, result in zip(asked, results, strict=True)
                if isinstance(result, Committed)
            )
            record = world.read(record.key)
            assert record.head == number + 1
            assert record.last_token == won.token
        entries = world.backend.read_journal(record.key)
        assert verify_chain(record.key, record.seed, entries, ROUNDS) == record.head_hash

    def test_many_workflows_commit_at_once(self, world: World) -> None:
        for thread in range(THREADS):
            world.start(f"w{thread}")
        records = world.claim().records

        def run(record: InvocationRecord) -> None:
            for number in range(ROUNDS):
                record = world.step(record, b"%d" % number)

        race(run, records)
        expected = [b"%d" % number for number in range(ROUNDS)]
        for record in records:
            assert bodies_of(world.backend.read_journal(record.key)) == expected

    def test_one_put_wins(self, world: World) -> None:
        for number in range(ROUNDS):
            puts = [
                RegisterPut(
                    app=APP,
                    workflow_type="t",
                    workflow_id="i",
                    key=f"random:{number}",
                    body=b"%d" % thread,
                    counter=("counter:random", number),
                    child=world.new(f"child-{number}-{thread}"),
                )
                for thread in range(THREADS)
            ]
            results = race(world.backend.register_put, puts)
            assert sum(result.won for result in results) == 1
            assert len({result.body for result in results}) == 1
        children = world.claim(limit=1_000).records
        assert len(children) == ROUNDS
        counter = world.backend.register_get(APP, "t", "i", "counter:random")
        assert counter == b"%d" % (ROUNDS - 1)

    @pytest.mark.parametrize("watched_before", [True, False])
    def test_no_wake_up_is_lost_beside_an_end(
        self,
        world: World,
        watched_before: bool,  # noqa: FBT001
    ) -> None:
        for number in range(ROUNDS * 2):
            target = world.running(f"target-{number}")
            watcher = world.running(f"watcher-{number}")
            watches: tuple[InvocationKey, ...] = (target.key,)
            if watched_before:
                world.commit(watcher, watches=watches)
                watches = ()
            suspend = world.transition(watcher, watches=watches, disposition=Suspend())
            finish = world.transition(target, disposition=DONE)
            race(lambda one: world.backend.commit([one]), [suspend, finish])
            assert world.read(watcher.key).state is InvocationState.READY
            assert world.sources(watcher.key) == [target.key]
            (again,) = world.claim().records
            world.finish(again)

    def test_one_child_is_inserted_by_one_of_many_parents(self, world: World) -> None:
        for thread in range(THREADS):
            world.start(f"parent-{thread}")
        parents = world.claim().records
        for number in range(ROUNDS):
            asked = [
                world.transition(parent, children=(world.new(f"child-{number}"),))
                for parent in parents
            ]
            results = race(lambda one: world.backend.commit([one])[0], asked)
            assert results.count(Refusal.CHILD_EXISTS) == THREADS - 1
            assert world.backend.read(f"child-{number}") is not None

    def test_a_thief_and_the_old_holder_never_both_own_a_lease(self, world: World) -> None:
        for number in range(ROUNDS):
            old = world.running(f"i{number}")
            asked = world.transition(old, b"old")
            request = world.request(owner="thief", dead_owners=frozenset({old.owner}))
            commit: Callable[[], object] = partial(world.backend.commit, [asked])
            claim: Callable[[], object] = partial(world.backend.claim, request)
            committed, batch = race(lambda action: action(), [commit, claim])
            stolen = world.read(old.key)
            assert isinstance(batch, ClaimBatch)
            if not batch.records:  # passed over, because the commit was writing it
                batch = world.backend.claim(request)
                stolen = world.read(old.key)
            assert batch.records == (stolen,)
            assert stolen.head == (0 if committed == [Refusal.STALE] else 1)
            assert world.try_commit(old, b"late") is Refusal.STALE
            world.finish(stolen)

    def test_nobody_sees_a_seized_row_that_is_not_settled(self, world: World) -> None:
        rows = [world.start(f"i{number}", delay=world.clock()) for number in range(THREADS * 5)]
        done = threading.Event()
        stop = Stop(state=InvocationState.PAUSED, reason="")

        def seize() -> set[tuple[InvocationState, int]]:
            try:
                for row in rows:
                    world.backend.seize(row.key, row.epoch, world.token(), stop)
            finally:
                done.set()
            return set()

        def look() -> set[tuple[InvocationState, int]]:
            seen = set[tuple[InvocationState, int]]()
            while not done.is_set():
                for row in rows:
                    found = world.read(row.key)
                    seen.add((found.state, found.epoch))
            return seen

        found = race(lambda action: action(), [seize, look, look])
        seen = set[tuple[InvocationState, int]]().union(*found)
        assert seen <= {(InvocationState.READY, 0), (InvocationState.PAUSED, 1)}

    def test_reads_see_whole_transactions(self, world: World) -> None:
        record = world.running()
        done = threading.Event()

        def write() -> int:
            current = record
            for number in range(ROUNDS):
                current = world.step(current, b"%d" % number, b"second")
            done.set()
            return current.head

        def read() -> int:
            seen = 0
            while not done.is_set():
                seen = len(world.backend.read_journal(InvocationKey("a", 1)))
                assert seen % 2 == 0
            return seen

        head, *_ = race(lambda action: action(), [write, read, read])
        assert head == 2 * ROUNDS
