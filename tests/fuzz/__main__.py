"""Long campaigns: each target in a process of its own, what came of it in a ledger.

python -m tests.fuzz --seconds 600 --target payload --target journal --ledger fuzz.jsonl
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

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
    parser.add_argument("--ledger", type=Path, help="append a line of JSON for each target")
    chosen = parser.parse_args()
    bad = 0
    for name in chosen.target or names():
        begun = time.monotonic()
        try:
            report = fuzz(name, chosen.seed, count=chosen.count, seconds=chosen.seconds)
        except Died as died:
            report = {"target": name, "seed": chosen.seed, "failures": [str(died)]}
        bad += bool(report["failures"])
        line = {"seconds": round(time.monotonic() - begun, 1), **report}
        print(json.dumps(line), flush=True)
        if chosen.ledger is not None:
            append(chosen.ledger, "fuzz", line)
    return min(bad, 1)


if __name__ == "__main__":
    sys.exit(main())
