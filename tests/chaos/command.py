"""The app of the program for the command itself: `perdure worker -A tests.chaos.command:app`.

What `tests.chaos.child` is told by arguments comes from the environment here.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from tests.chaos.child import make_app
from tests.chaos.newer import Newer, become
from tests.chaos.program import Log
from tests.support import evict


class Ending:
    """A backend whose process is asked to end, once, as it makes a call or has made it.

    `where` is such as "before commit" or "after claim"; an empty claim does not count.
    """

    def __init__(self, inner: Any, where: str) -> None:
        self._inner = inner
        when, _, name = where.partition(" ")
        setattr(self, name, self._ending(getattr(inner, name), when))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def _ending(self, call: Callable[..., Any], when: str) -> Callable[..., Any]:
        left = [signal.SIGTERM]

        def ask() -> None:
            while left:
                os.kill(os.getpid(), left.pop())

        def run(*given: Any, **named: Any) -> Any:
            if when == "before":
                ask()
            result = call(*given, **named)
            if getattr(result, "records", True):
                ask()
            return result

        return run


become(cast(Newer, os.environ.get("CHAOS_NEWER", "")))
evict.install_if_asked()
where = os.environ.get("CHAOS_ENDS_AT", "")
app = make_app(
    os.environ["CHAOS_URL"],
    Log(Path(os.environ["CHAOS_LOG"])),
    Path(os.environ["CHAOS_GATE"]),
    lease=float(os.environ["CHAOS_LEASE"]),
    crash_limit=int(os.environ["CHAOS_CRASH_LIMIT"]),
    wrap=lambda backend: Ending(backend, where) if where else backend,
)
