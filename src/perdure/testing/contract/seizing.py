"""Contract of `Backend.seize`: taken from whoever has it, whatever its state, and never an end."""

from __future__ import annotations

import pytest

from perdure.backends.base import Disposition, Finish, Refusal, Release, Stop, Suspend
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import TERMINAL, InvocationState
from perdure.testing.contract.case import ContractCase
from perdure.testing.contract.world import LEASE, SECOND, World

_DISPOSITIONS: dict[str, Disposition | None] = {
    "ready": Release(),
    "waiting": Suspend(),
    "with a timer": Suspend(wake_at=2_000_000_000 * SECOND),
    "paused": Stop(state=InvocationState.PAUSED, reason=""),
    "parked": Stop(state=InvocationState.PARKED, reason="r"),
    "dead": Stop(state=InvocationState.DEAD, reason="r"),
    "running": None,
}


class SeizeContract(ContractCase):
    """One live row is taken; the rest of the world sees a claim that is no crash."""

    @pytest.mark.parametrize("state", _DISPOSITIONS)
    def test_any_live_state(self, world: World, state: str) -> None:
        record = world.running()
        world.commit(record, b"1", disposition=_DISPOSITIONS[state])
        before = world.read(record.key)
        seized = world.backend.seize(record.key, "control", LEASE)
        assert seized is not None
        assert seized == world.read(record.key)
        assert (seized.state, seized.epoch) == (InvocationState.RUNNING, before.epoch + 1)
        assert (seized.owner, seized.lease_until) == ("control", world.clock() + LEASE)
        assert (seized.wake_at, seized.reason) == (None, "")
        assert (seized.head, seized.head_hash) == (before.head, before.head_hash)
        assert (seized.crashes, seized.attempts) == (before.crashes, before.attempts)
        assert world.claimed() == []

    def test_before_anybody_began(self, world: World) -> None:
        record = world.start(delay=SECOND)
        seized = world.backend.seize(record.key, "control", LEASE)
        assert seized is not None
        assert (seized.epoch, seized.base_time) == (1, world.clock())

    def test_the_holder_is_fenced_out(self, world: World) -> None:
        record = world.running()
        seized = world.backend.seize(record.key, "control", LEASE)
        assert seized is not None
        assert world.try_commit(record, b"1") is Refusal.STALE
        assert world.backend.renew("worker-1", [world.holding(record)], LEASE) == frozenset()
        world.commit(seized, disposition=Finish(InvocationState.TERMINATED, b"null"))
        assert world.read(record.key).state is InvocationState.TERMINATED

    def test_another_epoch(self, world: World) -> None:
        record = world.running()
        assert world.backend.seize(record.key, "control", LEASE, record.epoch - 1) is None
        assert world.read(record.key) == record
        assert world.backend.seize(record.key, "control", LEASE, record.epoch) is not None

    @pytest.mark.parametrize("state", sorted(TERMINAL))
    def test_an_end_is_final(self, world: World, state: InvocationState) -> None:
        record = world.running()
        world.finish(record, state)
        before = world.read(record.key)
        assert world.backend.seize(record.key, "control", LEASE) is None
        assert world.read(record.key) == before

    def test_nobody(self, world: World) -> None:
        assert world.backend.seize(InvocationKey("nobody", 1), "control", LEASE) is None

    def test_the_lease_runs_out(self, world: World) -> None:
        record = world.running()
        world.backend.seize(record.key, "control", LEASE)
        world.clock.advance(LEASE)
        (again,) = world.claim().records
        assert again.epoch == record.epoch + 2

    def test_a_paused_one_is_not_claimed_until_it_is_resumed(self, world: World) -> None:
        record = world.running()
        world.dispose(record, Stop(state=InvocationState.PAUSED, reason=""))
        assert world.claim().records == ()
        assert world.backend.resume(record.key)
        assert world.claimed() == ["a"]
