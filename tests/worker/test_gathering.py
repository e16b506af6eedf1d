"""Free slots are filled together, but no slot waits for long."""

from __future__ import annotations

import pytest

from perdure.worker.gathering import PAUSE_MAX_SECONDS, Gathering


@pytest.fixture
def gathering() -> Gathering:
    return Gathering(slots=16)


def test_the_first_claim_is_made_at_once(gathering: Gathering) -> None:
    assert gathering.pause(1, 0.0) == 0.0


def test_with_work_left_over_a_quarter_of_the_slots_is_waited_for(gathering: Gathering) -> None:
    gathering.claimed(16, 16, 1.0, 1.01)
    assert gathering.pause(3, 1.01) == pytest.approx(0.02)
    assert gathering.pause(4, 1.01) == 0.0


def test_but_only_twice_as_long_as_a_claim_takes(gathering: Gathering) -> None:
    gathering.claimed(2, 2, 1.0, 1.01)
    assert gathering.pause(1, 1.02) == pytest.approx(0.01)
    assert gathering.pause(1, 1.03) == 0.0
    gathering.claimed(2, 2, 2.0, 30.0)
    assert gathering.pause(1, 30.0) == pytest.approx(PAUSE_MAX_SECONDS)


def test_a_claim_that_found_less_is_followed_at_once(gathering: Gathering) -> None:
    gathering.claimed(16, 16, 1.0, 1.01)
    gathering.claimed(8, 7, 1.01, 1.02)
    assert gathering.pause(1, 1.02) == 0.0


@pytest.mark.parametrize("slots", [1, 2, 7])
def test_a_worker_with_few_slots_never_waits(slots: int) -> None:
    gathering = Gathering(slots)
    gathering.claimed(slots, slots, 1.0, 2.0)
    assert gathering.pause(1, 2.0) == 0.0
