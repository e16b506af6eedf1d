"""Programs with transactions in the PostgreSQL database of the state backend itself, killed there.

On the other backends they are among all programs; see `test_everywhere.py`.
"""

from __future__ import annotations

import pytest

from perdure.backends.postgres import PostgresBackend
from perdure.testing.crash import crash_everywhere
from perdure.testing.faults import Mode
from tests.crash.test_everywhere import PROGRAMS, maker
from tests.support.postgres import empty_database
from tests.support.stores import server_url

pytestmark = pytest.mark.timeout(600)


@pytest.mark.parametrize("name", ["charging_here", "acharging_here"])
def test_in_the_database_of_the_state_backend(name: str) -> None:
    url = server_url()
    report = crash_everywhere(
        maker(PROGRAMS[name], 0.0),
        "main",
        make_store=lambda: PostgresBackend(empty_database(url)),
        modes=(Mode.AFTER, Mode.UNKNOWN, Mode.STOLEN),
        seed=6,
    )
    report.raise_problems()
    struck = {mode for call, mode in report.struck if call == "elsewhere"}
    assert struck == {Mode.AFTER, Mode.UNKNOWN, Mode.STOLEN}
