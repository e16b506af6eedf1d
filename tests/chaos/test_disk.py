"""Full and failing disks: what is told is typed, what was acknowledged stays, and it goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos import disk
from tests.chaos.fleet import chosen_seed, remember

pytestmark = pytest.mark.xdist_group("chaos")

COUNT = 5


@pytest.mark.timeout(300)
def test_faults_of_the_disk(tmp_path: Path) -> None:
    """Counted are the means: where faults cannot be injected, only the limit to files is left."""
    seed = chosen_seed()
    counters = disk.campaign(tmp_path, seed, COUNT)
    remember(seed, counters, "limited", *(["injected"] if disk.has_strace() else []))
