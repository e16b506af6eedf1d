"""Contract of `commit`: the fence, batches, children, data, and what becomes of the lease."""

from __future__ import annotations

import msgspec
import pytest

from perdure.backends.base import (
    Committed,
    Disposition,
    Finish,
    InvocationRecord,
    Refusal,
    Release,
    RetryLater,
    Stop,
    Suspend,
)
from perdure.core.entries import verify_chain
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import TERMINAL, InvocationState
from perdure.errors import InternalError
from perdure.testing.contract.case import ContractCase
from perdure.testing.contract.world import LEASE, SECOND, World, bodies_of

EMPTY_BODIES = [b"", b"null", b"0", b'""', b"[]", b"false"]
"""Results that a careless backend takes for nothing."""

_DISPOSITIONS: list[Disposition] = [
    Suspend(),
    Suspend(wake_at=0),
    Finish(state=InvocationState.FAILED, outcome=b"no"),
    RetryLater(delay=0),
    RetryLater(delay=SECOND),
    Release(),
    Stop(state=InvocationState.PARKED, reason="r"),
]


class CommitContract(ContractCase):
    """A commit is applied wholly when the fence holds, and otherwise leaves no trace."""

    def test_entries_move_the_head_and_keep_the_lease(self, world: World) -> None:
        record = world.running()
        asked = world.transition(record, b"1", b"2")
        world.clock.advance(SECOND)
        assert world.backend.commit([asked]) == [Committed(InvocationState.RUNNING, ())]
        after = world.read(record.key)
        changed = {"head": 2, "head_hash": asked.head_hash, "last_token": asked.token}
        assert after == msgspec.structs.replace(record, **changed)
        entries = world.backend.read_journal(record.key)
        assert tuple(entries) == asked.entries
        assert verify_chain(record.key, record.seed, entries, after.head) == after.head_hash

    def test_a_journal_grows_in_position_order(self, world: World) -> None:
        record = world.running()
        for number in range(20):
            record = world.step(record, b"%d" % number, b"x")
        entries = world.backend.read_journal(record.key)
        assert [entry.position for entry in entries] == list(range(40))
        assert verify_chain(record.key, record.seed, entries, 40) == record.head_hash

    @pytest.mark.parametrize("body", [*EMPTY_BODIES, b"\x00", b"x" * 10**6])
    def test_presence_is_a_row_whatever_its_body(self, world: World, body: bytes) -> None:
        record = world.step(world.running(), body)
        assert record.head == 1
        assert bodies_of(world.backend.read_journal(record.key)) == [body]

    def test_no_entries_is_a_commit_too(self, world: World) -> None:
        record = world.step(world.running(), b"1")
        asked = world.transition(record, head_hash=b"")
        world.backend.commit([asked])
        after = world.read(record.key)
        assert after == msgspec.structs.replace(record, last_token=asked.token)

    def test_a_journal_is_read_from_a_position_on(self, world: World) -> None:
        record = world.step(world.running(), *[b"%d" % number for number in range(5)])
        whole = world.backend.read_journal(record.key)
        for start in (0, 1, 4, 5, 2**31 - 1):
            assert world.backend.read_journal(record.key, start) == whole[start:]

    def test_a_journal_of_nothing_is_empty(self, world: World) -> None:
        assert world.backend.read_journal(InvocationKey("a", 1)) == []
        assert world.backend.read_journal(world.start().key) == []

    def test_journals_are_apart(self, world: World) -> None:
        one = world.running("one")
        two = world.running("two")
        world.commit(one, b"1")
        world.commit(two, b"2")
        assert bodies_of(world.backend.read_journal(one.key)) == [b"1"]
        assert bodies_of(world.backend.read_journal(two.key)) == [b"2"]
        world.finish(world.read(one.key), InvocationState.FAILED)
        again = world.backend.start(world.new("one"), "new_generation_if_failed").record
        assert world.backend.read_journal(again.key) == []
        assert bodies_of(world.backend.read_journal(one.key)) == [b"1"]

    def test_an_expired_lease_that_nobody_took_may_still_commit(self, world: World) -> None:
        record = world.running()
        world.clock.advance(2 * LEASE)
        assert world.step(record, b"1").head == 1

    def test_a_commit_of_nothing_at_all(self, world: World) -> None:
        assert world.backend.commit([]) == []

    def test_last_token_settles_an_unknown_outcome(self, world: World) -> None:
        record = world.running()
        asked = world.transition(record, b"1")
        world.backend.commit([asked])
        found = world.backend.read(*record.key, locked=True)
        assert found is not None
        assert (found.last_token, found.epoch, found.head) == (asked.token, record.epoch, 1)
        assert world.backend.commit([asked]) == [Refusal.WRONG_HEAD]
        assert world.read(record.key) == found


class FenceContract(ContractCase):
    """Authority is the epoch and the head. A refusal changes nothing at all."""

    def loaded(self, world: World, record: InvocationRecord, **changes: object) -> object:
        """The result of a commit with one of everything, and proof that it left no trace."""
        unread = world.backend.read_inbox(record.key)
        before = (
            world.backend.read(*record.key),
            world.backend.read_journal(record.key),
            unread,
            world.backend.read_data(record.key),
        )
        everything: dict[str, object] = {
            "children": (world.new("loaded-child"),),
            "watches": (InvocationKey("nobody", 1),),
            "consumed": tuple(row.row_id for row in unread),
            "data": (("loaded", b"1"),),
            "reset_crashes": True,
            "disposition": Suspend(),
        }
        result = world.try_commit(record, b"loaded", **(everything | changes))
        after = (
            world.backend.read(*record.key),
            world.backend.read_journal(record.key),
            world.backend.read_inbox(record.key),
            world.backend.read_data(record.key),
        )
        assert after == before
        assert world.backend.read("loaded-child") is None
        return result

    def test_an_older_epoch_is_stale(self, world: World) -> None:
        zombie = world.running()
        world.commit(zombie, watches=(InvocationKey("nobody", 1),))
        world.clock.advance(LEASE)
        world.claim()
        assert self.loaded(world, zombie) is Refusal.STALE

    def test_an_older_epoch_is_stale_though_the_owner_is_the_same(self, world: World) -> None:
        zombie = world.running()
        world.clock.advance(LEASE)
        (record,) = world.claim(owner=zombie.owner).records
        assert self.loaded(world, zombie) is Refusal.STALE
        assert world.step(record, b"1").head == 1

    def test_an_epoch_that_was_never_granted_is_stale(self, world: World) -> None:
        record = world.running()
        assert self.loaded(world, msgspec.structs.replace(record, epoch=2)) is Refusal.STALE
        assert self.loaded(world, msgspec.structs.replace(record, epoch=0)) is Refusal.STALE

    def test_what_is_not_there_is_stale(self, world: World) -> None:
        record = world.running()
        gone = msgspec.structs.replace(record, key=InvocationKey("gone", 1))
        assert self.loaded(world, gone) is Refusal.STALE
        later = msgspec.structs.replace(record, key=InvocationKey("a", 2))
        assert self.loaded(world, later) is Refusal.STALE

    def test_what_was_never_claimed_is_stale(self, world: World) -> None:
        assert self.loaded(world, world.start()) is Refusal.STALE

    @pytest.mark.parametrize("disposition", _DISPOSITIONS, ids=repr)
    def test_whoever_gave_the_lease_back_is_stale(
        self, world: World, disposition: Disposition
    ) -> None:
        record = world.running()
        world.dispose(record, disposition)
        assert self.loaded(world, record) is Refusal.STALE

    def test_the_wrong_head(self, world: World) -> None:
        first = world.running()
        second = world.step(first, b"1")
        assert self.loaded(world, first) is Refusal.WRONG_HEAD
        assert self.loaded(world, msgspec.structs.replace(second, head=2)) is Refusal.WRONG_HEAD

    def test_a_taken_child(self, world: World) -> None:
        record = world.running()
        taken = world.start("taken")
        children = (world.new("loaded-child"), world.new("taken", priority=1))
        assert self.loaded(world, record, children=children) is Refusal.CHILD_EXISTS
        assert world.read(taken.key) == taken

    def test_a_child_taken_by_an_ended_one(self, world: World) -> None:
        world.finish(world.running("taken"))
        record = world.running()
        children = (world.new("taken"),)
        assert self.loaded(world, record, children=children) is Refusal.CHILD_EXISTS

    def test_one_child_twice(self, world: World) -> None:
        children = (world.new("loaded-child"), world.new("loaded-child"))
        assert self.loaded(world, world.running(), children=children) is Refusal.CHILD_EXISTS

    def test_the_fence_goes_before_the_children(self, world: World) -> None:
        first = world.running()
        world.start("taken")
        children = (world.new("taken"),)
        world.step(first, b"1")
        assert self.loaded(world, first, children=children) is Refusal.WRONG_HEAD
        stale = msgspec.structs.replace(first, epoch=9)
        assert self.loaded(world, stale, children=children) is Refusal.STALE


class BatchContract(ContractCase):
    """One transaction, many workflows, each alone."""

    def test_results_come_in_order_and_a_refused_one_harms_nobody(self, world: World) -> None:
        for id_ in "abc":
            world.start(id_)
        a, b, c = world.claim().records
        stale = msgspec.structs.replace(b, epoch=7)
        results = world.backend.commit(
            [
                world.transition(a, b"a", children=(world.new("child"),)),
                world.transition(stale, b"stale"),
                world.transition(b, b"b", children=(world.new("child"),)),
                world.transition(c, b"c"),
                world.transition(c, b"again"),
            ]
        )
        running = InvocationState.RUNNING
        assert results == [
            Committed(running, (InvocationKey("child", 1),)),
            Refusal.STALE,
            Refusal.CHILD_EXISTS,
            Committed(running, ()),
            Refusal.WRONG_HEAD,
        ]
        journals = [bodies_of(world.backend.read_journal(each.key)) for each in (a, b, c)]
        assert journals == [[b"a"], [], [b"c"]]
        assert world.read(b.key) == b

    def test_later_ones_see_what_earlier_ones_did(self, world: World) -> None:
        record = world.running()
        first = world.transition(record, b"1")
        seen = msgspec.structs.replace(record, head=1, head_hash=first.head_hash)
        second = world.transition(seen, b"2", disposition=Suspend())
        running, waiting = InvocationState.RUNNING, InvocationState.WAITING
        results = world.backend.commit([first, second])
        assert results == [Committed(running, ()), Committed(waiting, ())]
        assert bodies_of(world.backend.read_journal(record.key)) == [b"1", b"2"]

    def test_a_bug_of_the_caller_stops_the_whole_batch(self, world: World) -> None:
        world.start("a")
        world.start("b")
        a, b = world.claim().records
        good = world.transition(a, b"1")
        running, ready = InvocationState.RUNNING, InvocationState.READY
        for bad in (
            world.transition(b, token=b"short"),
            world.transition(b, b"1", b"2", entries=world.transition(b, b"1", b"2").entries[1:]),
            world.transition(b, disposition=Finish(state=running, outcome=b"")),
            world.transition(b, disposition=Stop(state=ready, reason="")),
        ):
            with pytest.raises(InternalError):
                world.backend.commit([good, bad])
        assert (world.read(a.key), world.read(b.key)) == (a, b)


class DispositionContract(ContractCase):
    """What becomes of the lease, in the transaction of the entries."""

    def test_children_are_inserted_with_the_entry(self, world: World) -> None:
        record = world.running()
        task = world.new("task", kind="task", parent=record.key, root=record.root)
        children = (task, world.new("later", delay=SECOND), world.new("top"))
        touched = world.commit(record, b"1", children=children).touched
        assert touched == (InvocationKey("task", 1), InvocationKey("top", 1))
        child = world.read(InvocationKey("task", 1))
        assert (child.parent, child.root, child.state) == (record.key, record.key, "ready")
        assert world.read(InvocationKey("top", 1)).root == InvocationKey("top", 1)
        assert world.claimed() == ["task", "top"]

    @pytest.mark.parametrize("state", sorted(TERMINAL))
    @pytest.mark.parametrize("outcome", [b"null", b"", b"0"])
    def test_finish(self, world: World, state: InvocationState, outcome: bytes) -> None:
        record = world.running()
        world.clock.advance(SECOND)
        asked = world.transition(record, b"1", disposition=Finish(state=state, outcome=outcome))
        assert world.backend.commit([asked]) == [Committed(state, ())]
        assert world.read(record.key) == msgspec.structs.replace(
            record,
            state=state,
            outcome=outcome,
            finished_at=world.clock.at,
            owner="",
            lease_until=None,
            head=1,
            head_hash=asked.head_hash,
            last_token=asked.token,
        )

    def test_what_has_ended_never_changes(self, world: World) -> None:
        record = world.running()
        world.finish(record, outcome=b"1")
        ended = world.read(record.key)
        world.clock.advance(10 * LEASE)
        world.claim(dead_owners=frozenset({record.owner, ""}))
        world.backend.renew(record.owner, [world.holding(record)], LEASE)
        world.backend.resume(record.key)
        world.try_commit(record, b"1")
        world.try_commit(ended, b"1")
        world.commit(world.running("b"), watches=(record.key,))
        assert world.read(record.key) == ended
        assert world.backend.read_journal(record.key) == []

    def test_release(self, world: World) -> None:
        record = world.running()
        result = world.dispose(record, Release())
        assert result == Committed(InvocationState.READY, (record.key,))
        after = world.read(record.key)
        assert (after.owner, after.lease_until, after.epoch) == ("", None, 1)
        assert (after.crashes, after.attempts) == (0, 0)

    def test_retry_later_waits_and_counts(self, world: World) -> None:
        record = world.running()
        result = world.dispose(record, RetryLater(delay=SECOND))
        assert result == Committed(InvocationState.WAITING, ())
        after = world.read(record.key)
        assert (after.attempts, after.wake_at) == (1, world.clock.at + SECOND)
        assert world.claimed() == []
        world.clock.advance(SECOND)
        (again,) = world.claim().records
        assert (again.attempts, again.crashes, again.epoch) == (1, 0, 2)

    def test_retry_at_once(self, world: World) -> None:
        record = world.running()
        result = world.dispose(record, RetryLater(delay=0))
        assert result == Committed(InvocationState.READY, (record.key,))
        assert world.read(record.key).attempts == 1
        assert world.claimed() == ["a"]

    def test_stop_tells_nobody(self, world: World) -> None:
        watcher = world.running("watcher")
        target = world.running("target")
        world.commit(watcher, watches=(target.key,), disposition=Suspend())
        result = world.dispose(target, Stop(state=InvocationState.DEAD, reason="why"))
        assert result == Committed(InvocationState.DEAD, ())
        assert world.sources(watcher.key) == []
        assert world.read(watcher.key).state is InvocationState.WAITING

    def test_a_new_claim_sees_all_that_was_committed(self, world: World) -> None:
        record = world.step(world.running(), b"1")
        world.dispose(record, Release())
        (again,) = world.claim().records
        assert (again.head, again.head_hash) == (record.head, record.head_hash)
        assert world.step(again, b"2").head == 2


class DataContract(ContractCase):
    """Workflow data is part of the transaction."""

    def test_data_is_set_and_replaced(self, world: World) -> None:
        record = world.running()
        assert world.backend.read_data(record.key) == {}
        world.commit(record, data=(("b", b"1"), ("a", b"null"), ("", b"")))
        world.commit(record, data=(("a", b"2"),))
        assert world.backend.read_data(record.key) == {"a": b"2", "b": b"1", "": b""}
        assert world.backend.read_data(InvocationKey("other", 1)) == {}

    def test_the_newest_of_one_name_in_one_commit_counts(self, world: World) -> None:
        record = world.running()
        world.commit(record, data=(("a", b"1"), ("a", b"2")))
        assert world.backend.read_data(record.key) == {"a": b"2"}

    def test_data_outlives_the_end(self, world: World) -> None:
        record = world.running()
        disposition = Finish(state=InvocationState.COMPLETED, outcome=b"1")
        world.commit(record, data=(("a", b"1"),), disposition=disposition)
        assert world.backend.read_data(record.key) == {"a": b"1"}
