"""What perdure ships for tests of applications and of state backends. Nothing imports it back.

For applications:

* `crash_everywhere`: runs a workflow with a crash at each durable boundary.

For state backends of your own: `perdure.testing.contract`.
"""

from __future__ import annotations

from perdure.testing.everywhere import CrashEverywhere, crash_everywhere
from perdure.testing.reports import Finding, Kind, Repeated, Report, UnsafeWorkflow
from perdure.testing.virtual import VirtualClock

__all__ = [
    "CrashEverywhere",
    "Finding",
    "Kind",
    "Repeated",
    "Report",
    "UnsafeWorkflow",
    "VirtualClock",
    "crash_everywhere",
]
