"""The pytest plugin of perdure. It imports nothing of it before a test asks for a fixture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # a test run that does not use perdure must not pay for its import
    from perdure.testing import CrashEverywhere, Report


@pytest.fixture
def crash_everywhere(request: pytest.FixtureRequest) -> CrashEverywhere:
    """`perdure.testing.crash_everywhere`, whose reports are shown with a test that fails."""
    from dataclasses import replace  # noqa: PLC0415 - only who uses it pays

    from perdure.testing import crash_everywhere as usual  # noqa: PLC0415 - as above

    def told(report: Report) -> None:
        request.node.add_report_section("call", "perdure", str(report))

    return replace(usual, told=told)
