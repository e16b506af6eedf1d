"""Contract of `Backend.past_deadline`: what nobody has claimed and is too late, and no more."""

from __future__ import annotations

import pytest

from perdure.backends.base import RegisterPut
from perdure.backends.endings import Ending, options_of
from perdure.core.lifecycle import InvocationState
from perdure.testing.contract.case import ContractCase
from perdure.testing.contract.world import APP, NAME, SECOND, World

WITHIN = options_of(Ending(ends_within=10 * SECOND))


def late(world: World, limit: int = 100, app: str = APP) -> list[str]:
    """The ids of what is past its deadline, in order."""
    return [record.key.invocation_id for record in world.backend.past_deadline(app, limit)]


class DeadlineContract(ContractCase):
    """A deadline counts from the start, by the store's clock, whoever starts it."""

    def test_from_the_deadline_on(self, world: World) -> None:
        record = world.start(options=WITHIN)
        world.start("free")
        world.clock.advance(10 * SECOND - 1)
        assert late(world) == []
        world.clock.advance(1)
        assert late(world) == ["a"]
        assert world.backend.past_deadline(APP, 1) == [world.read(record.key)]

    def test_a_moment(self, world: World) -> None:
        world.start(options=options_of(Ending(ends_by=world.clock() + SECOND)))
        assert late(world) == []
        world.clock.advance(SECOND)
        assert late(world) == ["a"]

    @pytest.mark.parametrize(("within", "by"), [(5, 3), (3, 5)])
    def test_the_earlier_one_counts(self, world: World, within: int, by: int) -> None:
        ending = Ending(ends_within=within * SECOND, ends_by=world.clock() + by * SECOND)
        world.start(options=options_of(ending))
        world.clock.advance(3 * SECOND - 1)
        assert late(world) == []
        world.clock.advance(1)
        assert late(world) == ["a"]

    def test_order_limit_and_app(self, world: World) -> None:
        for id_, seconds in (("late", 3), ("early", 1), ("middle", 2)):
            world.start(id_, options=options_of(Ending(ends_within=seconds * SECOND)))
        world.start("other", app="other", options=WITHIN)
        world.clock.advance(20 * SECOND)
        assert late(world) == ["early", "middle", "late"]
        assert late(world, app="other") == ["other"]
        assert len(late(world, limit=2)) == 2

    def test_a_delayed_one(self, world: World) -> None:
        world.start(delay=60 * SECOND, options=WITHIN)
        world.clock.advance(10 * SECOND)
        assert late(world) == ["a"]

    def test_what_was_claimed_once_goes_by_it_itself(self, world: World) -> None:
        record = world.running(options=WITHIN)
        world.backend.start(world.new("b", options=WITHIN), "return", world.claim_at_start())
        world.clock.advance(10 * SECOND)
        assert late(world) == []
        world.clock.advance(-10 * SECOND)
        world.finish(record, InvocationState.FAILED)
        world.clock.advance(10 * SECOND)
        assert late(world) == []

    def test_another_generation_has_its_own(self, world: World) -> None:
        record = world.running(options=WITHIN)
        world.finish(record, InvocationState.FAILED)
        world.clock.advance(60 * SECOND)
        world.backend.start(world.new(options=WITHIN), "new_generation_if_failed")
        assert late(world) == []
        world.clock.advance(10 * SECOND)
        (found,) = world.backend.past_deadline(APP, 10)
        assert found.key.generation == 2

    def test_children_of_a_commit_and_of_a_put(self, world: World) -> None:
        parent = world.running()
        world.clock.advance(SECOND)
        world.commit(parent, b"1", children=(world.new("c", options=WITHIN), world.new("free")))
        put = RegisterPut(
            app=APP, workflow_type=NAME, workflow_id="r", key="k", body=b"1",
            child=world.new("p", options=WITHIN),
        )  # fmt: skip
        world.backend.register_put(put)
        world.clock.advance(10 * SECOND - 1)
        assert late(world) == []
        world.clock.advance(1)
        assert sorted(late(world)) == ["c", "p"]
