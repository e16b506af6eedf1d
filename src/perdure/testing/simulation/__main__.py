"""`python -m perdure.testing.simulation --seeds 0:1000`: plays schedules until one fails."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from pathlib import Path

import msgspec

from perdure._version import __version__
from perdure.testing.simulation.carriers import best_carriers
from perdure.testing.simulation.many import Setting, Tally, play_all
from perdure.testing.simulation.plan import Plan
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
    which.add_argument("--seeds", metavar="A:B", type=_seeds, help="the schedules A, A+1, ..., B-1")
    which.add_argument("--seed", type=int, help="this one")
    which.add_argument(
        "--plan", type=Path, help="the one in this file, as it was written by --save"
    )
    parser.add_argument("--jobs", type=_count, default=1, help="play --seeds in so many processes")
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="begin none of --seeds after that time"
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


def _seeds(text: str) -> range:
    first, _, last = text.partition(":")
    if not (first.isdecimal() and last.isdecimal() and int(first) < int(last)):
        told = f"{text!r} is not of the form A:B, two whole numbers, the second one greater"
        raise argparse.ArgumentTypeError(told)
    return range(int(first), int(last))


def _count(text: str) -> int:
    if not (text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def main(given: list[str]) -> int:
    """Play; gives the exit code: 0 if all went well, 1 if something broke or never happened."""
    asked = _arguments(given)
    setting = Setting(asked.store, asked.real_threads or best_carriers() is RealThreads)
    runner = setting.runner()
    if asked.seeds is not None:
        return _play_all(runner, setting, asked)
    if setting.real_threads:
        _stay_on_one_core()
    plan = setting.plan(asked.seed) if asked.plan is None else _read(asked.plan)
    return _tell(runner.play(plan, _say if asked.trace else None), runner, asked)


def _play_all(runner: Runner, setting: Setting, asked: argparse.Namespace) -> int:
    if setting.real_threads and asked.jobs == 1:
        _stay_on_one_core()
    progress = _Progress()
    tally = play_all(asked.seeds, setting, asked.jobs, asked.seconds, progress.tell)
    seconds = time.monotonic() - progress.began
    _say(f"{tally.schedules} schedules, {tally.events} events in {seconds:.1f} s")
    _say(", ".join(f"{kind}: {count}" for kind, count in sorted(tally.kinds.items())))
    quiet = _too_quiet(tally, setting)
    if asked.ledger is not None:
        _note(asked.ledger, tally, asked, seconds, quiet)
    if tally.broken is not None:
        return _tell(tally.broken, runner, asked)
    if quiet:
        _say(f"{quiet}. What is so quiet finds nothing: see what keeps it from happening")
        return 1
    return 0


def _too_quiet(tally: Tally, setting: Setting) -> str:
    """What never happened although enough was played for it, as text; "" for nothing."""
    missing = tally.missing(setting)
    return f"never happened in {tally.schedules} schedules: {', '.join(missing)}" if missing else ""


def _note(
    ledger: Path, tally: Tally, asked: argparse.Namespace, seconds: float, quiet: str
) -> None:
    """Append a line; docs/proof/ledger.md tells what its members mean."""
    failures = [quiet] if quiet else []
    if tally.broken is not None:
        failures.append(f"seed {tally.broken.plan.seed}: {tally.broken.text}")
    first: int = asked.seeds.start
    line = {
        "what": "simulation",
        "version": __version__,
        "python": platform.python_version(),
        "store": asked.store,
        "seeds": f"{first}:{first + tally.schedules}",
        "schedules": tally.schedules,
        "events": tally.events,
        "seconds": round(seconds, 1),
        "counts": dict(sorted(tally.kinds.items())),
        "failures": failures,
    }
    with ledger.open("a", encoding="utf-8") as file:
        file.write(msgspec.json.encode(line).decode() + "\n")


class _Progress:
    """Says now and then how far it is."""

    def __init__(self) -> None:
        self.began = self._told = time.monotonic()

    def tell(self, tally: Tally) -> None:
        now = time.monotonic()
        if now - self._told > EVERY_SECONDS:
            self._told = now
            _say(f"{tally.schedules} schedules, {tally.schedules / (now - self.began):.0f}/s")


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


def _read(path: Path) -> Plan:
    return msgspec.json.decode(path.read_bytes(), type=Plan)


def _stay_on_one_core() -> None:
    """Real threads that hand over to each other do so twice as fast on one core."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
