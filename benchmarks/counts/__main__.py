"""The command `python -m benchmarks.counts`: 1 if an operation costs more than the baseline."""

from __future__ import annotations

import argparse
import os
import sys

from benchmarks.counts import baseline
from benchmarks.counts.counting import BACKENDS, counts

RENEW = "python -m benchmarks.counts --write"


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(
        prog="python -m benchmarks.counts",
        description="Count what operations of perdure cost in function calls, SQL statements, "
        "commits and trips to the server, and compare with the committed baseline. Times of a "
        "shared machine mean little; these counts are the same on each run.",
    )
    made.add_argument(
        "--backend", action="append", choices=BACKENDS, help="only this one; may be repeated"
    )
    made.add_argument(
        "--write", action="store_true", help="make these counts the baseline, after a look at them"
    )
    return made


def steady() -> None:
    """Start this program again with a fixed seed of hashes, on which the order of sets depends."""
    if os.environ.get("PYTHONHASHSEED") != "0":
        command = [sys.executable, "-m", "benchmarks.counts", *sys.argv[1:]]
        os.execve(sys.executable, command, os.environ | {"PYTHONHASHSEED": "0"})


def main() -> int:
    """Count, and write or compare."""
    options = parser().parse_args()
    steady()
    costs = {backend: counts(backend) for backend in options.backend or BACKENDS}
    if options.write:
        baseline.write(costs)
        print(f"Written: {baseline.FILE}. Look at what changed in it, and say why in the commit.")
        return 0
    grown, fallen = baseline.compare(costs, baseline.read())
    for line in fallen:
        print(f"less  {line}")
    for line in grown:
        print(f"MORE  {line}")
    if grown:
        print(f"Make it cheaper again; or, where it is worth its cost, renew the baseline: {RENEW}")
    elif fallen:
        print(f"Fine. So that it cannot grow back unseen, renew the baseline: {RENEW}")
    else:
        print("No operation costs more than before.")
    return 1 if grown else 0


if __name__ == "__main__":
    raise SystemExit(main())
