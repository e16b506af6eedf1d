"""What simulated threads run on: greenlets where they are installed, real threads elsewhere.

Both do the same, and a test compares them. Greenlets hand over ten times as fast. They share one
real thread, so what Python keeps for each real thread is theirs to keep apart
(`perdure.testing.simulation.greenlets`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import find_spec

from perdure.testing.simulation.real_threads import RealThreads
from perdure.testing.simulation.threads import Carriers, Course


def best_carriers() -> Callable[[Course], Carriers]:
    """Greenlets, or real threads where there are none.

    From Python 3.14 on asyncio keeps the current task for each real thread, which is not tried yet.
    """
    if sys.version_info >= (3, 14) or find_spec("greenlet") is None:
        return RealThreads
    from perdure.testing.simulation.greenlets import Greenlets  # noqa: PLC0415 - it may be missing

    return Greenlets
