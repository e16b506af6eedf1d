"""`python -m tests.zoo.fresh --seconds 120` looks for the planted bugs with seeds of its own.

The seeds that are kept were chosen after they had found something. This shows that others find the
bugs as well: it goes through all that simulation can find, in any order, until the time is over.
It fails if one of them stays hidden, or if not one was found.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time

from perdure.testing.simulation.runner import Runner
from tests.zoo import bugs
from tests.zoo.hunt import hunt

MOST = 5_000
"""In that many schedules each must show. The shyest took 928 of them."""
SEED_MAX = 10**12


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.zoo.fresh", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--seed", type=int, default=time.time_ns())
    asked = parser.parse_args()
    print(f"seed {asked.seed}")
    luck, end = random.Random(asked.seed), time.monotonic() + asked.seconds
    sought = [each for each in bugs().values() if not each.test]
    luck.shuffle(sought)
    counts: list[int] = []
    for bug in sought:
        first = luck.randrange(SEED_MAX)
        # A runner of its own: what it keeps between schedules was made with the bug.
        find = hunt(bug, Runner(), first, MOST, end - time.monotonic())
        if find is not None:
            counts.append(find.schedules)
        elif time.monotonic() < end:
            print(f"{bug.name} is NOT FOUND in the schedules {first}:{first + MOST}")
            return 1
        else:
            break
    if not counts:
        print("nothing was found: too little time, or the checks see nothing")
        return 1
    told = f"the median took {statistics.median(counts):.0f} schedules, the most {max(counts)}"
    print(f"{len(counts)} of {len(sought)} bugs were looked for and found; {told}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
