"""Long campaigns: each target in a process of its own, what came of it in a ledger.

python -m tests.fuzz --seconds 600 --target payload --target journal --ledger fuzz.jsonl
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.fuzz.processes import Died, fuzz
from tests.fuzz.targets import names
from tests.support.ledger import append

COUNT_MAX = 10**12


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--target", action="append", choices=names(), help="default: all of them")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target")
    parser.add_argument("--count", type=int, default=COUNT_MAX, help="inputs for each target")
    parser.add_argument("--seed", default=str(time.time_ns()))
    parser.add_argument("--jobs", type=int, default=1, help="targets that are fed at once")
    parser.add_argument("--ledger", type=Path, help="append a line of JSON for each target")
    asked = parser.parse_args()
    bad = 0
    with ThreadPoolExecutor(asked.jobs) as pool:
        for line in pool.map(lambda name: feed(name, asked), asked.target or names()):
            bad += bool(line["failures"])
            print(json.dumps(line), flush=True)
            if asked.ledger is not None:
                append(asked.ledger, "fuzz", line)
    return min(bad, 1)


def feed(name: str, asked: argparse.Namespace) -> dict[str, Any]:
    """Feed one target; the line that says what came of it."""
    begun = time.monotonic()
    try:
        report = fuzz(name, asked.seed, count=asked.count, seconds=asked.seconds)
    except Died as died:
        report = {"target": name, "seed": asked.seed, "failures": [str(died)]}
    return {"seconds": round(time.monotonic() - begun, 1), **report}


if __name__ == "__main__":
    sys.exit(main())
