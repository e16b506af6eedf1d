"""Bytes of the database files changed, cut off and exchanged: a right value or a typed error."""

from __future__ import annotations

from pathlib import Path

import pytest

from perdure.api import client
from tests.chaos import damage
from tests.chaos.fleet import chosen_seed, remember

pytestmark = pytest.mark.xdist_group("chaos")

COUNT = 150


def test_no_wrong_value_out_of_damaged_files(tmp_path: Path) -> None:
    seed = chosen_seed()
    counters, wrong = damage.campaign(tmp_path, seed, COUNT)
    remember(seed, counters, *damage.RARE)
    assert wrong == []


def test_a_check_that_is_left_out_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = damage.Original(tmp_path)
    monkeypatch.setattr(client, "recorded_outcome", lambda record: record.outcome)
    judge = damage.Judge(original)
    folder = original.files(with_log=False)
    file = folder / "perdure.db"
    data = file.read_bytes()
    assert b"failed with text-1" in data
    file.write_bytes(data.replace(b"failed with text-1", b"gailed with text-1"))
    judge.look(folder, "planted", is_older=False)
    assert [each for each in judge.wrong if "gailed with text-1" in each]
