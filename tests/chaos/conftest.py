"""A fleet on each kind of store. A failed run leaves no process behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.fleet import Fleet, chosen_seed

MakeFleet = Callable[..., Fleet]


@pytest.fixture
def make_sqlite_fleet(tmp_path: Path) -> Iterator[MakeFleet]:
    made: list[Fleet] = []

    def make(**settings: Any) -> Fleet:
        fleet = Fleet(f"sqlite:///{tmp_path / 'perdure.db'}", tmp_path, chosen_seed(), **settings)
        made.append(fleet)
        return fleet

    yield make
    for fleet in made:
        fleet.close()


@pytest.fixture(params=["sqlite"])
def make_fleet(request: pytest.FixtureRequest) -> MakeFleet:
    made: MakeFleet = request.getfixturevalue(f"make_{request.param}_fleet")
    return made
