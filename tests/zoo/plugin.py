"""Plants a bug in the process of a test: `pytest -p tests.zoo.plugin` with `PLANTED` in the
environment."""

from __future__ import annotations

import os

import pytest

from tests.zoo import bugs

_patch = pytest.MonkeyPatch()


def pytest_configure() -> None:
    """Plant it before any test module is imported."""
    bugs()[os.environ["PLANTED"]].plant(_patch)


def pytest_unconfigure() -> None:
    """Take it out."""
    _patch.undo()
