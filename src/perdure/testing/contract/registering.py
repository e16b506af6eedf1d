"""Contract of the register: the deterministic values of identities without a workflow row."""

from __future__ import annotations

import msgspec
import pytest

from perdure.backends.base import RegisterPut
from perdure.core.identity import InvocationKey
from perdure.testing.contract.case import ContractCase
from perdure.testing.contract.world import APP, World

PUT = RegisterPut(app=APP, workflow_type="t", workflow_id="i", key="random:1", body=b"0.5")


def put(**changes: object) -> RegisterPut:
    """A put of the identity that these tests use."""
    return msgspec.structs.replace(PUT, **changes)


class RegisterContract(ContractCase):
    """Put if absent; the first one wins for ever."""

    def stored(self, world: World, key: str) -> bytes | None:
        """What is stored under `key` of the identity of these tests."""
        return world.backend.register_get(APP, "t", "i", key)

    def test_the_first_put_wins(self, world: World) -> None:
        assert self.stored(world, "random:1") is None
        assert world.backend.register_put(put()) == (b"0.5", True)
        assert world.backend.register_put(put(body=b"0.7")) == (b"0.5", False)
        assert world.backend.register_put(put()) == (b"0.5", False)
        assert self.stored(world, "random:1") == b"0.5"

    @pytest.mark.parametrize("body", [b"", b"null", b"0", b'""', b"[]", b"false"])
    def test_presence_is_a_row_whatever_its_body(self, world: World, body: bytes) -> None:
        assert world.backend.register_put(put(body=body)).won
        assert world.backend.register_put(put(body=b"1")) == (body, False)
        assert self.stored(world, "random:1") == body

    def test_identities_and_keys_are_apart(self, world: World) -> None:
        world.backend.register_put(put())
        for other in (
            put(app="app-2"),
            put(workflow_type="t2"),
            put(workflow_id="i2"),
            put(workflow_id="I"),
            put(key="random:2"),
            put(key=""),
        ):
            assert world.backend.register_put(other).won

    def test_a_counter_is_raised_and_never_lowered(self, world: World) -> None:
        name = "counter:random"
        world.backend.register_put(put(key="random:9", counter=(name, 9)))
        assert self.stored(world, name) == b"9"
        world.backend.register_put(put(key="random:2", counter=(name, 2)))
        assert self.stored(world, name) == b"9"
        world.backend.register_put(put(key="random:10", counter=(name, 10)))
        assert self.stored(world, name) == b"10"

    def test_a_lost_put_raises_no_counter(self, world: World) -> None:
        world.backend.register_put(put())
        world.backend.register_put(put(counter=("counter:random", 1)))
        assert self.stored(world, "counter:random") is None

    def test_a_child_is_inserted_by_the_winner_only(self, world: World) -> None:
        first = world.backend.register_put(put(child=world.new("child")))
        assert first.won
        child = world.backend.read("child")
        assert child is not None
        world.backend.register_put(put(child=world.new("child-2")))
        assert world.backend.read("child-2") is None
        assert world.backend.read("child") == child
        assert world.claimed() == ["child"]

    def test_a_child_that_is_there_is_left_as_it_is(self, world: World) -> None:
        there = world.start("child")
        result = world.backend.register_put(put(child=world.new("child", priority=5)))
        assert result.won
        assert world.read(InvocationKey("child", 1)) == there
        assert world.backend.read("child", 2) is None
