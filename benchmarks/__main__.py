"""The command `python -m benchmarks`."""

from __future__ import annotations

import argparse
import dataclasses
import signal
import sys
from pathlib import Path

from benchmarks import machine
from benchmarks.backends import CHOICES, opened
from benchmarks.peers.catalogue import NAMES, PEERS
from benchmarks.peers.environments import cache_folder
from benchmarks.peers.opening import Asked, opened_peers
from benchmarks.places import CONCURRENCY
from benchmarks.profiles import run_profiled
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
    _add_peer_options(made)
    made.add_argument(
        "--json", type=Path, metavar="FILE", help="every figure of every run, written after each"
    )
    made.add_argument(
        "--profile",
        type=Path,
        metavar="FOLDER",
        help="at the end run each work of perdure once more and write where its time goes, a file"
        " for each work and backend: by py-spy if it is installed, else by cProfile",
    )
    return made


def _add_peer_options(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "--peers",
        nargs="*",
        choices=NAMES,
        metavar="NAME",
        help=f"beside them, each in an environment of its own: all of {', '.join(NAMES)}, or these",
    )
    made.add_argument(
        "--peer-cache",
        type=Path,
        default=cache_folder(),
        metavar="FOLDER",
        help="where the environments of the peers are made and kept",
    )
    made.add_argument(
        "--peer-python",
        type=Path,
        metavar="PYTHON",
        help="that the peers run on (default: this one; pynenc needs 3.12)",
    )


def asked_peers(options: argparse.Namespace) -> Asked:
    """Without the option none, with nothing behind it all."""
    names = () if options.peers is None else options.peers or NAMES
    return Asked(names=names, cache=options.peer_cache, python=options.peer_python)


def main() -> int:
    """Measure, print the medians; 1 if something could not be measured."""
    options = parser().parse_args()
    # Asked to end, it puts away what it made: worker processes, a server, files.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    sizes = QUICK if options.quick else FULL
    works = [work for work in WORKS if not options.work or work.name in options.work]
    facts = machine.facts()
    asked = asked_peers(options)
    with opened(options.backend or CHOICES, sizes) as (benches, server):
        peers, missing = opened_peers(asked, sizes, server.url)
        settings = {
            "sizes": dataclasses.asdict(sizes),
            "runs": options.runs,
            "concurrency": CONCURRENCY,
            **server.settings,
            "peers": {
                peer.label: {"durability": peer.durability, "concurrency": peer.concurrency}
                for peer in PEERS
                if peer.name in asked.names
            },
        }

        def keep(results: Results) -> None:
            if options.json:
                write_json(options.json, results, settings, facts)

        results = run_all([*benches, *peers], works, options.runs, after_each=keep, missing=missing)
        print(as_text(results, works), flush=True)
        if options.profile:
            run_profiled(benches, works, options.profile)
    return 1 if results.failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
