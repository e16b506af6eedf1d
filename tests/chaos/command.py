"""The app of the program for the command itself: `perdure worker -A tests.chaos.command:app`.

What `tests.chaos.child` is told by arguments comes from the environment here.
"""

from __future__ import annotations

import os
from pathlib import Path

from tests.chaos.child import make_app
from tests.chaos.program import Log

app = make_app(
    os.environ["CHAOS_URL"],
    Log(Path(os.environ["CHAOS_LOG"])),
    Path(os.environ["CHAOS_GATE"]),
    lease=float(os.environ["CHAOS_LEASE"]),
    crash_limit=int(os.environ["CHAOS_CRASH_LIMIT"]),
)
