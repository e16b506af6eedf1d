"""Every campaign by its name: what it does, on which stores, and what must have happened in it."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos import (
    damage,
    disk,
    endings,
    forks,
    full,
    histories,
    kills,
    outages,
    partitions,
    rolling,
    zombies,
)
from tests.chaos.fleet import Fleet
from tests.support.postgres import URL_VARIABLE, PostgresServer, drop_database, make_database

BOTH = ("sqlite", "postgres")


@dataclass(frozen=True)
class Asked:
    """One run of a campaign. `counters` is filled while it goes on."""

    folder: Path
    store: str
    seed: int
    count: int
    counters: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Campaign:
    """One kind of trouble.

    Attributes:
        run: makes so much of it, and judges; an `AssertionError` says what is wrong.
        expected: what must have happened, or the run has tried nothing.
        stores: what it may be run on.
    """

    run: Callable[[Asked], None]
    expected: Callable[[int], tuple[str, ...]]
    stores: tuple[str, ...] = BOTH


def all_campaigns() -> dict[str, Campaign]:
    """By name."""
    return {
        "kills": _of_fleets(kills.kill, ("killed", "stolen"), each=40),
        "zombies": _of_fleets(
            zombies.raise_zombies,
            ("zombies", "stolen", "stale", "renewal lost"),
            each=25,
            lease=zombies.LEASE,
            name="chaos",
        ),
        "endings": _of_fleets(
            endings.ask_to_end,
            endings.PHASES,
            each=3 * len(endings.PHASES),
            command=True,
            lease=endings.LEASE,
        ),
        "forks": _of_fleets(forks.fork, (*forks.EXPECTED, "stolen"), each=40),
        "rolling": _of_fleets(
            rolling.replace, ("replaced",), each=3, command=True, lease=rolling.LEASE
        ),
        "outdated": _of_fleets(
            rolling.stop, ("refused", "stolen"), each=3, command=True, lease=rolling.LEASE
        ),
        "cuts": _of_fleets(
            outages.cut,
            ("unknown", "claim unknown", "resolved committed", "resolved not committed"),
            each=100,
            stores=("postgres",),
            lease=outages.LONG_LEASE,
        ),
        "partitions": _of_fleets(
            partitions.partition,
            partitions.EXPECTED,
            each=25,
            stores=("postgres",),
            lease=partitions.LEASE,
        ),
        "stops": Campaign(_stops, lambda _: ("server stopped", "unknown"), ("postgres",)),
        "histories": Campaign(_histories, histories.expected),
        "damage": Campaign(_damage, lambda _: damage.RARE, ("sqlite",)),
        "disk": Campaign(
            lambda asked: disk.campaign(asked.folder, asked.seed, asked.count, asked.counters),
            lambda _: ("limited", "injected", "CommitUnknown"),
            ("sqlite",),
        ),
        "full": Campaign(
            lambda asked: full.campaign(asked.folder, asked.seed, asked.count, asked.counters),
            lambda _: full.expected(),
            ("sqlite",),
        ),
    }


def _of_fleets(
    make_trouble: Callable[[Fleet, int], None],
    expected: tuple[str, ...],
    *,
    each: int,
    stores: tuple[str, ...] = BOTH,
    **settings: Any,
) -> Campaign:
    """One fleet after the other, each on a store of its own that gets `each` of the troubles."""

    def run(asked: Asked) -> None:
        with _stores(asked) as make_url:
            for begun in range(0, asked.count, each):
                folder = asked.folder / f"from-{begun}"
                folder.mkdir()
                with make_url(folder) as url:
                    part = min(each, asked.count - begun)
                    _round(asked, Fleet(url, folder, asked.seed + begun, **settings), part)
                shutil.rmtree(folder)

    def _round(asked: Asked, fleet: Fleet, count: int) -> None:
        try:
            make_trouble(fleet, count)
            fleet.settle()
        except BaseException:
            print(f"fleet of seed {fleet.seed}: the end of its log:")
            print(*fleet.events()[-30:], sep="\n")
            raise
        finally:
            _merge(asked.counters, fleet.counters)
            fleet.close()

    return Campaign(run, lambda _: expected, stores)


def _merge(into: Counter[str], more: Counter[str]) -> None:
    """Add; of what is the slowest, take the larger."""
    for name, number in more.items():
        into[name] = max(into[name], number) if "slowest" in name else into[name] + number


Make = Callable[[Path], Any]


@contextmanager
def _stores(asked: Asked) -> Iterator[Make]:
    """What makes an empty store as a context manager; on one server, if it is one."""
    if asked.store == "sqlite":
        yield _file
        return
    given = os.environ.get(URL_VARIABLE)
    server = None if given else PostgresServer()
    try:
        if server is not None:
            server.start()
        yield lambda _: _database(given or server.url())  # type: ignore[union-attr] # one of them
    finally:
        if server is not None:
            server.remove()


@contextmanager
def _file(folder: Path) -> Iterator[str]:
    yield f"sqlite:///{folder / 'perdure.db'}"


@contextmanager
def _database(server_url: str) -> Iterator[str]:
    url = make_database(server_url)
    yield url
    drop_database(server_url, url)


STOPS_EACH = 25


def _stops(asked: Asked) -> None:
    for begun in range(0, asked.count, STOPS_EACH):
        folder = asked.folder / f"from-{begun}"
        folder.mkdir()
        server = PostgresServer()
        server.start()
        fleet = Fleet(make_database(server.url()), folder, asked.seed + begun, lease=outages.LEASE)
        try:
            outages.stop(fleet, server, min(STOPS_EACH, asked.count - begun))
            fleet.settle()
        finally:
            _merge(asked.counters, fleet.counters)
            fleet.close()
            server.remove()


def _histories(asked: Asked) -> None:
    with _stores(asked) as make_url, make_url(asked.folder) as url:
        fleet = Fleet(url, asked.folder, asked.seed, lease=2.0)
        try:
            histories.campaign(fleet, asked.count, asked.counters)
        finally:
            fleet.close()


def _damage(asked: Asked) -> None:
    counters, wrong = damage.campaign(asked.folder, asked.seed, asked.count)
    asked.counters.update(counters)
    assert wrong == [], "\n".join(wrong)
