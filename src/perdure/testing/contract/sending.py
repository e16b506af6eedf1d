"""Contract of letters: accepted once, never lost, read in order, refused once nobody will read."""

from __future__ import annotations

import pytest

from perdure.backends.base import Release, Stop, Suspend
from perdure.backends.letters import NOBODY, Letter, Sent
from perdure.core.identity import InvocationKey
from perdure.core.lifecycle import TERMINAL, InvocationState
from perdure.testing.contract.case import ContractCase
from perdure.testing.contract.world import SECOND, World

_STOPPED = (InvocationState.PARKED, InvocationState.DEAD)


def letter(number: int, body: bytes = b"1") -> Letter:
    """A letter with an id of its own."""
    return Letter(kind="message", name="pickup", letter_id=f"l{number}", body=body)


class SendContract(ContractCase):
    """`Backend.send`, and letters that come with a start."""

    def test_it_is_in_the_inbox(self, world: World) -> None:
        record = world.running()
        assert world.backend.send(record.key, letter(1)) is Sent.ACCEPTED
        (row,) = world.backend.read_inbox(record.key)
        assert (row.kind, row.source, row.letter) == ("message", NOBODY, letter(1))
        assert world.read(record.key) == record

    def test_an_id_is_accepted_once(self, world: World) -> None:
        record = world.running()
        assert world.backend.send(record.key, letter(1)) is Sent.ACCEPTED
        assert world.backend.send(record.key, letter(1, b"2")) is Sent.REPEATED
        (row,) = world.backend.read_inbox(record.key)
        assert row.letter == letter(1)

    def test_an_id_is_remembered_when_its_letter_was_read(self, world: World) -> None:
        record = world.running()
        world.backend.send(record.key, letter(1))
        (row,) = world.backend.read_inbox(record.key)
        world.commit(record, b"1", consumed=(row.row_id,))
        assert world.backend.send(record.key, letter(1)) is Sent.REPEATED
        assert world.backend.read_inbox(record.key) == []

    def test_an_id_belongs_to_one_invocation(self, world: World) -> None:
        first, second = world.running("a"), world.running("b")
        assert world.backend.send(first.key, letter(1)) is Sent.ACCEPTED
        assert world.backend.send(second.key, letter(1)) is Sent.ACCEPTED

    def test_order(self, world: World) -> None:
        key = world.start().key
        for number in (3, 1, 2):
            world.backend.send(key, letter(number))
        rows = world.backend.read_inbox(key)
        assert [row.letter for row in rows] == [letter(3), letter(1), letter(2)]
        assert [row.row_id for row in rows] == sorted(row.row_id for row in rows)

    def test_who_waits_is_woken(self, world: World) -> None:
        record = world.running()
        world.dispose(record, Suspend(wake_at=world.clock() + SECOND))
        world.backend.send(record.key, letter(1))
        row = world.read(record.key)
        assert (row.state, row.wake_at) == (InvocationState.READY, None)
        assert world.claimed() == ["a"]

    def test_who_is_about_to_wait_does_not(self, world: World) -> None:
        record = world.running()
        world.backend.send(record.key, letter(1))
        world.dispose(record, Suspend())
        assert world.read(record.key).state is InvocationState.READY

    def test_a_delayed_start_keeps_its_delay(self, world: World) -> None:
        record = world.start(delay=SECOND)
        world.backend.send(record.key, letter(1))
        assert world.read(record.key) == record

    @pytest.mark.parametrize("state", _STOPPED)
    def test_who_is_stopped_stays_so(self, world: World, state: InvocationState) -> None:
        record = world.running()
        world.dispose(record, Stop(state=state, reason="r"))
        assert world.backend.send(record.key, letter(1)) is Sent.ACCEPTED
        assert world.read(record.key).state is state
        assert len(world.backend.read_inbox(record.key)) == 1

    @pytest.mark.parametrize("state", sorted(TERMINAL))
    def test_what_has_ended_reads_nothing(self, world: World, state: InvocationState) -> None:
        record = world.running()
        world.backend.send(record.key, letter(1))
        world.finish(record, state)
        assert world.backend.send(record.key, letter(2)) is Sent.ENDED
        assert world.backend.send(record.key, letter(1)) is Sent.REPEATED
        assert world.backend.read_inbox(record.key) == []

    def test_nobody(self, world: World) -> None:
        assert world.backend.send(InvocationKey("nobody", 1), letter(1)) is Sent.MISSING
        key = world.start().key
        assert world.backend.send(key._replace(generation=2), letter(1)) is Sent.MISSING

    def test_any_text(self, world: World) -> None:
        key = world.start().key
        odd = Letter(
            kind="message", name="naïve ' \" \\ 📦", letter_id=" '; --", body=b'"\xc3\xa9"'
        )
        world.backend.send(key, odd)
        (row,) = world.backend.read_inbox(key)
        assert row.letter == odd

    def test_a_start_brings_letters(self, world: World) -> None:
        record = world.start(letters=(letter(1), letter(2)))
        assert [row.letter for row in world.backend.read_inbox(record.key)] == [
            letter(1),
            letter(2),
        ]
        assert world.backend.send(record.key, letter(1)) is Sent.REPEATED

    def test_a_start_that_finds_its_id_sends_nothing(self, world: World) -> None:
        record = world.running()
        world.dispose(record, Suspend())
        started = world.backend.start(world.new(letters=(letter(1),)), "return")
        assert (started.created, started.record.key) == (False, record.key)
        assert world.backend.read_inbox(record.key) == []
        assert world.read(record.key).state is InvocationState.WAITING

    def test_a_new_generation_has_letters_of_its_own(self, world: World) -> None:
        record = world.running()
        world.backend.send(record.key, letter(1))
        world.finish(record, InvocationState.FAILED)
        again = world.backend.start(world.new(letters=(letter(1),)), "new_generation_if_failed")
        (row,) = world.backend.read_inbox(again.record.key)
        assert row.letter == letter(1)

    def test_a_released_reader_finds_it(self, world: World) -> None:
        record = world.running()
        world.backend.send(record.key, letter(1))
        world.dispose(record, Release())
        (again,) = world.claim().records
        (row,) = world.backend.read_inbox(again.key)
        assert row.letter == letter(1)
