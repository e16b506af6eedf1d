"""`python -m tests.zoo.hunt` looks for the planted bugs by simulation and keeps the seeds."""

from __future__ import annotations

import argparse
import sys
import time

import msgspec
import pytest

from perdure.testing.simulation.runner import Runner
from perdure.testing.simulation.threads import Hung
from tests.zoo import FOUND, Bug, Find, bugs, finds


def hunt(bug: Bug, runner: Runner, first: int, most: int, seconds: float = 100.0) -> Find | None:
    """Play schedules with the bug planted until one fails."""
    until = time.monotonic() + seconds
    for number in range(most):
        if time.monotonic() > until:
            return None
        with pytest.MonkeyPatch.context() as patch:
            bug.plant(patch)
            try:
                played = runner.play(bug.plan_of(first + number))
            except Hung:
                return Find(first + number, number + 1, "hung")
        if played.broken:
            return Find(first + number, number + 1, played.broken)
    return None


def main() -> None:
    """Hunt for those that are named, or for all that are not found yet."""
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--most", type=int, default=50_000)
    parser.add_argument("--seconds", type=float, default=60.0)
    asked = parser.parse_args()
    found = finds() if FOUND.exists() else {}
    for name, each in bugs().items():
        if each.test or (name in found if not asked.names else name not in asked.names):
            continue
        # A runner of its own: what it keeps between schedules was made with the bug.
        find = hunt(each, Runner(), asked.first, asked.most, asked.seconds)
        sys.stdout.write(f"{name}: {find or 'NOT FOUND'}\n")
        sys.stdout.flush()
        if find is not None:
            found[name] = find
            ordered = dict(sorted(found.items()))
            FOUND.write_bytes(msgspec.json.format(msgspec.json.encode(ordered)) + b"\n")


if __name__ == "__main__":
    main()
