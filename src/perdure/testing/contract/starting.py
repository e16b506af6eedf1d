"""Contract of `start`, `read`, `store_id`, `now` and `close`."""

from __future__ import annotations

import msgspec
import pytest

from perdure.backends.base import OnExisting, Refusal, Release
from perdure.backends.limits import QueueLimits
from perdure.core.draws import ALGORITHM, derive_seed
from perdure.core.identity import ID_LENGTH_MAX, InvocationKey
from perdure.core.lifecycle import InvocationState
from perdure.errors import InternalError
from perdure.testing.contract.case import ContractCase
from perdure.testing.contract.world import APP, LEASE, NAME, SECOND, World

_ENDS_BADLY = [InvocationState.FAILED, InvocationState.CANCELLED, InvocationState.TERMINATED]


class StartContract(ContractCase):
    """An id is started once; generations; seeds; what a fresh row holds."""

    def test_store_id_is_16_bytes_and_stays(self, world: World) -> None:
        store_id = world.backend.store_id()
        assert len(store_id) == 16
        world.start()
        assert world.backend.store_id() == store_id

    def test_now_is_the_clock(self, world: World) -> None:
        world.clock.advance(7)
        assert world.backend.now() == world.clock.at

    def test_a_fresh_row_is_ready_with_all_that_the_start_brought(self, world: World) -> None:
        parent = InvocationKey("p", 1)
        new = world.new(
            kind="task",
            arguments=b'{"a":[1,2]}',
            fingerprint=b"f" * 16,
            call_id="c",
            parent=parent,
            root=InvocationKey("r", 2),
            workflow=parent,
            queue="gpu",
            limit_key="card 1",
            priority=-3,
            options=b'{"timeout":1}',
            code_version="v7",
        )
        record = world.backend.start(new, "return").record
        assert record == world.backend.read("a")
        seed = derive_seed(world.backend.store_id(), APP, NAME, "a", 1)
        assert msgspec.structs.asdict(record) == {
            "key": InvocationKey("a", 1),
            "app": APP,
            "kind": "task",
            "name": NAME,
            "arguments": b'{"a":[1,2]}',
            "fingerprint": b"f" * 16,
            "call_id": "c",
            "parent": parent,
            "root": InvocationKey("r", 2),
            "workflow": parent,
            "queue": "gpu",
            "limit_key": "card 1",
            "priority": -3,
            "options": b'{"timeout":1}',
            "code_version": "v7",
            "seed": seed,
            "draw_algorithm": ALGORITHM,
            "segment": 0,
            "state": InvocationState.READY,
            "epoch": 0,
            "owner": "",
            "lease_until": None,
            "wake_at": None,
            "head": 0,
            "head_hash": b"",
            "last_token": b"",
            "attempts": 0,
            "crashes": 0,
            "base_time": None,
            "created_at": world.clock.at,
            "finished_at": None,
            "outcome": None,
            "reason": "",
        }

    def test_a_top_level_workflow_is_its_own_root_and_workflow(self, world: World) -> None:
        record = world.start()
        assert record.parent is None
        assert record.root == record.workflow == record.key

    def test_a_top_level_task_has_no_workflow(self, world: World) -> None:
        assert world.start(kind="task").workflow is None

    @pytest.mark.parametrize("on_existing", ["return", "raise", "new_generation_if_failed"])
    def test_a_second_start_returns_the_first_row_untouched(
        self, world: World, on_existing: OnExisting
    ) -> None:
        first = world.start()
        world.clock.advance(SECOND)
        other = world.new(arguments=b'["other"]', priority=9)
        again = world.backend.start(other, on_existing)
        assert again == (first, False)
        assert world.backend.read("a") == first

    @pytest.mark.parametrize("state", _ENDS_BADLY)
    def test_a_failed_id_gets_a_new_generation_when_asked(
        self, world: World, state: InvocationState
    ) -> None:
        first = world.running()
        world.finish(first, state, b'"why"')
        world.clock.advance(SECOND)
        assert not world.backend.start(world.new(), "return").created
        second = world.backend.start(world.new(), "new_generation_if_failed")
        assert second.created
        assert second.record.key == InvocationKey("a", 2)
        assert second.record.root == second.record.key
        assert second.record.seed != first.seed
        assert second.record.seed == derive_seed(world.backend.store_id(), APP, NAME, "a", 2)
        assert world.read(first.key).outcome == b'"why"'
        assert world.backend.read("a") == second.record

    def test_a_completed_id_gets_no_new_generation(self, world: World) -> None:
        world.finish(world.running())
        assert not world.backend.start(world.new(), "new_generation_if_failed").created

    def test_a_live_second_generation_gets_no_third(self, world: World) -> None:
        world.finish(world.running(), InvocationState.FAILED)
        world.backend.start(world.new(), "new_generation_if_failed")
        third = world.backend.start(world.new(), "new_generation_if_failed")
        assert (third.record.key.generation, third.created) == (2, False)

    def test_a_start_may_claim_what_it_creates(self, world: World) -> None:
        """It leaves the row as a start and a claim at the same instant do."""
        world.start("b", priority=4)
        (claimed,) = world.claim().records
        claim = world.claim_at_start()
        started = world.backend.start(world.new(priority=4), "return", claim)
        assert started.created
        assert started.record == world.read(InvocationKey("a", 1))
        own = {"key": started.record.key, "root": started.record.key, "seed": started.record.seed}
        own |= {"workflow": started.record.key, "last_token": claim.token}
        assert started.record == msgspec.structs.replace(claimed, **own)
        assert world.claimed() == []

    def test_a_row_that_exists_is_not_claimed_by_a_start(self, world: World) -> None:
        ready = world.start()
        again = world.backend.start(world.new(), "return", world.claim_at_start())
        assert (again.record, again.created) == (ready, False)
        assert world.backend.read("a") == ready
        (running,) = world.claim().records
        claim = world.claim_at_start(owner="worker-2")
        for on_existing in ("return", "raise", "new_generation_if_failed"):
            again = world.backend.start(world.new(), on_existing, claim)
            assert (again.record, again.created) == (running, False)

    def test_the_token_tells_whose_start_claimed_it(self, world: World) -> None:
        """After an unknown outcome the same start is called again and finds its own token."""
        claim = world.claim_at_start()
        first = world.backend.start(world.new(), "return", claim)
        again = world.backend.start(world.new(), "return", claim)
        assert (again.record, again.created) == (first.record, False)
        assert again.record.last_token == claim.token
        other = world.backend.start(world.new(), "return", world.claim_at_start())
        assert other.record.last_token == claim.token

    def test_a_new_generation_may_be_claimed_by_its_start(self, world: World) -> None:
        world.finish(world.running(), InvocationState.FAILED)
        claim = world.claim_at_start()
        second = world.backend.start(world.new(), "new_generation_if_failed", claim)
        assert second.created
        assert second.record.key == InvocationKey("a", 2)
        assert (second.record.state, second.record.epoch) == (InvocationState.RUNNING, 1)

    def test_a_lease_of_a_start_is_a_lease(self, world: World) -> None:
        record = world.backend.start(world.new(), "return", world.claim_at_start()).record
        held = world.holding(record)
        world.clock.advance(LEASE // 2)
        assert world.backend.owners() == {"worker-1"}
        assert world.backend.renew("worker-1", [held], LEASE) == {held}
        world.clock.advance(LEASE)
        assert world.backend.renew("worker-1", [held], LEASE) == frozenset()
        (taken,) = world.claim(owner="worker-2").records
        assert (taken.epoch, taken.crashes, taken.base_time) == (2, 1, record.base_time)
        assert world.try_commit(record, b"1") is Refusal.STALE
        world.finish(taken)

    def test_what_a_start_claimed_is_committed_to_and_counted(self, world: World) -> None:
        limits = {"gpu": QueueLimits(concurrency=1)}
        claim = world.claim_at_start()
        record = world.backend.start(world.new(queue="gpu"), "return", claim).record
        world.start("b", queue="gpu")
        assert world.claimed(limits=limits) == []
        record = world.step(record, b"1", b"2")
        assert (record.head, record.crashes) == (2, 0)
        world.clock.advance(SECOND)
        world.dispose(record, Release())
        assert world.claimed(limits=limits, limit=1) == ["b"]

    @pytest.mark.parametrize(("new", "claim"), [({"delay": SECOND}, {}), ({}, {"token": b"short"})])
    def test_a_claim_of_what_is_delayed_is_a_bug(
        self, world: World, new: dict[str, object], claim: dict[str, object]
    ) -> None:
        with pytest.raises(InternalError):
            world.backend.start(world.new("a", **new), "return", world.claim_at_start(**claim))
        assert world.backend.read("a") is None

    def test_what_is_not_there_reads_as_none(self, world: World) -> None:
        assert world.backend.read("a") is None
        world.start()
        assert world.backend.read("a", 2) is None
        assert world.backend.read("b", 1) is None

    def test_a_locked_read_sees_what_was_committed(self, world: World) -> None:
        record = world.step(world.running(), b"1")
        assert world.backend.read("a", locked=True) == record
        assert world.backend.read("a", 1, locked=True) == record
        assert world.backend.read("b", locked=True) is None

    def test_ids_are_exact(self, world: World) -> None:
        longest = "é" * ID_LENGTH_MAX
        for id_ in ("a", "A", "á", " a", "a%", longest):
            world.start(id_)
        for id_ in ("a", "A", "á", " a", "a%", longest):
            record = world.backend.read(id_)
            assert record is not None
            assert record.key.invocation_id == id_
        assert world.backend.read("a_") is None

    def test_large_and_empty_payloads_come_back(self, world: World) -> None:
        large = bytes(range(256)) * 8192
        assert world.start("a", arguments=large, options=b"").arguments == large
        record = world.backend.read("a")
        assert record is not None
        assert (record.arguments, record.options) == (large, b"")

    def test_close_twice_is_harmless(self, world: World) -> None:
        world.start()
        world.backend.close()
        world.backend.close()

    def test_close_without_any_use_is_harmless(self, world: World) -> None:
        world.backend.close()
