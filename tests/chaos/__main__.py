"""Chaos for as long as one likes: `python -m tests.chaos --campaign NAME --count N --ledger FILE`.

Each run appends one line of JSON to the ledger: campaign, seed, commit and what was counted. It
fails if something is wrong, or if something that it was made for never happened.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.chaos import damage, disk, histories
from tests.chaos.fleet import Fleet, chosen_seed, remember
from tests.support.postgres import PostgresServer, make_database

Counts = tuple[Counter[str], tuple[str, ...]]
"""What happened, and what must have."""


@contextmanager
def _url(store: str, folder: Path) -> Iterator[str]:
    if store == "sqlite":
        yield f"sqlite:///{folder / 'perdure.db'}"
        return
    server = PostgresServer()
    try:
        server.start()
        yield make_database(server.url())
    finally:
        server.remove()


def _histories(folder: Path, seed: int, asked: argparse.Namespace) -> Counts:
    with _url(asked.store, folder) as url:
        fleet = Fleet(url, folder, seed, lease=2.0)
        try:
            counters = histories.campaign(fleet, asked.count)
        finally:
            fleet.close()
    return counters, histories.expected(asked.count)


def _damage(folder: Path, seed: int, asked: argparse.Namespace) -> Counts:
    counters, wrong = damage.campaign(folder, seed, asked.count)
    for each in wrong:
        print(each)
    counters["wrong"] = len(wrong)
    return counters, damage.RARE


def _disk(folder: Path, seed: int, asked: argparse.Namespace) -> Counts:
    return disk.campaign(folder, seed, asked.count), ("limited", "injected", "CommitUnknown")


CAMPAIGNS: dict[str, Callable[[Path, int, argparse.Namespace], Counts]] = {
    "histories": _histories,
    "damage": _damage,
    "disk": _disk,
}


def main(given: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--campaign", choices=CAMPAIGNS, required=True)
    parser.add_argument(
        "--count", type=int, required=True, help="how many runs, of another fault each"
    )
    parser.add_argument(
        "--store", choices=("sqlite", "postgres"), default="sqlite", help="of histories"
    )
    parser.add_argument("--seed", type=int, help="of the first run; else a new one each time")
    parser.add_argument("--ledger", type=Path, help="append a line of JSON to this file")
    asked = parser.parse_args(given)
    seed = chosen_seed() if asked.seed is None else asked.seed
    if asked.ledger is not None:
        os.environ["PERDURE_TEST_CHAOS_LEDGER"] = str(asked.ledger.absolute())
    print(f"campaign {asked.campaign}, seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="perdure-chaos-") as folder:
        counters, expected = CAMPAIGNS[asked.campaign](Path(folder), seed, asked)
    remember(seed, counters, *expected, name=f"campaign {asked.campaign} {asked.count}")
    return 1 if counters["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
