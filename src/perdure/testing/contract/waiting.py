"""Contract of watches, inboxes and `Suspend`: no wake-up is lost, whatever comes first."""

from __future__ import annotations

import pytest

from perdure.backends.base import Committed, Finish, InvocationRecord, Release, Stop, Suspend
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import TERMINAL, InvocationState
from perdure.testing.contract.case import ContractCase
from perdure.testing.contract.world import LEASE, SECOND, World

_READY, _RUNNING, _WAITING = (
    InvocationState.READY,
    InvocationState.RUNNING,
    InvocationState.WAITING,
)
_NOBODY = InvocationKey("nobody", 1)


def pair(world: World) -> tuple[InvocationRecord, InvocationRecord]:
    """A workflow that will watch, and one that will be watched; both running."""
    return world.running("watcher"), world.running("target")


class WatchContract(ContractCase):
    """The end of a watched invocation puts one inbox row per watch, in the same transaction."""

    @pytest.mark.parametrize("state", sorted(TERMINAL))
    def test_an_end_is_told_and_wakes(self, world: World, state: InvocationState) -> None:
        watcher, target = pair(world)
        world.commit(watcher, b"1", watches=(target.key,), disposition=Suspend())
        assert world.read(watcher.key).state is _WAITING
        assert world.sources(watcher.key) == []
        result = world.finish(target, state)
        assert result == Committed(state, (watcher.key,))
        (row,) = world.backend.read_inbox(watcher.key)
        assert (row.kind, row.source) == ("done", target.key)
        assert world.read(watcher.key).state is _READY
        assert world.claimed() == ["watcher"]

    def test_a_running_watcher_gets_the_row_and_goes_on(self, world: World) -> None:
        watcher, target = pair(world)
        world.commit(watcher, watches=(target.key,))
        before = world.read(watcher.key)
        assert world.finish(target).touched == (watcher.key,)
        assert world.sources(watcher.key) == [target.key]
        assert world.read(watcher.key) == before

    def test_a_stopped_watcher_gets_the_row_and_stays_stopped(self, world: World) -> None:
        watcher, target = pair(world)
        stop = Stop(state=InvocationState.PARKED, reason="r")
        world.commit(watcher, watches=(target.key,), disposition=stop)
        world.finish(target)
        assert world.sources(watcher.key) == [target.key]
        assert world.read(watcher.key).state is InvocationState.PARKED

    def test_what_has_ended_already_is_told_at_once(self, world: World) -> None:
        watcher, target = pair(world)
        world.finish(target)
        result = world.commit(watcher, watches=(target.key,))
        assert result == Committed(_RUNNING, (watcher.key,))
        assert world.sources(watcher.key) == [target.key]

    def test_what_is_not_there_is_told_at_once(self, world: World) -> None:
        watcher, target = pair(world)
        later = InvocationKey("target", target.key.generation + 1)
        result = world.commit(watcher, watches=(_NOBODY, later), disposition=Suspend())
        assert result == Committed(_READY, (watcher.key,))
        assert world.sources(watcher.key) == [_NOBODY, later]

    def test_a_child_started_by_the_same_commit_can_be_watched(self, world: World) -> None:
        parent = world.running("parent")
        child = world.new("child", parent=parent.key, root=parent.root)
        key = InvocationKey("child", 1)
        result = world.commit(parent, children=(child,), watches=(key,), disposition=Suspend())
        assert result == Committed(_WAITING, (key,))
        (running,) = world.claim().records
        assert world.finish(running).touched == (parent.key,)
        assert world.sources(parent.key) == [key]

    def test_one_row_for_each_watch_in_the_order_they_were_asked(self, world: World) -> None:
        target = world.running("target")
        watchers = [world.running(f"w{number}") for number in range(3)]
        for watcher in reversed(watchers):
            world.commit(watcher, watches=(target.key, target.key), disposition=Suspend())
        expected = tuple(watcher.key for watcher in reversed(watchers))
        assert world.finish(target).touched == expected
        for watcher in watchers:
            assert world.sources(watcher.key) == [target.key, target.key]
        assert world.claimed() == ["w0", "w1", "w2"]

    def test_rows_are_read_in_the_order_of_the_ends(self, world: World) -> None:
        watcher = world.running("watcher")
        targets = [world.running(f"t{number}") for number in range(5)]
        world.commit(watcher, watches=tuple(target.key for target in targets))
        order = [targets[place] for place in (3, 0, 4, 1, 2)]
        for target in order:
            world.finish(target)
        assert world.sources(watcher.key) == [target.key for target in order]
        ids = [row.row_id for row in world.backend.read_inbox(watcher.key)]
        assert ids == sorted(set(ids))

    def test_an_end_is_told_once(self, world: World) -> None:
        watcher, target = pair(world)
        world.commit(watcher, watches=(target.key,))
        world.finish(target)
        (row,) = world.backend.read_inbox(watcher.key)
        world.commit(world.read(watcher.key), b"1", consumed=(row.row_id,))
        assert world.backend.read_inbox(watcher.key) == []
        world.dispose(world.read(watcher.key), Suspend())
        assert world.read(watcher.key).state is _WAITING

    def test_a_watch_outlives_the_attempt_that_asked(self, world: World) -> None:
        watcher, target = pair(world)
        world.commit(watcher, watches=(target.key,))
        world.clock.advance(LEASE - 1)
        world.backend.renew("worker-1", [world.holding(target)], LEASE)
        world.clock.advance(1)
        (again,) = world.claim().records
        world.dispose(again, Suspend())
        world.finish(target)
        assert world.sources(watcher.key) == [target.key]

    def test_a_watcher_that_has_ended_is_left_alone(self, world: World) -> None:
        watcher, target = pair(world)
        finish = Finish(state=InvocationState.COMPLETED, outcome=b"1")
        world.commit(watcher, watches=(target.key, _NOBODY), disposition=finish)
        ended = world.read(watcher.key)
        assert world.finish(target) == Committed(InvocationState.COMPLETED, ())
        assert world.read(watcher.key) == ended
        assert world.backend.read_inbox(watcher.key) == []

    def test_only_this_generation_is_watched(self, world: World) -> None:
        watcher, target = pair(world)
        world.finish(target, InvocationState.FAILED)
        second = world.backend.start(world.new("target"), "new_generation_if_failed").record
        world.commit(watcher, watches=(second.key,), disposition=Suspend())
        assert world.sources(watcher.key) == []
        (running,) = world.claim().records
        world.finish(running)
        assert world.sources(watcher.key) == [second.key]


class InboxContract(ContractCase):
    """Rows stay until an entry that delivers them is committed."""

    def test_an_empty_inbox(self, world: World) -> None:
        assert world.backend.read_inbox(_NOBODY) == []
        assert world.backend.read_inbox(world.start().key) == []

    def test_only_the_named_rows_are_consumed(self, world: World) -> None:
        record = world.running()
        keys = tuple(InvocationKey(f"gone-{number}", 1) for number in range(3))
        world.commit(record, watches=keys)
        first, _, third = world.backend.read_inbox(record.key)
        world.commit(record, b"1", consumed=(first.row_id, third.row_id))
        assert world.sources(record.key) == [keys[1]]

    def test_rows_of_others_and_rows_that_are_gone_are_not_consumed(self, world: World) -> None:
        one, two = world.running("one"), world.running("two")
        world.commit(one, watches=(_NOBODY,))
        (row,) = world.backend.read_inbox(one.key)
        world.commit(two, consumed=(row.row_id, row.row_id + 1_000))
        assert world.sources(one.key) == [_NOBODY]

    def test_a_row_id_is_never_used_again(self, world: World) -> None:
        record = world.running()
        seen: set[int] = set()
        for _ in range(3):
            world.commit(record, watches=(_NOBODY,))
            (row,) = world.backend.read_inbox(record.key)
            assert row.row_id not in seen
            seen.add(row.row_id)
            world.commit(record, consumed=(row.row_id,))

    def test_unread_rows_outlive_a_crash(self, world: World) -> None:
        record = world.running()
        world.commit(record, watches=(_NOBODY,))
        world.clock.advance(LEASE)
        (again,) = world.claim().records
        assert world.sources(again.key) == [_NOBODY]


class SuspendContract(ContractCase):
    """Waiting is decided in the transaction that suspends."""

    def test_something_unread_makes_it_ready_at_once(self, world: World) -> None:
        watcher, target = pair(world)
        world.commit(watcher, watches=(target.key,))
        world.finish(target)
        wake_at = world.clock.at + SECOND
        result = world.dispose(watcher, Suspend(wake_at=wake_at))
        assert result == Committed(_READY, (watcher.key,))
        after = world.read(watcher.key)
        assert (after.state, after.wake_at, after.owner) == (_READY, None, "")
        assert world.claimed() == ["watcher"]

    def test_what_this_commit_consumed_does_not_count_as_unread(self, world: World) -> None:
        record = world.running()
        world.commit(record, watches=(_NOBODY,))
        (row,) = world.backend.read_inbox(record.key)
        result = world.commit(record, b"1", consumed=(row.row_id,), disposition=Suspend())
        assert result == Committed(_WAITING, ())

    @pytest.mark.parametrize("late", [0, 1, SECOND])
    def test_a_time_that_has_come_makes_it_ready_at_once(self, world: World, late: int) -> None:
        record = world.running()
        result = world.dispose(record, Suspend(wake_at=world.clock.at - late))
        assert result == Committed(_READY, (record.key,))
        assert world.read(record.key).wake_at is None
        assert world.claimed() == ["a"]

    def test_it_waits_without_lease_and_owner(self, world: World) -> None:
        record = world.running()
        wake_at = world.clock.at + 1
        result = world.dispose(record, Suspend(wake_at=wake_at))
        assert result == Committed(_WAITING, ())
        after = world.read(record.key)
        assert (after.state, after.wake_at) == (_WAITING, wake_at)
        assert (after.owner, after.lease_until, after.epoch) == ("", None, 1)

    def test_an_inbox_row_wakes_before_the_timer_and_clears_it(self, world: World) -> None:
        watcher, target = pair(world)
        suspend = Suspend(wake_at=world.clock.at + 9 * SECOND)
        world.commit(watcher, watches=(target.key,), disposition=suspend)
        world.finish(target)
        after = world.read(watcher.key)
        assert (after.state, after.wake_at) == (_READY, None)

    def test_a_due_timer_and_a_row_are_one_claim(self, world: World) -> None:
        watcher, target = pair(world)
        suspend = Suspend(wake_at=world.clock.at + SECOND)
        world.commit(watcher, watches=(target.key,), disposition=suspend)
        world.clock.advance(SECOND)
        (again,) = world.claim().records
        assert again.key == watcher.key
        world.finish(target)
        assert world.read(watcher.key) == again
        assert world.dispose(again, Suspend()).state is _READY

    def test_released_with_something_unread_is_ready(self, world: World) -> None:
        watcher, target = pair(world)
        world.commit(watcher, watches=(target.key,), disposition=Release())
        world.finish(target)
        assert world.claimed() == ["watcher"]
        assert world.sources(watcher.key) == [target.key]
