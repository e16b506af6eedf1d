"""The default clock of a backend. The only place under `backends` that asks the machine for it."""

from __future__ import annotations

import time


def real_clock() -> int:
    """Microseconds since 1970 UTC by the clock of this machine."""
    return time.time_ns() // 1_000
