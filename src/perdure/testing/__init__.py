"""What perdure ships for tests of applications and of state backends. Nothing imports it back.

For applications:

* `crash_everywhere`: runs a workflow with a crash at each durable boundary.
* `fuzz_schedules`: runs it with its branches ending in many orders.
* `skip_time`: sleeps, timeouts, retries and schedules of a test take no time.
* `replace`, `double`: other functions in the place of tasks.
* `export_history`, `replay_history`: recorded workflows, checked against today's code.
* `perdure.testing.strategies` (needs Hypothesis): values and arguments that can be recorded.

For state backends of your own: `perdure.testing.contract`, and `perdure.testing.linearizability`
for what clients of it are answered.
"""

from __future__ import annotations

from perdure.testing.doubles import Double, double, replace
from perdure.testing.everywhere import CrashEverywhere, crash_everywhere
from perdure.testing.fuzzing import FuzzSchedules, fuzz_schedules
from perdure.testing.histories import HistoryInvalid, export_history, replay_history
from perdure.testing.reports import Finding, Kind, Repeated, Report, UnsafeWorkflow
from perdure.testing.skipping import SkippedTime, skip_time
from perdure.testing.virtual import START, VirtualClock

__all__ = [
    "START",
    "CrashEverywhere",
    "Double",
    "Finding",
    "FuzzSchedules",
    "HistoryInvalid",
    "Kind",
    "Repeated",
    "Report",
    "SkippedTime",
    "UnsafeWorkflow",
    "VirtualClock",
    "crash_everywhere",
    "double",
    "export_history",
    "fuzz_schedules",
    "replace",
    "replay_history",
    "skip_time",
]
