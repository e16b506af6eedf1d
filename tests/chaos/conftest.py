"""A fleet on each kind of store. A failed run leaves no process behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.fleet import Fleet, chosen_seed
from tests.support.postgres import drop_database, make_database
from tests.support.stores import server_url

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


@pytest.fixture
def make_postgres_fleet(tmp_path: Path) -> Iterator[MakeFleet]:
    made: list[Fleet] = []
    server = server_url()
    url = make_database(server)

    def make(**settings: Any) -> Fleet:
        fleet = Fleet(url, tmp_path, chosen_seed(), **settings)
        made.append(fleet)
        return fleet

    yield make
    for fleet in made:
        fleet.close()
    drop_database(server, url)


@pytest.fixture(params=["sqlite", "postgres"])
def make_fleet(request: pytest.FixtureRequest) -> MakeFleet:
    made: MakeFleet = request.getfixturevalue(f"make_{request.param}_fleet")
    return made
