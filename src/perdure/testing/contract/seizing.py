"""Contract of `Backend.seize`: one live row is taken from whoever has it, and settled at once."""

from __future__ import annotations

import pytest

from perdure.backends.base import (
    CommitResult,
    Committed,
    Disposition,
    Finish,
    InvocationRecord,
    Refusal,
    Release,
    Stop,
    Suspend,
)
from perdure.backends.letters import Letter
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import TERMINAL, InvocationState
from perdure.errors import InternalError
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
_END = Finish(state=InvocationState.TERMINATED, outcome=b"the end")
_STOP = Stop(state=InvocationState.PARKED, reason="why")


def seize(
    world: World,
    record: InvocationRecord,
    disposition: Finish | Stop = _END,
    token: bytes | None = None,
) -> CommitResult:
    """Seize it as it stands in `record`."""
    return world.backend.seize(record.key, record.epoch, token or world.token(), disposition)


class SeizeContract(ContractCase):
    """One live row is ended or stopped from outside; nobody sees it taken and not settled."""

    @pytest.mark.parametrize("disposition", [_END, _STOP], ids=["end", "stop"])
    @pytest.mark.parametrize("state", _DISPOSITIONS)
    def test_any_live_state(self, world: World, state: str, disposition: Finish | Stop) -> None:
        record = world.running()
        world.commit(record, b"1", disposition=_DISPOSITIONS[state])
        before, token = world.read(record.key), world.token()
        world.clock.advance(SECOND)
        assert seize(world, before, disposition, token) == Committed(disposition.state, ())
        after = world.read(record.key)
        assert (after.state, after.epoch) == (disposition.state, before.epoch + 1)
        assert (after.owner, after.lease_until, after.wake_at) == ("", None, None)
        assert (after.head, after.head_hash) == (before.head, before.head_hash)
        assert (after.crashes, after.attempts) == (before.crashes, before.attempts)
        assert after.last_token == token
        is_end = disposition is _END
        assert (after.outcome, after.reason) == ((b"the end", "") if is_end else (None, "why"))
        assert after.finished_at == (world.clock() if is_end else None)
        world.clock.advance(LEASE)
        assert world.claimed() == []

    def test_before_anybody_began(self, world: World) -> None:
        record = world.start(delay=SECOND)
        seize(world, record)
        world.clock.advance(LEASE)
        assert world.claimed() == []
        assert world.read(record.key).base_time is None

    def test_the_holder_is_fenced_out(self, world: World) -> None:
        record = world.running()
        seize(world, record, _STOP)
        assert world.try_commit(record, b"1") is Refusal.STALE
        assert world.backend.renew("worker-1", [world.holding(record)], LEASE) == frozenset()
        assert world.backend.resume(record.key)
        (again,) = world.claim().records
        assert again.epoch == record.epoch + 2
        assert world.try_commit(record, b"1") is Refusal.STALE

    def test_watchers_are_told(self, world: World) -> None:
        target, waiting, busy = world.running("t"), world.running("w"), world.running("b")
        world.commit(waiting, watches=(target.key,), disposition=Suspend())
        world.commit(busy, watches=(target.key,))
        result = seize(world, target)
        assert result == Committed(InvocationState.TERMINATED, (waiting.key, busy.key))
        assert world.read(waiting.key).state is InvocationState.READY
        assert world.read(busy.key).state is InvocationState.RUNNING
        assert world.sources(waiting.key) == world.sources(busy.key) == [target.key]

    def test_a_stop_keeps_watchers_and_what_is_unread(self, world: World) -> None:
        target, watcher = world.running("t"), world.running("w")
        world.commit(watcher, watches=(target.key,), disposition=Suspend())
        world.backend.send(target.key, Letter(kind="message", name="m", letter_id="1", body=b"1"))
        seize(world, target, _STOP)
        assert len(world.backend.read_inbox(target.key)) == 1
        assert world.read(watcher.key).state is InvocationState.WAITING
        seize(world, world.read(target.key))
        assert world.backend.read_inbox(target.key) == []
        assert world.sources(watcher.key) == [target.key]

    @pytest.mark.parametrize("epoch", [0, 2])
    def test_another_epoch(self, world: World, epoch: int) -> None:
        record = world.running()
        token = world.token()
        assert world.backend.seize(record.key, epoch, token, _END) is Refusal.STALE
        assert world.read(record.key) == record

    def test_again_after_an_unknown_outcome(self, world: World) -> None:
        record, token = world.running(), world.token()
        seize(world, record, _STOP, token)
        after = world.read(record.key)
        assert seize(world, record, _STOP, token) is Refusal.STALE
        assert world.read(record.key) == after
        assert after.last_token == token

    @pytest.mark.parametrize("state", sorted(TERMINAL))
    def test_an_end_is_final(self, world: World, state: InvocationState) -> None:
        record = world.running()
        world.finish(record, state)
        before = world.read(record.key)
        assert seize(world, before) is Refusal.STALE
        assert world.read(record.key) == before

    def test_nobody(self, world: World) -> None:
        nobody = InvocationKey("nobody", 1)
        assert world.backend.seize(nobody, 0, world.token(), _END) is Refusal.STALE

    def test_what_only_a_bug_asks(self, world: World) -> None:
        record = world.running()
        for token, disposition in (
            (b"short", _END),
            (world.token(), Finish(state=InvocationState.PAUSED, outcome=b"")),
            (world.token(), Stop(state=InvocationState.CANCELLED, reason="")),
        ):
            with pytest.raises(InternalError):
                seize(world, record, disposition, token)
        assert world.read(record.key) == record

    def test_a_paused_one_is_not_claimed_until_it_is_resumed(self, world: World) -> None:
        record = world.running()
        world.dispose(record, Stop(state=InvocationState.PAUSED, reason=""))
        assert world.claim().records == ()
        assert world.backend.resume(record.key)
        assert world.claimed() == ["a"]
