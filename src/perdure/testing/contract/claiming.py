"""Contract of `claim`, `renew`, `resume` and `owners`: who may run what, and when."""

from __future__ import annotations

import pytest

from perdure.backends.base import ClaimBatch, Holding, Release, RetryLater, Stop, Suspend
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import InvocationState
from perdure.testing.contract.case import ContractCase
from perdure.testing.contract.world import LEASE, NAME, SECOND, World


class ClaimContract(ContractCase):
    """What is claimable, in which order, and what a claim does to a row."""

    def test_a_claim_sets_lease_epoch_owner_and_base_time(self, world: World) -> None:
        before = world.start()
        world.clock.advance(SECOND)
        batch = world.claim(owner="w", lease=LEASE)
        (record,) = batch.records
        assert record == world.read(record.key)
        assert record.state is InvocationState.RUNNING
        assert (record.epoch, record.owner) == (1, "w")
        assert record.lease_until == world.clock.at + LEASE
        assert record.base_time == world.clock.at == batch.now
        assert (record.crashes, record.attempts, record.head) == (0, 0, 0)
        assert record.created_at == before.created_at

    def test_base_time_is_that_of_the_first_claim(self, world: World) -> None:
        first = world.running()
        world.clock.advance(SECOND)
        world.dispose(first, Release())
        (second,) = world.claim().records
        assert second.base_time == first.base_time
        assert second.epoch == 2

    def test_what_is_leased_is_not_claimed_before_the_lease_is_over(self, world: World) -> None:
        world.running()
        assert world.claimed() == []
        world.clock.advance(LEASE - 1)
        assert world.claimed() == []
        world.clock.advance(1)
        (record,) = world.claim(owner="worker-2").records
        assert (record.epoch, record.owner, record.crashes) == (2, "worker-2", 1)

    def test_each_expired_lease_counts_as_a_crash_and_a_release_does_not(
        self, world: World
    ) -> None:
        world.start()
        for crashes in range(4):
            (record,) = world.claim().records
            assert record.crashes == crashes
            world.clock.advance(LEASE)
        (record,) = world.claim().records
        world.dispose(record, Release())
        (record,) = world.claim().records
        assert record.crashes == 4

    def test_reset_crashes_sets_the_counter_to_0(self, world: World) -> None:
        world.running()
        world.clock.advance(LEASE)
        (record,) = world.claim().records
        world.commit(record, b"1", reset_crashes=True)
        assert world.read(record.key).crashes == 0

    def test_leases_of_dead_owners_count_as_expired_at_once(self, world: World) -> None:
        world.start("a")
        world.claim(owner="gone")
        world.start("b")
        world.claim(owner="alive")
        (record,) = world.claim(dead_owners=frozenset({"gone", "never seen"})).records
        assert (record.key.invocation_id, record.epoch, record.crashes) == ("a", 2, 1)
        assert world.claimed(dead_owners=frozenset({"gone"})) == []

    def test_what_a_dead_owner_holds_beyond_the_limit_stays_as_it_is(self, world: World) -> None:
        for id_ in ("a", "b"):
            world.start(id_)
        first, second = world.claim(owner="gone").records
        assert world.claimed(dead_owners=frozenset({"gone"}), limit=1) == ["a"]
        assert world.read(second.key) == second
        assert world.claimed() == []
        assert first.lease_until == second.lease_until

    def test_a_dead_owners_rows_of_other_names_and_trees_are_left(self, world: World) -> None:
        world.start("a", name="other")
        world.start("b")
        world.claim(owner="gone", names=frozenset({NAME, "other"}))
        dead = frozenset({"gone"})
        roots = frozenset({InvocationKey("z", 1)})
        assert world.claimed(dead_owners=dead, roots=roots) == []
        assert world.claimed(dead_owners=dead) == ["b"]

    def test_only_names_of_the_request_and_of_the_app(self, world: World) -> None:
        world.start("a")
        world.start("b", name="other")
        world.start("c", app="app-2")
        assert world.claimed(names=frozenset[str]()) == []
        assert world.claimed(names=frozenset({"Shop.order"})) == []
        assert world.claimed() == ["a"]
        assert world.claimed(names=frozenset({"other"})) == ["b"]
        assert world.claimed(app="app-2") == ["c"]

    def test_only_trees_of_the_request(self, world: World) -> None:
        top = world.start("top").key
        world.start("child", root=top, parent=top)
        other = world.start("other").key
        assert world.claimed(roots=frozenset[InvocationKey]()) == []
        assert world.claimed(roots=frozenset({InvocationKey("top", 2)})) == []
        assert world.claimed(roots=frozenset({top})) == ["top", "child"]
        assert world.claimed(roots=frozenset({top, other})) == ["other"]

    def test_limit(self, world: World) -> None:
        for number in range(5):
            world.start(f"i{number}")
        assert world.claimed(limit=0) == []
        assert world.claimed(limit=2) == ["i0", "i1"]
        assert world.claimed(limit=9) == ["i2", "i3", "i4"]

    def test_priority_first_then_time_since_due(self, world: World) -> None:
        world.start("low", priority=-1)
        world.start("later", delay=SECOND)
        world.clock.advance(SECOND)
        world.start("now")
        world.start("high", priority=5)
        world.start("highest", priority=2**31)
        world.clock.advance(SECOND)
        assert world.claimed() == ["highest", "high", "later", "now", "low"]

    def test_priority_counts_within_trees_and_over_several(self, world: World) -> None:
        one = world.start("one").key
        two = world.start("two", priority=1).key
        world.start("one-high", root=one, priority=2)
        world.start("two-low", root=two, priority=-1)
        assert world.claimed(roots=frozenset({one, two}), limit=3) == ["one-high", "two", "one"]

    def test_an_expired_lease_is_due_since_it_ended(self, world: World) -> None:
        world.start("crashed")
        world.claim(lease=SECOND)
        world.clock.advance(SECOND - 1)
        world.start("older")
        world.clock.advance(2)
        world.start("newer")
        assert world.claimed() == ["older", "crashed", "newer"]

    def test_ready_again_is_due_since_then(self, world: World) -> None:
        first = world.running("first")
        world.start("second")
        world.clock.advance(1)
        world.dispose(first, Release())
        assert world.claimed() == ["second", "first"]

    def test_a_delayed_start_is_claimed_when_its_time_has_come(self, world: World) -> None:
        record = world.start(delay=SECOND)
        assert (record.state, record.wake_at) == (InvocationState.READY, world.clock.at + SECOND)
        world.clock.advance(SECOND - 1)
        assert world.claimed() == []
        world.clock.advance(1)
        (record,) = world.claim().records
        assert record.wake_at is None

    def test_who_is_ready_for_longest_is_first_whoever_ran_before(self, world: World) -> None:
        first = world.running("a")
        world.clock.advance(SECOND)
        second = world.running("b")
        world.clock.advance(SECOND)
        world.dispose(second, Release())
        world.clock.advance(SECOND)
        world.dispose(first, Release())
        assert world.claimed() == ["b", "a"]

    def test_who_is_resumed_first_is_first_whoever_stopped_before(self, world: World) -> None:
        keys = [world.start(id_).key for id_ in ("a", "b")]
        for record in world.claim().records:
            world.dispose(record, Stop(state=InvocationState.PARKED, reason="r"))
            world.clock.advance(SECOND)
        for key in reversed(keys):
            assert world.backend.resume(key)
            world.clock.advance(SECOND)
        assert world.claimed() == ["b", "a"]

    def test_a_clock_that_steps_back_holds_up_timers_but_nothing_that_is_ready(
        self, world: World
    ) -> None:
        world.start("ready")
        world.start("delayed", delay=SECOND)
        timer = world.clock.at + SECOND
        world.clock.advance(SECOND // 2)
        world.start("newer")
        world.clock.advance(-5 * SECOND)
        batch = world.claim(lease=9 * SECOND)
        assert [record.key.invocation_id for record in batch.records] == ["ready", "newer"]
        batch = world.claim()
        assert batch.records == ()
        assert batch.next_due == min(timer, world.clock.at + 9 * SECOND)

    def test_a_timer_is_claimed_when_it_is_due(self, world: World) -> None:
        record = world.running()
        due = world.clock.at + SECOND
        world.dispose(record, Suspend(wake_at=due))
        assert world.read(record.key).wake_at == due
        world.clock.advance(SECOND - 1)
        assert world.claimed() == []
        world.clock.advance(1)
        (again,) = world.claim().records
        assert (again.epoch, again.wake_at, again.crashes) == (2, None, 0)

    def test_waiting_without_a_timer_is_never_claimed(self, world: World) -> None:
        world.dispose(world.running(), Suspend())
        world.clock.advance(10**6 * SECOND)
        batch = world.claim()
        assert (batch.records, batch.next_due) == ((), None)

    @pytest.mark.parametrize("state", [InvocationState.PARKED, InvocationState.DEAD])
    def test_what_is_stopped_is_never_claimed(self, world: World, state: InvocationState) -> None:
        world.dispose(world.running(), Stop(state=state, reason="r"))
        world.clock.advance(10**6 * SECOND)
        assert world.claimed() == []
        assert world.claimed(dead_owners=frozenset({"worker-1", ""})) == []

    def test_what_has_ended_is_never_claimed(self, world: World) -> None:
        world.finish(world.running())
        world.clock.advance(10**6 * SECOND)
        assert world.claimed(dead_owners=frozenset({"worker-1", ""})) == []


class NextDueContract(ContractCase):
    """`next_due`: when to look again."""

    def test_nothing_to_wait_for(self, world: World) -> None:
        assert world.claim().next_due is None

    def test_the_clock_of_the_store_is_told_for_it_is_what_one_waits_by(self, world: World) -> None:
        world.start(delay=SECOND)
        assert world.claim() == ClaimBatch((), world.clock.at, world.clock.at + SECOND)
        world.clock.advance(SECOND)
        batch = world.claim()
        assert (len(batch.records), batch.now, batch.next_due) == (1, world.clock.at, None)

    def test_the_earliest_of_timers_delays_and_leases(self, world: World) -> None:
        now = world.clock.at
        world.start("leased")
        world.claim(lease=5 * SECOND)
        assert world.claim().next_due == now + 5 * SECOND
        world.start("delayed", delay=4 * SECOND)
        assert world.claim().next_due == now + 4 * SECOND
        timer = world.running("timer")
        world.dispose(timer, Suspend(wake_at=now + 3 * SECOND))
        assert world.claim().next_due == now + 3 * SECOND

    def test_the_leases_just_granted_count(self, world: World) -> None:
        world.start()
        world.claim(lease=SECOND)
        assert world.claim().next_due == world.clock.at + SECOND

    def test_it_is_not_looked_for_when_something_was_claimed(self, world: World) -> None:
        world.start("a", delay=SECOND)
        world.start("b")
        batch = world.claim()
        assert (len(batch.records), batch.next_due) == (1, None)
        assert world.claim().next_due == world.clock.at + SECOND

    def test_only_rows_that_match_the_request(self, world: World) -> None:
        world.start("a", delay=SECOND, name="other")
        world.start("b", delay=SECOND, app="app-2")
        key = world.start("c", delay=2 * SECOND).key
        world.start("d", delay=SECOND, priority=3)
        now = world.clock.at
        assert world.claim(roots=frozenset({key})).next_due == now + 2 * SECOND
        assert world.claim(roots=frozenset[InvocationKey]()).next_due is None
        assert world.claim().next_due == now + SECOND
        assert world.claim(names=frozenset[str]()).next_due is None

    def test_rows_that_are_ready_do_not_hide_it(self, world: World) -> None:
        world.start("a", priority=1)
        world.start("b")
        world.start("c", delay=SECOND)
        assert world.claim(limit=0, lease=LEASE).next_due == world.clock.at + SECOND


class LeaseContract(ContractCase):
    """Renewals, and the owners that are to be seen."""

    def test_a_claim_takes_no_more_than_its_limit_wherever_rows_lie(self, world: World) -> None:
        for number in range(8):
            world.start(f"i{number}")
        taken = [world.claimed(limit=limit) for limit in (2, 3, 9)]
        assert [len(ids) for ids in taken] == [2, 3, 3]
        assert sorted(id_ for ids in taken for id_ in ids) == [f"i{n}" for n in range(8)]

    def test_a_renewal_extends_from_now(self, world: World) -> None:
        record = world.running()
        world.clock.advance(LEASE // 2)
        held = world.holding(record)
        assert world.backend.renew("worker-1", [held], LEASE) == {held}
        after = world.read(record.key)
        assert after.lease_until == world.clock.at + LEASE
        assert (after.epoch, after.state) == (record.epoch, InvocationState.RUNNING)
        world.clock.advance(LEASE - 1)
        assert world.claimed() == []
        world.clock.advance(1)
        assert world.claimed() == ["a"]

    def test_only_what_is_held_is_returned_and_changed(self, world: World) -> None:
        for id_ in ("held", "lost", "ended", "waiting"):
            world.start(id_)
        held, lost, ended, waiting = world.claim().records
        world.clock.advance(LEASE - 1)
        world.backend.renew("worker-1", [world.holding(held)], LEASE)
        world.finish(ended)
        world.dispose(waiting, Suspend())
        world.clock.advance(1)
        (stolen,) = world.claim(owner="worker-2").records
        asked = [world.holding(record) for record in (held, lost, ended, waiting)]
        unknown = Holding(InvocationKey("unknown", 1), 1)
        world.clock.advance(1)
        kept = world.backend.renew("worker-1", [*asked, unknown], LEASE)
        assert kept == {world.holding(held)}
        assert world.read(stolen.key) == stolen

    def test_an_expired_lease_is_lost_even_if_nobody_took_it(self, world: World) -> None:
        record = world.running()
        world.clock.advance(LEASE - 1)
        held = world.holding(record)
        assert world.backend.renew("worker-1", [held], LEASE) == {held}
        before = world.read(record.key)
        world.clock.advance(LEASE)
        assert world.backend.renew("worker-1", [held], LEASE) == frozenset()
        assert world.read(record.key) == before
        assert world.claimed() == ["a"]

    def test_an_older_epoch_renews_nothing_though_the_owner_is_the_same(self, world: World) -> None:
        zombie = world.running()
        world.clock.advance(LEASE)
        (record,) = world.claim(owner=zombie.owner).records
        world.clock.advance(1)
        assert world.backend.renew(zombie.owner, [world.holding(zombie)], LEASE) == frozenset()
        assert world.read(record.key) == record

    def test_another_owner_renews_nothing(self, world: World) -> None:
        record = world.running()
        world.clock.advance(1)
        assert world.backend.renew("worker-2", [world.holding(record)], LEASE) == frozenset()
        assert world.read(record.key) == record

    def test_renewing_nothing(self, world: World) -> None:
        assert world.backend.renew("worker-1", [], LEASE) == frozenset()

    def test_owners_are_those_of_running_rows(self, world: World) -> None:
        assert world.backend.owners() == frozenset()
        world.start("a")
        (first,) = world.claim(owner="w1").records
        world.start("b")
        (second,) = world.claim(owner="w2").records
        world.start("c")
        assert world.backend.owners() == {"w1", "w2"}
        world.finish(first)
        world.dispose(second, Suspend())
        assert world.backend.owners() == frozenset()


class ResumeContract(ContractCase):
    """Parked and dead rows go on when a person says so; nothing else does."""

    @pytest.mark.parametrize("state", [InvocationState.PARKED, InvocationState.DEAD])
    def test_stopped_to_ready_with_a_clean_counter(
        self, world: World, state: InvocationState
    ) -> None:
        world.running()
        world.clock.advance(LEASE)
        (record,) = world.claim().records
        world.dispose(record, Stop(state=state, reason="three crashes"))
        stopped = world.read(record.key)
        assert (stopped.state, stopped.reason, stopped.crashes) == (state, "three crashes", 1)
        assert (stopped.owner, stopped.lease_until, stopped.outcome) == ("", None, None)
        assert world.backend.resume(record.key)
        again = world.read(record.key)
        assert (again.state, again.reason, again.crashes) == (InvocationState.READY, "", 0)
        assert again.epoch == record.epoch
        assert world.claimed() == ["a"]

    def test_any_other_state_is_left_alone(self, world: World) -> None:
        assert not world.backend.resume(InvocationKey("a", 1))
        ready = world.start()
        assert not world.backend.resume(ready.key)
        (running,) = world.claim().records
        assert not world.backend.resume(ready.key)
        world.dispose(running, RetryLater(delay=SECOND))
        before = world.read(ready.key)
        assert not world.backend.resume(ready.key)
        assert world.read(ready.key) == before
        world.clock.advance(SECOND)
        (running,) = world.claim().records
        world.finish(running)
        assert not world.backend.resume(ready.key)
