"""Full and failing disks: what is told is typed, what was acknowledged stays, and it goes on."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.chaos import disk, full
from tests.chaos.fleet import chosen_seed, remember

pytestmark = pytest.mark.xdist_group("chaos")

COUNT = 5


@pytest.mark.timeout(300)
def test_faults_of_the_disk(tmp_path: Path) -> None:
    """Counted are the means: where faults cannot be injected, only the limit to files is left."""
    seed = chosen_seed()
    counters: Counter[str] = Counter()
    disk.campaign(tmp_path, seed, COUNT, counters)
    remember(seed, counters, "limited", *(["injected"] if disk.has_strace() else []))


@pytest.mark.timeout(300)
def test_a_full_file_system(tmp_path: Path) -> None:
    """On a tmpfs of its own where one may be had; counted is what was."""
    seed = chosen_seed()
    counters: Counter[str] = Counter()
    full.campaign(tmp_path, seed, COUNT, counters)
    remember(seed, counters, *full.expected())
