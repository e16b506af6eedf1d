"""What every topic of the contract shares: the backend under test and the world around it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from perdure.backends.base import Backend
from perdure.testing.contract.world import Clock, World

TOPICS = (
    "claiming", "committing", "querying", "queueing", "racing", "registering", "seizing", "sending",
    "serving", "starting", "waiting",
)  # fmt: skip
"""The modules of the contract, one per topic."""

# Without this a failing assert of an installed package shows no values. It must come before the
# topics are imported; the package imports this module first.
pytest.register_assert_rewrite(*(f"perdure.testing.contract.{topic}" for topic in TOPICS))


class ContractCase:
    """Fixtures of the contract. Override `make_backend`."""

    def make_backend(self, now: Callable[[], int], folder: Path) -> Backend:
        """An empty backend whose clock is `now`; `folder` is empty and private to the test."""
        raise NotImplementedError

    @pytest.fixture
    def clock(self) -> Clock:
        """The clock of the backend under test."""
        return Clock()

    @pytest.fixture
    def backend(self, clock: Clock, tmp_path: Path) -> Iterator[Backend]:
        """The backend under test, empty."""
        backend = self.make_backend(clock, tmp_path)
        yield backend
        backend.close()

    @pytest.fixture
    def world(self, backend: Backend, clock: Clock) -> World:
        """The backend under test with short words for it."""
        return World(backend, clock)
