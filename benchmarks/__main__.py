"""The command `python -m benchmarks`."""

from __future__ import annotations

import argparse
import dataclasses
import signal
import sys
from pathlib import Path

from benchmarks import machine
from benchmarks.backends import CHOICES, opened
from benchmarks.places import CONCURRENCY
from benchmarks.report import as_text, write_json
from benchmarks.runner import Results, run_all
from benchmarks.sizes import FULL, QUICK
from benchmarks.works.all import WORKS


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure perdure beside the physical limits of this machine. Times of a shared "
        "machine mean little by themselves; ratios within one run do.",
    )
    made.add_argument(
        "--backend",
        action="append",
        choices=CHOICES,
        help="only this one; may be given several times",
    )
    made.add_argument(
        "--work",
        action="append",
        choices=[work.name for work in WORKS],
        help="only this one; may be given several times",
    )
    made.add_argument("--runs", type=int, default=3, help="interleaved runs (default: 3)")
    made.add_argument("--quick", action="store_true", help="small sizes: minutes, not an hour")
    made.add_argument("--json", type=Path, metavar="FILE", help="write every figure of every run")
    return made


def main() -> int:
    """Measure, print the medians; 1 if something could not be measured."""
    options = parser().parse_args()
    # Asked to end, it puts away what it made: worker processes, a server, files.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    sizes = QUICK if options.quick else FULL
    works = [work for work in WORKS if not options.work or work.name in options.work]
    facts = machine.facts()
    with opened(options.backend or CHOICES, sizes) as (benches, server):
        settings = {
            "sizes": dataclasses.asdict(sizes),
            "runs": options.runs,
            "concurrency": CONCURRENCY,
            **server,
        }

        def keep(results: Results) -> None:
            if options.json:
                write_json(options.json, results, settings, facts)

        results = run_all(benches, works, options.runs, after_each=keep)
    print(as_text(results, works))
    return 1 if results.failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
