"""Contract of queues: which rows a claim may take under the limits of their queue."""

from __future__ import annotations

import pytest

from perdure.backends.base import Disposition, Finish, Release, RetryLater, Stop, Suspend
from perdure.backends.limits import QueueLimits, QueueStatus, Rate
from perdure.core.lifecycle import InvocationState
from perdure.testing.contract.case import ContractCase
from perdure.testing.contract.world import LEASE, SECOND, World


def _limited(**limits: object) -> dict[str, QueueLimits]:
    return {"gpu": QueueLimits(**limits)}  # type: ignore[arg-type]  # spelled out in each test


def _fill(world: World, count: int, **changes: object) -> None:
    for number in range(count):
        world.start(f"i{number}", queue="gpu", **changes)


class QueueContract(ContractCase):
    """Limits count live leases, and nothing else."""

    def test_a_claim_takes_from_its_queues_only(self, world: World) -> None:
        world.start("a")
        world.start("b", queue="gpu")
        world.start("c", queue="cpu")
        assert world.claimed(queues=frozenset[str]()) == []
        assert world.claimed(queues=frozenset({"gpu", "nothing"})) == ["b"]
        assert world.claim(queues=frozenset({"gpu"})).next_due == world.clock.at + LEASE
        assert world.claimed(queues=frozenset({"default", "cpu"})) == ["a", "c"]

    def test_concurrency_counts_every_workers_leases(self, world: World) -> None:
        _fill(world, 4)
        limits = _limited(concurrency=3)
        assert world.claimed(limits=limits, limit=2, owner="w1") == ["i0", "i1"]
        assert world.claimed(limits=limits, owner="w2") == ["i2"]
        assert world.claimed(limits=limits, owner="w3") == []
        assert world.claimed(owner="w3") == ["i3"]

    def test_worker_concurrency_counts_the_claiming_owners_leases(self, world: World) -> None:
        _fill(world, 4)
        limits = _limited(worker_concurrency=1)
        assert world.claimed(limits=limits, owner="w1") == ["i0"]
        assert world.claimed(limits=limits, owner="w1") == []
        assert world.claimed(limits=limits, owner="w2") == ["i1"]

    def test_a_limit_of_0_holds_a_queue_back(self, world: World) -> None:
        _fill(world, 1)
        assert world.claimed(limits=_limited(worker_concurrency=0)) == []
        assert world.claimed(limits=_limited(concurrency=0)) == []

    def test_what_is_held_back_is_due_once_and_not_again(self, world: World) -> None:
        world.start(queue="gpu", delay=SECOND)
        limits = _limited(concurrency=0)
        assert world.claim(limits=limits).next_due == world.clock.at + SECOND
        world.clock.advance(SECOND)
        batch = world.claim(limits=limits)
        assert (batch.records, batch.next_due) == ((), None)

    def test_other_queues_and_apps_have_limits_of_their_own(self, world: World) -> None:
        _fill(world, 2)
        world.start("other-queue", queue="cpu")
        world.start("other-app", queue="gpu", app="app-2")
        limits = _limited(concurrency=1)
        assert world.claimed(limits=limits) == ["i0", "other-queue"]
        assert world.claimed(limits=limits, app="app-2") == ["other-app"]

    def test_rows_with_one_key_take_turns(self, world: World) -> None:
        for number, key in enumerate(("x", "x", "y", "", "", "x")):
            world.start(f"i{number}", limit_key=key)
        assert world.claimed() == ["i0", "i2", "i3", "i4"]
        assert world.claimed() == []
        assert world.claimed(limits={"default": QueueLimits(key_concurrency=2)}) == ["i1"]

    def test_a_key_is_one_within_its_queue(self, world: World) -> None:
        world.start("a", limit_key="x")
        world.start("b", limit_key="x", queue="gpu")
        world.start("c", limit_key="x", app="app-2")
        assert world.claimed() == ["a", "b"]
        assert world.claimed(app="app-2") == ["c"]

    def test_a_row_behind_a_limit_is_passed_over_and_keeps_its_place(self, world: World) -> None:
        for number in range(3):
            world.start(f"first-{number}", queue="gpu", priority=9)
        world.start("second", priority=5)
        world.start("third", limit_key="x")
        world.start("fourth", limit_key="x")
        world.start("fifth")
        limits = _limited(concurrency=1)
        assert world.claimed(limits=limits, limit=4) == ["first-0", "second", "third", "fifth"]
        world.clock.advance(LEASE)
        after = world.claimed(limits=limits, limit=9)
        assert after == ["first-1", "second", "fourth", "fifth"]

    def test_more_rows_than_one_look_shows_stand_behind_a_key(self, world: World) -> None:
        _fill(world, 150, limit_key="x")
        world.start("delayed", queue="gpu", limit_key="x", delay=SECOND)
        world.start("free", queue="gpu")
        world.start("last", queue="gpu", limit_key="y")
        world.clock.advance(SECOND)
        assert world.claimed(limit=3) == ["i0", "free", "last"]
        assert world.claimed(limit=3) == []

    def test_rows_of_dead_owners_wait_for_those_before_them(self, world: World) -> None:
        world.start("abandoned", queue="gpu")
        assert world.claimed(owner="gone") == ["abandoned"]
        world.start("holder", queue="gpu", limit_key="x", priority=9)
        assert world.claimed(owner="w1") == ["holder"]
        _fill(world, 150, limit_key="x", priority=5)
        world.start("before", queue="gpu", priority=5)
        asked = {"limits": _limited(concurrency=2), "dead_owners": frozenset({"gone"})}
        assert world.claimed(**asked, limit=3) == ["before"]

    def test_a_queue_that_fills_up_keeps_no_other_waiting(self, world: World) -> None:
        _fill(world, 150, priority=1)
        world.start("other")
        top = world.start("top", queue="gpu", priority=2, delay=SECOND).key
        world.start("child", queue="gpu", root=top)
        world.clock.advance(SECOND)
        limits = _limited(concurrency=3)
        assert world.claimed(limits=limits) == ["top", "i0", "i1", "other"]
        roots = frozenset({top, world.start("rest", delay=SECOND).key})
        assert world.claimed(limits=_limited(concurrency=4), roots=roots) == ["child"]

    def test_a_place_is_kept_while_its_lease_is_renewed(self, world: World) -> None:
        _fill(world, 2)
        limits = _limited(concurrency=1)
        (record,) = world.claim(limits=limits, owner="w1").records
        world.clock.advance(LEASE - 1)
        assert world.backend.renew("w1", [world.holding(record)], LEASE)
        world.clock.advance(LEASE - 1)
        assert world.claimed(limits=limits) == []
        world.clock.advance(1)
        assert world.claimed(limits=limits) == ["i1"]

    def test_a_place_that_was_taken_over_is_not_had_twice(self, world: World) -> None:
        """The first one's lease ran out, and its late renewal comes when another has its place."""
        world.start("late", queue="gpu")
        limits = _limited(concurrency=1)
        (late,) = world.claim(limits=limits, owner="w1").records
        world.start("urgent", queue="gpu", priority=2)
        assert world.claimed(limits=limits, owner="w2") == []
        world.clock.advance(LEASE)
        assert world.claimed(limits=limits, owner="w2") == ["urgent"]
        world.clock.advance(1)
        assert world.backend.renew("w1", [world.holding(late)], LEASE) == frozenset()
        assert world.claimed(limits=limits, owner="w2") == []
        world.clock.advance(LEASE - 1)
        assert world.claimed(limits=limits, owner="w3") == ["urgent"]

    def test_a_rate_looks_back_over_its_period(self, world: World) -> None:
        _fill(world, 5)
        limits = _limited(rate=Rate(2, 10 * SECOND))
        assert world.claimed(limits=limits, limit=1) == ["i0"]
        world.clock.advance(4 * SECOND)
        assert world.claimed(limits=limits) == ["i1"]
        world.clock.advance(6 * SECOND - 1)
        assert world.claimed(limits=limits) == []
        world.clock.advance(1)
        assert world.claimed(limits=limits) == ["i2"]
        assert world.claimed(limits=limits) == []
        world.clock.advance(-3 * SECOND)
        assert world.claimed(limits=limits) == []

    def test_a_retry_and_a_recovery_count_for_the_rate(self, world: World) -> None:
        _fill(world, 1)
        limits = _limited(rate=Rate(2, 100 * SECOND))
        (record,) = world.claim(limits=limits).records
        world.dispose(record, RetryLater(delay=0))
        assert world.claimed(limits=limits) == ["i0"]
        world.clock.advance(LEASE)
        assert world.claimed(limits=limits) == []
        world.clock.advance(70 * SECOND)
        assert world.claimed(limits=limits) == ["i0"]

    @pytest.mark.parametrize(
        "disposition",
        [
            Suspend(),
            Finish(state=InvocationState.COMPLETED, outcome=b"1"),
            RetryLater(delay=SECOND),
            Stop(state=InvocationState.DEAD, reason="why"),
        ],
        ids=["suspend", "finish", "retry", "stop"],
    )
    def test_what_does_not_run_takes_no_place(self, world: World, disposition: Disposition) -> None:
        _fill(world, 2, limit_key="x")
        limits = _limited(concurrency=1, worker_concurrency=1)
        (record,) = world.claim(limits=limits).records
        assert world.claimed(limits=limits) == []
        world.dispose(record, disposition)
        assert world.claimed(limits=limits) == ["i1"]

    def test_a_released_place_is_free_at_once(self, world: World) -> None:
        _fill(world, 2)
        limits = _limited(concurrency=1)
        (record,) = world.claim(limits=limits).records
        world.clock.advance(1)
        world.dispose(record, Release())
        assert world.claimed(limits=limits) == ["i1"]

    def test_a_crash_keeps_a_place_until_the_lease_is_over(self, world: World) -> None:
        _fill(world, 3, limit_key="x")
        limits = _limited(concurrency=1)
        assert world.claimed(limits=limits, owner="gone") == ["i0"]
        world.clock.advance(LEASE - 1)
        assert world.claimed(limits=limits) == []
        world.clock.advance(1)
        assert world.claimed(limits=limits) == ["i1"]
        assert world.claimed(limits=limits) == []

    def test_a_dead_owner_keeps_no_place(self, world: World) -> None:
        _fill(world, 2, limit_key="x")
        limits = _limited(concurrency=1)
        assert world.claimed(limits=limits, owner="gone") == ["i0"]
        dead = frozenset({"gone"})
        assert len(world.claimed(limits=limits, dead_owners=dead)) == 1
        assert world.claimed(limits=limits, dead_owners=dead) == []

    def test_limits_hold_within_a_tree(self, world: World) -> None:
        top = world.start("top").key
        for number in range(3):
            world.start(f"c{number}", queue="gpu", root=top, parent=top)
        roots = frozenset({top})
        limits = _limited(concurrency=1)
        assert world.claimed(limits=limits, roots=roots) == ["top", "c0"]
        assert world.claimed(limits=limits, roots=roots) == []

    def test_queues_are_told_with_what_they_hold(self, world: World) -> None:
        assert world.backend.queues("app") == []
        world.start("a", queue="gpu")
        world.clock.advance(3 * SECOND)
        world.start("b", queue="gpu")
        world.start("c", queue="gpu", delay=60 * SECOND)
        world.start("d")
        world.start("e", app="app-2")
        (held,) = world.claim(queues=frozenset({"default"})).records
        world.clock.advance(SECOND)
        assert world.backend.queues("app") == [
            QueueStatus(queue="default", ready=0, scheduled=0, running=1, oldest=None),
            QueueStatus(queue="gpu", ready=2, scheduled=1, running=0, oldest=4 * SECOND),
        ]
        world.dispose(held, Suspend())
        assert [status.queue for status in world.backend.queues("app")] == ["gpu"]
        world.clock.advance(60 * SECOND)
        (gpu,) = world.backend.queues("app")
        assert (gpu.ready, gpu.scheduled) == (3, 0)
