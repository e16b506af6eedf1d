"""`python -m perdure.testing.simulation --seeds 0:1000`: plays schedules until one fails."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from pathlib import Path

import msgspec

from perdure._version import __version__
from perdure.testing.simulation.carriers import best_carriers
from perdure.testing.simulation.plan import Plan, make_plan
from perdure.testing.simulation.real_threads import RealThreads
from perdure.testing.simulation.runner import Played, Runner, described

EVERY_SECONDS = 10.0
"""How often it is said how far it is."""


def _arguments(given: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m perdure.testing.simulation",
        description="Play simulated schedules and check the invariants after every event.",
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--seeds", metavar="A:B", help="the schedules A, A+1, ..., B-1")
    which.add_argument("--seed", type=int, help="this one")
    which.add_argument(
        "--plan", type=Path, help="the one in this file, as it was written by --save"
    )
    parser.add_argument("--store", choices=("memory", "sqlite"), default="memory")
    parser.add_argument(
        "--real-threads", action="store_true", help="no greenlets, also where they are installed"
    )
    parser.add_argument("--trace", action="store_true", help="tell each event")
    parser.add_argument("--no-shrink", action="store_true", help="show a failure as it was found")
    parser.add_argument("--save", type=Path, help="write the plan of a failure to this file")
    parser.add_argument("--ledger", type=Path, help="append a line of JSON about this run")
    return parser.parse_args(given)


def main(given: list[str]) -> int:
    """Play; gives the exit code: 0 if all went well, 1 if something broke."""
    asked = _arguments(given)
    carriers = RealThreads if asked.real_threads else best_carriers()
    runner = Runner(carriers)
    if carriers is RealThreads:
        _stay_on_one_core()
    if asked.seeds is None:
        plan = _plan(asked.seed, asked) if asked.plan is None else _read(asked.plan)
        played = runner.play(plan, _say if asked.trace else None)
        return _tell(played, runner, asked)
    first, _, last = asked.seeds.partition(":")
    return _play_all(runner, range(int(first), int(last)), asked)


def _play_all(runner: Runner, seeds: range, asked: argparse.Namespace) -> int:
    began = told = time.monotonic()
    events, schedules, kinds = 0, 0, Counter[str]()
    played: Played | None = None
    for seed in seeds:
        played = runner.play(_plan(seed, asked))
        schedules, events = schedules + 1, events + played.events
        kinds.update(played.kinds)
        if played.broken:
            break
        if time.monotonic() - told > EVERY_SECONDS:
            told = time.monotonic()
            _say(f"{schedules} schedules, {schedules / (told - began):.0f}/s")
    seconds = time.monotonic() - began
    _say(f"{schedules} schedules, {events} events in {seconds:.1f} s")
    _say(", ".join(f"{kind}: {count}" for kind, count in sorted(kinds.items())))
    if asked.ledger is not None:
        line = {
            "at": int(time.time()),
            "version": __version__,
            "seeds": asked.seeds,
            "store": asked.store,
            "schedules": schedules,
            "events": events,
            "seconds": round(seconds, 1),
            "broken": played.broken if played else "",
            "kinds": dict(sorted(kinds.items())),
        }
        with asked.ledger.open("a", encoding="utf-8") as ledger:
            ledger.write(msgspec.json.encode(line).decode() + "\n")
    return 0 if played is None or not played.broken else _tell(played, runner, asked)


def _tell(played: Played, runner: Runner, asked: argparse.Namespace) -> int:
    """Say how one schedule went; a failure is made smaller first."""
    if not played.broken:
        _say(f"all is well: {played.events} events, trace {played.trace}")
        return 0
    if not asked.no_shrink:
        _say(f"seed {played.plan.seed} breaks {played.broken}; making it smaller")
        played = runner.shrink(played)
    _say(described(played))
    if asked.save is not None:
        asked.save.write_bytes(msgspec.json.format(msgspec.json.encode(played.plan)))
        _say(f"to see each event: --plan {asked.save} --trace")
    return 1


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _plan(seed: int, asked: argparse.Namespace) -> Plan:
    return msgspec.structs.replace(make_plan(seed), store=asked.store)


def _read(path: Path) -> Plan:
    return msgspec.json.decode(path.read_bytes(), type=Plan)


def _stay_on_one_core() -> None:
    """Real threads that hand over to each other do so twice as fast on one core."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
