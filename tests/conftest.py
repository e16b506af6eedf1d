"""What every test gets. Fixtures of one area belong into that area's own conftest."""

from __future__ import annotations

from hypothesis import settings

# Tests never depend on luck: the same examples on every run and machine, no time limit that a busy
# machine could break, no database of examples that would make two runs differ.
settings.register_profile("ci", derandomize=True, deadline=None, database=None)
# For hunting: `pytest --hypothesis-profile=explore`.
settings.register_profile("explore", deadline=None, database=None, max_examples=2000)
settings.load_profile("ci")
